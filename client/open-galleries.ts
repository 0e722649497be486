import { definedOnly } from "@veilface/proto";
import type { CallOptions } from "./remote/calls.ts";
import type { ModelOption } from "./client-options.ts";
import { ClientError } from "./errors.ts";
import type { GalleryCalls } from "./remote/gallery-calls.ts";
import type { KeyHolder } from "./keys/key-holder.ts";
import type { OpenGallery } from "./match/matching.ts";
import { PackedCrypto } from "./keys/packed-crypto.ts";
import type { RosterCache } from "./roster/roster-cache.ts";
import { Roster } from "./roster/roster.ts";
import type { ModelSpace } from "./model-space.ts";
import { checkPackedGallery } from "./remote/wire.ts";
import type { GalleryInfo } from "./remote/wire.ts";

// The server may hold other strides, or another gallery under this id, than when it was last read.
const REASONS_TO_READ_AGAIN: readonly string[] = [
  "PROBE_INCOMPLETE",
  "FIELD_INVALID",
  "SPACE_MISMATCH",
  "CONTEXT_MISMATCH",
  "GALLERY_CHANGED",
  "ROSTER_STALE",
];
const ATTEMPTS = 3;

type Options = CallOptions & ModelOption;

/**
 * What a client knows of the galleries under its key, so that the next question about one need not begin by reading
 * it.
 */
export class OpenGalleries {
  readonly #calls: GalleryCalls;
  readonly #keyHolder: KeyHolder;
  readonly #rosterCache: RosterCache | undefined;
  readonly #known = new Map<string, OpenGallery>();

  constructor(calls: GalleryCalls, keyHolder: KeyHolder, rosterCache: RosterCache | undefined) {
    this.#calls = calls;
    this.#keyHolder = keyHolder;
    this.#rosterCache = rosterCache;
  }

  /** What is known of a gallery is of an earlier one. */
  forget(galleryId: string): void {
    this.#known.delete(galleryId);
  }

  /**
   * Reads a gallery and keeps what is known of it, unless it is another one under the same id by now. Throws
   * ClientError KEY_MISMATCH, MODEL_MISMATCH.
   */
  async read(galleryId: string, options: Options): Promise<OpenGallery> {
    const info = await this.#calls.get(galleryId, options);
    if (info.contextId !== this.#keyHolder.contextId) {
      throw new ClientError(
        "KEY_MISMATCH",
        `gallery "${galleryId}" belongs to another key: use the key it was created with`,
      );
    }
    checkModel(info, options);
    checkPackedGallery(info);
    const known = this.#known.get(galleryId);
    const { crypto, roster } = known !== undefined && isSame(known.info, info) ? known : this.#open(info);
    const gallery = { info, crypto, roster };
    this.#known.set(galleryId, gallery);
    return gallery;
  }

  /** Runs with a gallery as it is known; reads it anew where it may have changed since. */
  async withKnown<T>(galleryId: string, options: Options, run: (gallery: OpenGallery) => Promise<T>): Promise<T> {
    const known = this.#known.get(galleryId);
    if (known === undefined) return run(await this.read(galleryId, options));
    checkModel(known.info, options);
    try {
      return await run(known);
    } catch (error) {
      if (!mayHaveChanged(error)) throw error;
      return run(await this.read(galleryId, options));
    }
  }

  /**
   * Runs with a gallery that is read anew: one that was packed, or deleted and created again, has other people in the
   * same places. `confirm` throws ROSTER_STALE if it is another one by then; it all starts over in that case, three
   * times at most.
   */
  async withCurrent<T>(
    galleryId: string,
    options: Options,
    run: (gallery: OpenGallery, confirm: () => Promise<void>) => Promise<T>,
  ): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const gallery = await this.read(galleryId, options);
      const confirm = async (): Promise<void> => {
        if (isSame(gallery.info, await this.#calls.get(galleryId, options))) return;
        throw new ClientError("ROSTER_STALE", `gallery "${galleryId}" was replaced meanwhile: try again`);
      };
      try {
        return await run(gallery, confirm);
      } catch (error) {
        if (!mayHaveChanged(error) || attempt === ATTEMPTS) throw error;
        this.forget(galleryId);
      }
    }
  }

  #open(info: GalleryInfo): OpenGallery {
    const crypto = new PackedCrypto(this.#keyHolder, info.space);
    const readPage = (sinceRevision: number, pageToken: string, options: CallOptions = {}) =>
      this.#calls.readRosterPage(info.galleryId, { sinceRevision, pageToken }, options);
    return { info, crypto, roster: new Roster(readPage, this.#rosterCache?.storeFor(info)) };
  }
}

/** Whether a gallery is the same as before, whatever was enrolled meanwhile: under one id there is one at a time. */
function isSame(a: GalleryInfo, b: GalleryInfo): boolean {
  return a.uid === b.uid && a.contextId === b.contextId;
}

function mayHaveChanged(error: unknown): boolean {
  return error instanceof ClientError && REASONS_TO_READ_AGAIN.includes(error.serverReason ?? error.reason);
}

function checkModel({ galleryId, space }: GalleryInfo, { modelId = space.modelId, modelVersion }: ModelOption): void {
  const version = space.modelVersion === undefined ? undefined : modelVersion;
  if (modelId === space.modelId && (version === undefined || version === space.modelVersion)) return;
  const [held, given] = [nameOf(space), nameOf(definedOnly({ modelId, modelVersion: version }))];
  throw new ClientError(
    "MODEL_MISMATCH",
    `gallery "${galleryId}" holds embeddings of model ${held}, not of ${given}: use its model`,
  );
}

function nameOf({ modelId, modelVersion }: Pick<ModelSpace, "modelId" | "modelVersion">): string {
  return modelVersion === undefined ? `"${modelId}"` : `"${modelId}" version ${modelVersion}`;
}
