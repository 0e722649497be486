import { UNBOUNDED } from "./remote/call-bounds.ts";
import type { Bounded } from "./remote/call-bounds.ts";
import { definedOnly } from "@veilface/proto";
import type { ModelOption } from "./client-options.ts";
import { ClientError } from "./errors.ts";
import type { GalleryCalls } from "./remote/gallery-calls.ts";
import { checkId } from "./ids.ts";
import type { KeyHolder } from "./keys/key-holder.ts";
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

type Options = Bounded<ModelOption>;

/** A gallery with what is needed to ask of it. */
export interface OpenGallery {
  readonly info: GalleryInfo;
  readonly crypto: PackedCrypto;
  readonly roster: Roster;
}

/** A gallery that is about to be asked something. */
export interface AskedGallery {
  readonly galleryId: string;
  /** As it was when it was last heard of; undefined for the first time. */
  readonly known: OpenGallery | undefined;
  readonly roster: Roster;
  /**
   * The gallery as the server describes it now. Throws ClientError KEY_MISMATCH, MODEL_MISMATCH; ROSTER_STALE where it
   * is another one than is known, whose probe may be on its way.
   */
  readonly open: (info: GalleryInfo) => OpenGallery;
  /** Throws ClientError ROSTER_STALE where another gallery has its id by now. */
  readonly confirm: (gallery: OpenGallery) => Promise<void>;
}

/**
 * What a client knows of the galleries under its key, so that the next question about one need not begin by reading
 * it.
 */
export class OpenGalleries {
  readonly #calls: GalleryCalls;
  readonly #keyHolder: KeyHolder;
  readonly #rosterCache: RosterCache | undefined;
  readonly #known = new Map<string, OpenGallery>();
  readonly #rosters = new Map<string, Roster>();

  constructor(calls: GalleryCalls, keyHolder: KeyHolder, rosterCache: RosterCache | undefined) {
    this.#calls = calls;
    this.#keyHolder = keyHolder;
    this.#rosterCache = rosterCache;
  }

  /** What is known of a gallery is of an earlier one. */
  forget(galleryId: string): void {
    this.#known.delete(galleryId);
  }

  /** Nor is its roster wanted any more. */
  forgetRoster(galleryId: string): void {
    this.forget(galleryId);
    this.#rosters.delete(galleryId);
  }

  /**
   * Reads a gallery and keeps what is known of it, unless it is another one under the same id by now. Throws
   * ClientError KEY_MISMATCH, MODEL_MISMATCH.
   */
  async read(galleryId: string, options: Options): Promise<OpenGallery> {
    return this.#open(await this.#calls.get(galleryId, options), options);
  }

  /**
   * Asks something of a gallery as it is known; where it turns out to be another one by now, or to change meanwhile, it
   * is asked anew, three times at most.
   */
  async ask<T>(galleryId: string, options: Options, run: (asked: AskedGallery) => Promise<T>): Promise<T> {
    checkId("gallery", galleryId);
    for (let attempt = 1; ; attempt++) {
      try {
        return await run(this.#asked(galleryId, options));
      } catch (error) {
        if (!mayHaveChanged(error) || attempt === ATTEMPTS) throw error;
        this.forget(galleryId);
      }
    }
  }

  /** Runs with a gallery that is read anew, as {@link ask} does. */
  async withCurrent<T>(
    galleryId: string,
    options: Options,
    run: (gallery: OpenGallery, asked: AskedGallery) => Promise<T>,
  ): Promise<T> {
    return this.ask(galleryId, options, async (asked) => run(await this.read(galleryId, options), asked));
  }

  #asked(galleryId: string, options: Options): AskedGallery {
    const known = this.#known.get(galleryId);
    if (known !== undefined) checkModel(known.info, options);
    const open = (info: GalleryInfo): OpenGallery => {
      if (known !== undefined && !isSame(known.info, info)) throw replaced(galleryId);
      return this.#open(info, options);
    };
    const confirm = async ({ info }: OpenGallery): Promise<void> => {
      if (!isSame(info, await this.#calls.get(galleryId, options))) throw replaced(galleryId);
    };
    return { galleryId, known, roster: this.#rosterOf(galleryId), open, confirm };
  }

  #open(info: GalleryInfo, options: Options): OpenGallery {
    const { galleryId } = info;
    if (info.contextId !== this.#keyHolder.contextId) {
      throw new ClientError(
        "KEY_MISMATCH",
        `gallery "${galleryId}" belongs to another key: use the key it was created with`,
      );
    }
    checkModel(info, options);
    checkPackedGallery(info);
    const known = this.#known.get(galleryId);
    const isKnown = known !== undefined && isSame(known.info, info);
    const crypto = isKnown ? known.crypto : new PackedCrypto(this.#keyHolder, info.space);
    const gallery = { info, crypto, roster: this.#rosterOf(galleryId) };
    this.#known.set(galleryId, gallery);
    return gallery;
  }

  #rosterOf(galleryId: string): Roster {
    const known = this.#rosters.get(galleryId);
    if (known !== undefined) return known;
    const readPage = (sinceRevision: number, pageToken: string, options: Bounded = UNBOUNDED) =>
      this.#calls.readRosterPage(galleryId, { sinceRevision, pageToken }, options);
    const roster = new Roster(readPage, this.#rosterCache?.storeFor(galleryId));
    this.#rosters.set(galleryId, roster);
    return roster;
  }
}

function replaced(galleryId: string): ClientError {
  return new ClientError("ROSTER_STALE", `gallery "${galleryId}" was replaced meanwhile: try again`);
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
