import { DEFAULT_DEADLINE_MS } from "./calls.ts";
import type { CallOptions } from "./calls.ts";
import { openServices } from "./channel.ts";
import type {
  CreateGalleryOptions, IdentifyOptions, ModelOption, PackOptions, RotateOptions, Verification, VeilfaceClientOptions, VerifyOptions,
} from "./client-options.ts";
import { checkThreshold, decide } from "./decision.ts";
import { UnitMaker, encodeEnrollments } from "./enrollment-units.ts";
import type { Enrollment } from "./enrollment-units.ts";
import { EnrollmentStream } from "./enrollment.ts";
import type { EnrollOptions } from "./enrollment.ts";
import { ClientError } from "./errors.ts";
import { GalleryCalls } from "./gallery-calls.ts";
import type { DeletedIds } from "./gallery-calls.ts";
import type { Candidate } from "./identification.ts";
import { checkId } from "./ids.ts";
import type { KeyHolder } from "./key-holder.ts";
import { Matching } from "./matching.ts";
import type { OpenGallery } from "./matching.ts";
import type { ModelSpace } from "./model-space.ts";
import { PackedCrypto } from "./packed-crypto.ts";
import { discardDrafts, rewriteGallery } from "./rewriting.ts";
import type { RewrittenGallery } from "./rewriting.ts";
import { RosterCache } from "./roster-cache.ts";
import { Roster } from "./roster.ts";
import type { GalleryInfo, RosterEntry } from "./wire.ts";

// The server may hold other strides, or another gallery under this id, than when it was last read.
const REASONS_TO_READ_AGAIN: readonly string[] = ["PROBE_INCOMPLETE", "FIELD_INVALID", "SPACE_MISMATCH", "CONTEXT_MISMATCH", "GALLERY_CHANGED", "ROSTER_STALE"];
const ATTEMPTS = 3;

/**
 * Enrolls, verifies and identifies embeddings on a matching server that sees ciphertexts and opaque ids only. One connection; calls
 * may run at the same time. Every method throws ClientError: SERVER_UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED, SERVER_REFUSED with
 * the server's reason (such as GALLERY_NOT_FOUND), REPLY_INVALID for an answer that cannot be right, USAGE for a malformed id.
 */
export class VeilfaceClient implements Disposable {
  readonly #keyHolder: KeyHolder;
  readonly #calls: GalleryCalls;
  readonly #matching: Matching;
  readonly #rosterCache: RosterCache | undefined;
  readonly #galleries = new Map<string, OpenGallery>();

  /** Connects at the first call. Throws ClientError USAGE for a malformed address, or plain text to another machine. */
  constructor(options: VeilfaceClientOptions) {
    this.#keyHolder = options.keyHolder;
    this.#calls = new GalleryCalls(openServices(options), options.deadlineMs ?? DEFAULT_DEADLINE_MS);
    this.#matching = new Matching(this.#calls.services, options.keyHolder);
    this.#rosterCache = options.rosterCache === undefined ? undefined : new RosterCache(options.rosterCache, options.keyHolder);
  }

  /** Makes the key's context known to the server: a parameter set's name and 32 random bytes. Changes nothing where it is known. */
  async ensureContext(options: CallOptions = {}): Promise<void> {
    await this.#calls.ensureContext(this.#keyHolder, options);
  }

  /** Creates an empty gallery under this key, and the key's context where the server does not have it. Refused with GALLERY_EXISTS. */
  async createGallery(galleryId: string, space: ModelSpace, options: CreateGalleryOptions = {}): Promise<GalleryInfo> {
    await this.ensureContext(options);
    const { packedStride = 0, expectedTemplates = 0 } = options;
    return this.#calls.create({ galleryId, contextId: this.#keyHolder.contextId, space, packedStride, expectedTemplates }, options);
  }

  /** One gallery as it is now. Refused with GALLERY_NOT_FOUND. */
  async getGallery(galleryId: string, options: CallOptions = {}): Promise<GalleryInfo> {
    return this.#calls.get(galleryId, options);
  }

  /** The galleries under this key, drafts too, in the order of their ids; none where the server does not know the key's context. */
  async listGalleries(options: CallOptions = {}): Promise<GalleryInfo[]> {
    return this.#calls.list(this.#keyHolder.contextId, options);
  }

  /** Deletes a gallery with all its templates. Refused with GALLERY_NOT_FOUND. */
  async deleteGallery(galleryId: string, options: CallOptions = {}): Promise<void> {
    await this.#calls.delete(galleryId, options);
    this.#galleries.delete(galleryId);
    await this.#rosterCache?.forget(galleryId);
  }

  /**
   * Encrypts and enrolls templates as the source yields them, packed into blocks where there are enough (see EnrollOptions.packing);
   * memory does not grow with their number. Returns how many. Enrolling an id again replaces its template, so a broken enrollment is
   * resumed by running it again; where only the server went away for a moment, the call itself goes on. Where it throws, what
   * onProgress reported is enrolled and stays. Throws ClientError EMBEDDING_INVALID, KEY_MISMATCH, MODEL_MISMATCH, and what the source throws.
   */
  async enroll(galleryId: string, source: AsyncIterable<Enrollment> | Iterable<Enrollment>, options: EnrollOptions & ModelOption = {}): Promise<number> {
    const { info, crypto } = await this.#read(galleryId, options);
    const packedStride = options.packing === "never" || info.packedStride === 0 ? undefined : info.packedStride;
    const maker = new UnitMaker(crypto, this.#keyHolder.contextId, packedStride);
    return new EnrollmentStream(this.#calls.services, info, this.#calls.deadline(options)).run(maker.units(encodeEnrollments(source, crypto)));
  }

  /**
   * Packs a gallery's templates into full blocks, in one step for everybody else: those enrolled alone take far less room and time
   * to search afterwards, and the bits of deleted ones are gone. Every packing adds the encryption noise of one template to each, half
   * the variance of a fresh comparison: after k of them distances err by sqrt(1 + k / 2) times as much (test/unit/packed-precision.test.ts).
   * Needs room for a second copy meanwhile. Throws ClientError SERVER_REFUSED with GALLERY_CHANGED where the gallery was changed or
   * packed by somebody else meanwhile: it is then as they left it.
   */
  async pack(galleryId: string, options: PackOptions = {}): Promise<RewrittenGallery> {
    const { stride = 0, onProgress } = options;
    return this.#rewrite(galleryId, this.#keyHolder, () => stride, onProgress, options);
  }

  /**
   * Encrypts galleries anew under another key, each in one step (see {@link pack}). This client's key must be kept until it is
   * done; a rotation that was interrupted is finished by running it again. Returns the galleries that are under the new key since.
   */
  async rotate(newKeyHolder: KeyHolder, options: RotateOptions = {}): Promise<RewrittenGallery[]> {
    if (newKeyHolder.contextId === this.#keyHolder.contextId) throw new ClientError("USAGE", "the new key is the old one: make another");
    const sameSet = newKeyHolder.parameterSet.name === this.#keyHolder.parameterSet.name;
    const rotated: RewrittenGallery[] = [];
    for (const galleryId of await this.#galleriesToRotate(newKeyHolder, options)) {
      const onProgress = (done: number, total: number): void => options.onProgress?.(galleryId, done, total);
      // Another parameter set has another best stride.
      rotated.push(await this.#rewrite(galleryId, newKeyHolder, ({ packedStride }) => (sameSet ? packedStride : 0), onProgress, options));
    }
    return rotated;
  }

  /** Deletes what interrupted runs of {@link pack} and {@link rotate} left behind for a gallery, whatever its age. Do not call it while one runs. Returns how many drafts. */
  async discardDrafts(galleryId: string, options: CallOptions = {}): Promise<number> {
    return discardDrafts(this.#calls, galleryId, [this.#keyHolder.contextId], 0, options);
  }

  /**
   * Whether an embedding is of a subject (1:1): the distance to the nearest of its templates, and the decision, which never leaves
   * this process. Throws ClientError SERVER_REFUSED with SUBJECT_NOT_FOUND, EMBEDDING_INVALID, KEY_MISMATCH, MODEL_MISMATCH.
   */
  async verify(galleryId: string, subjectId: string, embedding: ArrayLike<number>, options: VerifyOptions): Promise<Verification> {
    checkThreshold(options.threshold);
    checkId("subject", subjectId);
    const nearest = await this.#withGallery(galleryId, options, (gallery) => this.#matching.compare(gallery, subjectId, embedding, this.#calls.deadline(options)));
    return { ...decide(nearest.distance, options.threshold), subjectId, templateId: nearest.templateId };
  }

  /**
   * Who an embedding may be of (1:N): the nearest subjects by the nearest of their templates, nearest first, ties in the order of
   * ids; empty for nobody. Throws ClientError EMBEDDING_INVALID, KEY_MISMATCH, MODEL_MISMATCH.
   */
  async identify(galleryId: string, embedding: ArrayLike<number>, options: IdentifyOptions = {}): Promise<Candidate[]> {
    const { top = 5, threshold } = options;
    if (!Number.isInteger(top) || top < 1) throw new ClientError("USAGE", `top ${top} is out of range: expected a whole number >= 1`);
    if (threshold !== undefined) checkThreshold(threshold);
    const candidates = await this.#withCurrent(galleryId, options, (gallery, confirm) => this.#matching.search(gallery, embedding, top, confirm, this.#calls.deadline(options)));
    return threshold === undefined ? candidates : candidates.filter(({ distance }) => distance <= threshold);
  }

  /** The live templates of a gallery with their subjects, in the order they last changed. */
  async listTemplates(galleryId: string, options: CallOptions = {}): Promise<RosterEntry[]> {
    return this.#withCurrent(galleryId, options, async ({ info, roster }, confirm) => {
      await roster.update(info.revision);
      await confirm();
      return roster.entries();
    });
  }

  /**
   * Deletes templates by id or by subject; ids that are not there are passed over. Returns the ids of the templates that are gone.
   * The bits of those that lay in packed blocks stay on the server's disk until the gallery is packed or all of a block is deleted.
   */
  async deleteTemplates(galleryId: string, ids: DeletedIds, options: CallOptions = {}): Promise<string[]> {
    return (await this.#calls.deleteTemplates(galleryId, ids, options)).deleted;
  }

  [Symbol.dispose](): void {
    this.#calls.services.close();
  }

  async #rewrite(galleryId: string, to: KeyHolder, packedStride: (info: GalleryInfo) => number, onProgress: PackOptions["onProgress"], options: CallOptions): Promise<RewrittenGallery> {
    const { signal, deadlineMs } = options;
    const rewritten = await rewriteGallery(this.#calls, { galleryId, from: this.#keyHolder, to, packedStride, onProgress, ...(signal && { signal }), ...(deadlineMs !== undefined && { deadlineMs }) });
    this.#galleries.delete(galleryId);
    return rewritten;
  }

  async #galleriesToRotate({ contextId }: KeyHolder, options: RotateOptions): Promise<string[]> {
    if (options.galleryIds === undefined) {
      return (await this.listGalleries(options)).filter(({ draftOf }) => draftOf === undefined).map(({ galleryId }) => galleryId);
    }
    const galleries = await Promise.all(options.galleryIds.map((galleryId) => this.getGallery(galleryId, options)));
    return galleries.filter((gallery) => gallery.contextId !== contextId).map(({ galleryId }) => galleryId);
  }

  async #withGallery<T>(galleryId: string, options: CallOptions & ModelOption, run: (gallery: OpenGallery) => Promise<T>): Promise<T> {
    const known = this.#galleries.get(galleryId);
    if (known === undefined) return run(await this.#read(galleryId, options));
    checkModel(known.info, options);
    try {
      return await run(known);
    } catch (error) {
      if (!mayHaveChanged(error)) throw error;
      return run(await this.#read(galleryId, options));
    }
  }

  /**
   * Runs with a gallery that is read anew: one that was packed, or deleted and created again, has other people in the same places.
   * `confirm` throws ROSTER_STALE if it is another one by then; it all starts over in that case, three times at most.
   */
  async #withCurrent<T>(galleryId: string, options: CallOptions & ModelOption, run: (gallery: OpenGallery, confirm: () => Promise<void>) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const gallery = await this.#read(galleryId, options);
      const confirm = async (): Promise<void> => {
        if (isSame(gallery.info, await this.getGallery(galleryId, options))) return;
        throw new ClientError("ROSTER_STALE", `gallery "${galleryId}" was replaced meanwhile: try again`);
      };
      try {
        return await run(gallery, confirm);
      } catch (error) {
        if (!mayHaveChanged(error) || attempt === ATTEMPTS) throw error;
        this.#galleries.delete(galleryId);
      }
    }
  }

  /** Reads a gallery and keeps what is known of it, unless it is another one under the same id by now. */
  async #read(galleryId: string, options: CallOptions & ModelOption): Promise<OpenGallery> {
    const info = await this.getGallery(galleryId, options);
    if (info.contextId !== this.#keyHolder.contextId) {
      throw new ClientError("KEY_MISMATCH", `gallery "${galleryId}" belongs to another key: use the key it was created with`);
    }
    checkModel(info, options);
    const known = this.#galleries.get(galleryId);
    const { crypto, roster } = known !== undefined && isSame(known.info, info) ? known : this.#open(info);
    const gallery = { info, crypto, roster };
    this.#galleries.set(galleryId, gallery);
    return gallery;
  }

  #open(info: GalleryInfo): OpenGallery {
    const roster = new Roster((since, token) => this.#calls.readRosterPage(info.galleryId, since, token), this.#rosterCache?.storeFor(info));
    return { info, crypto: new PackedCrypto(this.#keyHolder, info.space), roster };
  }
}

/** Whether a gallery is the same as before, whatever was enrolled meanwhile: under one id there is one at a time. */
function isSame(a: GalleryInfo, b: GalleryInfo): boolean {
  return a.createTime.getTime() === b.createTime.getTime() && a.contextId === b.contextId;
}

function mayHaveChanged(error: unknown): boolean {
  return error instanceof ClientError && REASONS_TO_READ_AGAIN.includes(error.serverReason ?? error.reason);
}

function checkModel({ galleryId, space }: GalleryInfo, { modelId = space.modelId, modelVersion }: ModelOption): void {
  const version = space.modelVersion === undefined ? undefined : modelVersion;
  if (modelId === space.modelId && (version === undefined || version === space.modelVersion)) return;
  const [held, given] = [nameOf(space), nameOf({ modelId, ...(version !== undefined && { modelVersion: version }) })];
  throw new ClientError("MODEL_MISMATCH", `gallery "${galleryId}" holds embeddings of model ${held}, not of ${given}: use the gallery's model`);
}

function nameOf({ modelId, modelVersion }: Pick<ModelSpace, "modelId" | "modelVersion">): string {
  return modelVersion === undefined ? `"${modelId}"` : `"${modelId}" version ${modelVersion}`;
}
