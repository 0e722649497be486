import { createHash } from "node:crypto";
import type { Enrollment, KeyHolder } from "@veilface/client";
import { CliError, isKnown } from "./errors.ts";
import type { Failure, Photo, Remark } from "./people-folder.ts";
import type { PhotoEncoder } from "./photos.ts";
import { readPhoto } from "./photos.ts";
import { showProgress } from "./progress.ts";

/** A photo with the id of its template. */
export interface IdentifiedPhoto extends Photo {
  readonly templateId: string;
}

/** A photo on its way, or enrolled. */
interface PhotoEnrollment extends Enrollment, IdentifiedPhoto {}

/** How photos are enrolled. */
interface PhotoRunOptions {
  readonly keyHolder: KeyHolder;
  readonly signal: AbortSignal;
  /** Ids of templates that are enrolled already, whose photos need not be encoded. */
  readonly known: ReadonlySet<string>;
  /** Goes on past photos that cannot be enrolled, where it is given, and past embeddings that it throws for. */
  readonly check: ((embedding: Float32Array) => void) | undefined;
}

/** One run over photos: yields those to enroll, and keeps account of all others. */
export class PhotoRun {
  readonly already: IdentifiedPhoto[] = [];
  readonly failed: Failure[] = [];
  readonly passedOver: Remark[] = [];
  readonly notes: Remark[] = [];
  readonly #options: PhotoRunOptions;
  readonly #pathOfTemplate = new Map<string, string>();
  readonly #photoOfDigest = new Map<string, Photo>();

  constructor(options: PhotoRunOptions) {
    this.#options = options;
  }

  /** The photos to enroll, encoded one by one. Throws CliError CANCELLED, and that of a photo unless it goes on. */
  async *encode(photos: readonly Photo[], encoder: PhotoEncoder): AsyncGenerator<PhotoEnrollment, void, undefined> {
    using progress = showProgress("photos", photos.length);
    for (const [done, photo] of photos.entries()) {
      if (this.#options.signal.aborted) throw new CliError("CANCELLED", "the enrollment was cancelled");
      const encoded = await this.#encodeOne(photo, encoder).catch((cause: unknown) => {
        this.#fail(photo, cause);
      });
      if (encoded !== undefined) yield encoded;
      progress.advance(done + 1);
    }
  }

  /** Where the photo of a template is that this run made. */
  pathOf(templateId: string): string {
    return this.#pathOfTemplate.get(templateId) ?? "";
  }

  async #encodeOne(photo: Photo, encoder: PhotoEncoder): Promise<PhotoEnrollment | undefined> {
    const { subjectId, path } = photo;
    const image = await readPhoto(path);
    const templateId = templateIdOf(this.#options.keyHolder, subjectId, image);
    if (!this.#isFirst(photo, templateId, image)) return undefined;
    if (this.#options.known.has(templateId)) {
      this.already.push({ subjectId, path, templateId });
      return undefined;
    }
    const { embedding } = await encoder.encodeBytes(path, image);
    this.#options.check?.(embedding);
    return { templateId, subjectId, path, embedding };
  }

  /** Whether it is no copy of a photo before it. */
  #isFirst(photo: Photo, templateId: string, image: Uint8Array): boolean {
    const { path } = photo;
    const before = this.#pathOfTemplate.get(templateId);
    if (before !== undefined) {
      this.passedOver.push({ path, message: `the same photo as ${before}` });
      return false;
    }
    this.#pathOfTemplate.set(templateId, path);
    this.#noteOtherPerson(photo, createHash("sha256").update(image).digest("base64"));
    return true;
  }

  #noteOtherPerson(photo: Photo, digest: string): void {
    const other = this.#photoOfDigest.get(digest);
    this.#photoOfDigest.set(digest, photo);
    if (other === undefined) return;
    const { path, subjectId } = photo;
    this.notes.push({ path, message: `the same photo as ${other.path}, as ${subjectId} and as ${other.subjectId}` });
  }

  #fail({ path }: Photo, cause: unknown): void {
    const { check } = this.#options;
    if (check === undefined || !isKnown(cause) || cause.reason === "CANCELLED") throw cause;
    const message = cause.message.startsWith(path) ? cause.message : `${path}: ${cause.message}`;
    this.failed.push({ path, reason: cause.reason, message });
  }
}

/**
 * The id of a photo's template, from its bytes and whom it shows: the same photo of the same person is replaced
 * rather than doubled; without the key the id tells nothing.
 */
export function templateIdOf(keyHolder: KeyHolder, subjectId: string, image: Uint8Array): string {
  return keyHolder.pseudonym("photo", subjectId, image).slice(0, 16);
}
