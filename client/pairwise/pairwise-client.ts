import { MAX_NORM_BOUND } from "@veilface/proto";
import { throwingClientErrors, yieldingWithClientErrors } from "../boundary.ts";
import type { Names } from "../boundary.ts";
import type { DeletedTemplates } from "../deletion.ts";
import { checkContextId } from "../ids.ts";
import { DEFAULT_DEADLINE_MS, checkDeadline, throwIfAborted } from "../remote/calls.ts";
import type { CallOptions } from "../remote/calls.ts";
import { openServices } from "../remote/channel.ts";
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
  readonly #calls: PairwiseCalls;
  readonly #galleryCalls: GalleryCalls;
  readonly #contexts: PairwiseContexts;
  readonly #comparisons: PairwiseComparisons;
  readonly #galleries: PairwiseGalleries;

  /** Connects at the first call. Throws ClientError USAGE for a malformed address, or plain text to another machine. */
  constructor(options: PairwiseClientOptions) {
    this.#calls = new PairwiseCalls(openServices(options), options.deadlineMs ?? DEFAULT_DEADLINE_MS);
    this.#galleryCalls = new GalleryCalls(this.#calls.services, options.deadlineMs ?? DEFAULT_DEADLINE_MS);
    this.#contexts = new PairwiseContexts(this.#calls);
    this.#comparisons = new PairwiseComparisons(this.#calls);
    this.#galleries = new PairwiseGalleries(this.#calls, this.#galleryCalls);
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
    return this.#do({}, options, () => this.#contexts.uploadTenseal(data, options));
  }

  /**
   * Uploads the parameters and evaluation keys of a SEAL context, as {@link uploadTensealContext}. Throws ClientError
   * SECRET_KEY_REFUSED where one of them is a secret key.
   */
  async uploadContext(keys: PairwiseKeys, options: UploadOptions = {}): Promise<PairwiseContext> {
    return this.#do({}, options, () => this.#contexts.uploadSeal(keys, options));
  }

  /** Which server this is, and what it takes. */
  async getServerInfo(options: CallOptions = {}): Promise<ServerInfo> {
    return this.#do({}, options, () => this.#galleryCalls.serverInfo(options));
  }

  /** One context as it is. Refused with CONTEXT_NOT_FOUND; USAGE for one of the packed scheme. */
  async getContext(contextId: string, options: CallOptions = {}): Promise<PairwiseContext> {
    return this.#do({}, options, () => this.#contexts.get(contextId, options));
  }

  /** All contexts of the pairwise scheme on the server, in the order of their ids. */
  async listContexts(options: CallOptions = {}): Promise<PairwiseContext[]> {
    return this.#do({}, options, () => this.#contexts.list(options));
  }

  /**
   * Deletes a context and its keys. Refused with CONTEXT_NOT_FOUND, and with CONTEXT_IN_USE while galleries exist under
   * it, unless forced.
   */
  async deleteContext(contextId: string, options: DeleteContextOptions = {}): Promise<void> {
    await this.#do({}, options, () => this.#contexts.delete(contextId, options));
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
    return this.#do({}, options, () => this.#comparisons.compare(contextId, vectors, options));
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
    return this.#stream({}, options, () => this.#comparisons.compareMany(contextId, vectors, options));
  }

  /**
   * Makes an empty gallery. Refused with GALLERY_EXISTS, CONTEXT_NOT_FOUND, ROTATION_KEYS_MISSING for a dimension that
   * the context has no keys for.
   */
  async createGallery(gallery: NewPairwiseGallery, options: CallOptions = {}): Promise<GalleryInfo> {
    return this.#do({}, options, async () => {
      const { galleryId, contextId, metric, dimension, modelId = "tenseal" } = gallery;
      const normBound = gallery.normBound ?? (await this.#usualNormBound(gallery, options));
      const space = { dimension, metric, modelId, normBound };
      return this.#galleryCalls.create({ galleryId, contextId: checkContextId(contextId), space }, options);
    });
  }

  /** One gallery. Refused with GALLERY_NOT_FOUND. */
  async getGallery(galleryId: string, options: CallOptions = {}): Promise<GalleryInfo> {
    return this.#do({ galleryId }, options, () => this.#galleryCalls.get(galleryId, options));
  }

  /** The galleries of a context, in the order of their ids. */
  async listGalleries(contextId: string, options: CallOptions = {}): Promise<GalleryInfo[]> {
    return this.#do({}, options, () => this.#galleryCalls.list(checkContextId(contextId), options));
  }

  /** Deletes a gallery with all its templates. Refused with GALLERY_NOT_FOUND. */
  async deleteGallery(galleryId: string, options: CallOptions = {}): Promise<void> {
    await this.#do({ galleryId }, options, () => this.#galleryCalls.delete(galleryId, options));
  }

  /**
   * Enrolls encrypted vectors as they come, each durable once `onProgress` names it; at most eight are under way.
   * Sending an id again replaces its template, so a broken run is run again. Returns how many were enrolled. Where the
   * source throws, what it yielded before is enrolled first. Throws ClientError as {@link compare}, USAGE also for a
   * vector of another dimension than the gallery's.
   */
  async enroll(galleryId: string, source: EnrollmentSource, options: PairwiseEnrollOptions = {}): Promise<number> {
    return this.#do({ galleryId }, options, () => this.#galleries.enroll(galleryId, source, options));
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
    return this.#stream({ galleryId }, options, () => this.#galleries.search(galleryId, probe, options));
  }

  /** Compares a probe with the templates of one subject (1:1), as {@link search}. Refused with SUBJECT_NOT_FOUND. */
  compareTemplates(
    galleryId: string,
    claim: PairwiseClaim,
    options: PairwiseSearchOptions = {},
  ): AsyncGenerator<PairwiseMatch, void, undefined> {
    return this.#stream({ galleryId, ...claim }, options, () =>
      this.#galleries.compareTemplates(galleryId, claim, options),
    );
  }

  /** The templates of a gallery, in the order they last changed. */
  async listTemplates(galleryId: string, options: CallOptions = {}): Promise<RosterEntry[]> {
    return this.#do({ galleryId }, options, () => this.#galleries.templates(galleryId, options));
  }

  /** Deletes templates, named one by one or by subject, and says which were not there. Nothing of them stays. */
  async deleteTemplates(
    galleryId: string,
    ids: DeletedIds,
    options: CallOptions = {},
  ): Promise<Omit<DeletedTemplates, "struck">> {
    const { deleted, notFound } = await this.#do({ galleryId }, options, () =>
      this.#galleryCalls.deleteTemplates(galleryId, ids, options),
    );
    return { deleted, notFound };
  }

  /** Closes the connection; calls under way end with ClientError USAGE. */
  [Symbol.dispose](): void {
    this.#calls.services.close();
  }

  /** 1 for cosine; else the largest norm of vectors whose squared distance, at most 4 R^2, the context has room for. */
  async #usualNormBound({ metric, contextId }: NewPairwiseGallery, options: CallOptions): Promise<number> {
    if (metric === "cosine") return 1;
    const { maxDistance } = await this.#contexts.get(contextId, options);
    return Math.min(MAX_NORM_BOUND, (1 - 1e-9) * (Math.sqrt(maxDistance) / 2));
  }

  /**
   * Runs a public method: on an open client, with its deadline and signal in order, throwing nothing but ClientError.
   */
  #do<T>(names: Names, options: CallOptions, run: () => Promise<T>): Promise<T> {
    return throwingClientErrors(names, async () => {
      this.#check(options);
      return run();
    });
  }

  /** As {@link #do}, of a method that yields. */
  #stream<T>(names: Names, options: CallOptions, run: () => AsyncIterable<T>): AsyncGenerator<T, void, undefined> {
    const check = (): void => {
      this.#check(options);
    };
    return yieldingWithClientErrors(names, async function* () {
      check();
      yield* run();
    });
  }

  #check(options: CallOptions): void {
    this.#calls.services.checkOpen();
    checkDeadline(options.deadlineMs);
    throwIfAborted(options);
  }
}
