import { Boundary } from "../boundary.ts";
import { MAX_NORM_BOUND } from "@veilface/proto";
import type { DeletedTemplates } from "../deletion.ts";
import { checkContextId } from "../ids.ts";
import type { Bounded, CallOptions } from "../remote/call-bounds.ts";
import { GalleryCalls } from "../remote/gallery-calls.ts";
import type { DeletedIds } from "../remote/gallery-calls.ts";
import type { GalleryInfo, RosterEntry, ServerInfo } from "../remote/wire.ts";
import type { UploadOptions } from "./key-upload.ts";
import { PairwiseCalls } from "./pairwise-calls.ts";
import { PairwiseComparisons } from "./pairwise-comparisons.ts";
import { PairwiseContexts } from "./pairwise-contexts.ts";
import { PairwiseGalleries } from "./pairwise-galleries.ts";
import type {
  EnrollmentSource,
  PairwiseClaim,
  PairwiseEnrollOptions,
  PairwiseMatch,
  PairwiseSearchOptions,
} from "./pairwise-galleries.ts";
import type {
  DeleteContextOptions,
  NewPairwiseGallery,
  PairwiseClientOptions,
  PairwiseCompareOptions,
  PairwiseKeys,
  TensealUploadOptions,
  VectorPair,
  VectorWithOthers,
} from "./pairwise-options.ts";
import { PairwiseGallery } from "./pairwise-gallery.ts";
import type { PairwiseCiphertext, PairwiseContext } from "./pairwise-wire.ts";

/**
 * Has vectors compared that TenSEAL or SEAL encrypted, pair by pair, under keys that it never sees: it holds no key,
 * encrypts and decrypts nothing. Two at a time, one with many, or a probe with the templates of a gallery. One
 * connection; calls may run at the same time. Every method throws ClientError: SERVER_UNAVAILABLE, DEADLINE_EXCEEDED,
 * CANCELLED, SERVER_REFUSED with the server's reason (such as ROTATION_KEYS_MISSING), REPLY_INVALID for an answer that
 * cannot be right, USAGE for an argument out of range or once the client is closed, INTERNAL for a fault of its own;
 * what the caller's own sources and callbacks throw comes as it is. What changes nothing is tried again for some three
 * seconds where the server is away; everything else where nothing was sent yet.
 */
export class PairwiseClient implements Disposable {
  readonly #boundary: Boundary;
  readonly #galleryCalls: GalleryCalls;
  readonly #contexts: PairwiseContexts;
  readonly #comparisons: PairwiseComparisons;
  readonly #galleries: PairwiseGalleries;

  /**
   * Connects at the first call. Throws ClientError USAGE for a malformed address or deadline, or plain text to another
   * machine or a proxy.
   */
  constructor(options: PairwiseClientOptions) {
    this.#boundary = new Boundary(options);
    this.#galleryCalls = new GalleryCalls(this.#boundary.rpcs);
    const calls = new PairwiseCalls(this.#boundary.rpcs);
    this.#contexts = new PairwiseContexts(calls);
    this.#comparisons = new PairwiseComparisons(calls);
    this.#galleries = new PairwiseGalleries(calls, this.#galleryCalls);
  }

  /**
   * Uploads a public TenSEAL context: what `context.serialize()` gives without the secret key, or base64 text of it, as
   * bytes or as a stream such as `createReadStream(path)`. The public key in it is left out. Changes nothing where the
   * server has it already. With a `dimension` only what vectors of so many components need is sent, and a context of
   * any size is read as it comes; its id is that of the keys that are sent, and the same for all dimensions with the
   * same steps. Throws ClientError SECRET_KEY_REFUSED, before anything is sent, for a context with its secret key;
   * TENSEAL_INVALID for anything else than a public context, or one above 64 MiB.
   */
  async uploadTensealContext(
    data: Uint8Array | AsyncIterable<Uint8Array>,
    options: TensealUploadOptions = {},
  ): Promise<PairwiseContext> {
    return this.#boundary.run({}, options, (bounded) => this.#contexts.uploadTenseal(data, bounded));
  }

  /**
   * Uploads the parameters and evaluation keys of a SEAL context, as {@link uploadTensealContext}. Throws ClientError
   * SECRET_KEY_REFUSED where one of them is a secret key.
   */
  async uploadContext(keys: PairwiseKeys, options: UploadOptions = {}): Promise<PairwiseContext> {
    return this.#boundary.run({}, options, (bounded) => this.#contexts.uploadSeal(keys, bounded));
  }

  /** Which server this is, and what it takes. */
  async getServerInfo(options: CallOptions = {}): Promise<ServerInfo> {
    return this.#boundary.run({}, options, (bounded) => this.#galleryCalls.serverInfo(bounded));
  }

  /** One context as it is. Refused with CONTEXT_NOT_FOUND; USAGE for one of the packed scheme. */
  async getContext(contextId: string, options: CallOptions = {}): Promise<PairwiseContext> {
    return this.#boundary.run({}, options, (bounded) => this.#contexts.get(contextId, bounded));
  }

  /** All contexts of the pairwise scheme on the server, in the order of their ids. */
  async listContexts(options: CallOptions = {}): Promise<PairwiseContext[]> {
    return this.#boundary.run({}, options, (bounded) => this.#contexts.list(bounded));
  }

  /**
   * Deletes a context and its keys. Refused with CONTEXT_NOT_FOUND, and with CONTEXT_IN_USE while galleries exist under
   * it, unless forced.
   */
  async deleteContext(contextId: string, options: DeleteContextOptions = {}): Promise<void> {
    await this.#boundary.run({}, options, (bounded) => this.#contexts.delete(contextId, bounded));
  }

  /**
   * Compares two freshly encrypted vectors: the encrypted result is in slot 0 of the reply, which only the holder of
   * the secret key can read. Undefined where both are one and the same ciphertext, whose squared distance is exactly 0:
   * their difference would hide nothing. The reply is checked to be of the context and to have its SHA-256. Throws
   * ClientError TENSEAL_INVALID or SECRET_KEY_REFUSED for bytes that are no TenSEAL vector where they should be.
   */
  async compare(
    contextId: string,
    vectors: VectorPair,
    options: PairwiseCompareOptions,
  ): Promise<PairwiseCiphertext | undefined> {
    return this.#boundary.run({}, options, (bounded) => this.#comparisons.compare(contextId, vectors, bounded));
  }

  /**
   * Compares one vector with many, in the order they come: at most four are under way at a time. Throws as
   * {@link compare}, naming the vector; what was yielded before stands.
   */
  compareMany(
    contextId: string,
    vectors: VectorWithOthers,
    options: PairwiseCompareOptions,
  ): AsyncGenerator<PairwiseCiphertext | undefined, void, undefined> {
    return this.#boundary.stream({}, options, (bounded) => this.#comparisons.compareMany(contextId, vectors, bounded));
  }

  /**
   * Makes an empty gallery. Refused with GALLERY_EXISTS, CONTEXT_NOT_FOUND, ROTATION_KEYS_MISSING for a dimension that
   * the context has no keys for.
   */
  async createGallery(gallery: NewPairwiseGallery, options: CallOptions = {}): Promise<GalleryInfo> {
    return this.#boundary.run({}, options, async (bounded) => {
      const { galleryId, contextId, metric, dimension, modelId = "tenseal" } = gallery;
      const normBound = gallery.normBound ?? (await this.#usualNormBound(gallery, bounded));
      const space = { dimension, metric, modelId, normBound };
      return this.#galleryCalls.create({ galleryId, contextId: checkContextId(contextId), space }, bounded);
    });
  }

  /** One gallery. Refused with GALLERY_NOT_FOUND. */
  async getGallery(galleryId: string, options: CallOptions = {}): Promise<GalleryInfo> {
    return this.#boundary.run({ galleryId }, options, (bounded) => this.#galleryCalls.get(galleryId, bounded));
  }

  /**
   * A handle for one gallery, so that its id need not be repeated; the gallery is read once, to check it. Refused with
   * GALLERY_NOT_FOUND; throws ClientError USAGE for one of the packed scheme.
   */
  async openGallery(galleryId: string, options: CallOptions = {}): Promise<PairwiseGallery> {
    return this.#boundary.run({ galleryId }, options, async (bounded) => {
      const { contextId } = await this.#galleryCalls.get(galleryId, bounded);
      await this.#contexts.get(contextId, bounded);
      return new PairwiseGallery(this, galleryId);
    });
  }

  /** The galleries of a context, in the order of their ids. */
  async listGalleries(contextId: string, options: CallOptions = {}): Promise<GalleryInfo[]> {
    return this.#boundary.run({}, options, (bounded) => this.#galleryCalls.list(checkContextId(contextId), bounded));
  }

  /** Deletes a gallery with all its templates. Refused with GALLERY_NOT_FOUND. */
  async deleteGallery(galleryId: string, options: CallOptions = {}): Promise<void> {
    await this.#boundary.run({ galleryId }, options, (bounded) => this.#galleryCalls.delete(galleryId, bounded));
  }

  /**
   * Enrolls encrypted vectors as they come, each durable once `onProgress` names it; at most eight are under way.
   * Sending an id again replaces its template, so a broken run is run again. Returns how many were enrolled. Where the
   * source throws, what it yielded before is enrolled first. Throws ClientError as {@link compare}, USAGE also for a
   * vector of another dimension than the gallery's.
   */
  async enroll(galleryId: string, source: EnrollmentSource, options: PairwiseEnrollOptions = {}): Promise<number> {
    return this.#boundary.run({ galleryId }, options, (bounded) => this.#galleries.enroll(galleryId, source, bounded));
  }

  /**
   * Compares a probe with every template of a gallery; the matches come as they are ready, in no particular order.
   * Templates that change while it runs are left out. Throws ClientError as {@link compare}, REPLY_INVALID where a
   * template is left out that did not.
   */
  search(
    galleryId: string,
    probe: PairwiseCiphertext,
    options: PairwiseSearchOptions = {},
  ): AsyncGenerator<PairwiseMatch, void, undefined> {
    return this.#boundary.stream({ galleryId }, options, (bounded) =>
      this.#galleries.search(galleryId, probe, bounded),
    );
  }

  /** Compares a probe with the templates of one subject (1:1), as {@link search}. Refused with SUBJECT_NOT_FOUND. */
  compareTemplates(
    galleryId: string,
    claim: PairwiseClaim,
    options: PairwiseSearchOptions = {},
  ): AsyncGenerator<PairwiseMatch, void, undefined> {
    return this.#boundary.stream({ galleryId, ...claim }, options, (bounded) =>
      this.#galleries.compareTemplates(galleryId, claim, bounded),
    );
  }

  /** The templates of a gallery, in the order they last changed. */
  async listTemplates(galleryId: string, options: CallOptions = {}): Promise<RosterEntry[]> {
    return this.#boundary.run({ galleryId }, options, (bounded) => this.#galleries.templates(galleryId, bounded));
  }

  /**
   * Deletes templates, named one by one or by subject; says how many, and which of the ids were not there. Nothing of
   * them stays. Where it throws, some may be deleted: call it again.
   */
  async deleteTemplates(
    galleryId: string,
    ids: DeletedIds,
    options: CallOptions = {},
  ): Promise<Omit<DeletedTemplates, "struck">> {
    return this.#boundary.run({ galleryId }, options, async (bounded) => {
      const { deleted, notFound } = await this.#galleryCalls.deleteTemplates(galleryId, ids, bounded);
      return { deleted, notFound };
    });
  }

  /** Closes the connection, as `using` does; calls under way end with ClientError USAGE. Again, it does nothing. */
  close(): void {
    this.#boundary.close();
  }

  /** As {@link close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** 1 for cosine; else the largest norm of vectors whose squared distance, at most 4 R^2, the context has room for. */
  async #usualNormBound({ metric, contextId }: NewPairwiseGallery, options: Bounded): Promise<number> {
    if (metric === "cosine") return 1;
    const { maxDistance } = await this.#contexts.get(contextId, options);
    return Math.min(MAX_NORM_BOUND, (1 - 1e-9) * (Math.sqrt(maxDistance) / 2));
  }
}
