import { KeyMaterial } from "@veilface/proto";
import { callersSource, throwingClientErrors, yieldingWithClientErrors } from "../boundary.ts";
import type { Names } from "../boundary.ts";
import { DEFAULT_DEADLINE_MS, checkDeadline, throwIfAborted } from "../remote/calls.ts";
import type { CallOptions } from "../remote/calls.ts";
import { openServices } from "../remote/channel.ts";
import { ClientError } from "../errors.ts";
import { GalleryCalls } from "../remote/gallery-calls.ts";
import type { DeletedIds } from "../remote/gallery-calls.ts";
import { checkContextId } from "../ids.ts";
import { invalidReply } from "../remote/wire.ts";
import type { GalleryInfo, RosterEntry, ServerInfo } from "../remote/wire.ts";
import { uploadKeys } from "./key-upload.ts";
import type { ContextUpload, UploadOptions } from "./key-upload.ts";
import type { ByteSource } from "./byte-stream.ts";
import { trimContext } from "./context-trimmer.ts";
import { MAX_KEY_BYTES } from "./limits.ts";
import { mapInOrder } from "./map-in-order.ts";
import { PairwiseCalls } from "./pairwise-calls.ts";
import type { OutgoingVector } from "./pairwise-calls.ts";
import { PairwiseGalleries } from "./pairwise-galleries.ts";
import type {
  EnrollmentSource,
  PairwiseEnrollOptions,
  PairwiseMatch,
  PairwiseSearchOptions,
} from "./pairwise-galleries.ts";
import { areSameVectors, fromWireContext, fromWireDistance, toWireEncoding, toWireOperation } from "./pairwise-wire.ts";
import type {
  DeleteContextOptions,
  NewPairwiseGallery,
  PairwiseClientOptions,
  PairwiseCompareOptions,
  PairwiseKeys,
  TensealUploadOptions,
} from "./pairwise-options.ts";
import type { PairwiseCiphertext, PairwiseContext } from "./pairwise-wire.ts";
import { guardSecretKey } from "./secret-key-guard.ts";
import { TRIM_ADVICE } from "./tenseal-advice.ts";
import { collectContext, publicTensealContext } from "./tenseal-files.ts";

type VectorPair = readonly [PairwiseCiphertext, PairwiseCiphertext];

const COMPARISONS_UNDER_WAY = 4;
const MAX_CONTEXTS_PER_PAGE = 1000;
const [MIN_NORM_BOUND, MAX_NORM_BOUND] = [1e-6, 1e6];
const MAX_ACCEPTED_ERROR = 1e6;

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
  readonly #galleries: PairwiseGalleries;

  /** Connects at the first call. Throws ClientError USAGE for a malformed address, or plain text to another machine. */
  constructor(options: PairwiseClientOptions) {
    this.#calls = new PairwiseCalls(openServices(options), options.deadlineMs ?? DEFAULT_DEADLINE_MS);
    this.#galleryCalls = new GalleryCalls(this.#calls.services, options.deadlineMs ?? DEFAULT_DEADLINE_MS);
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
    return this.#do({}, options, async () => {
      const { dimension, name = "the data" } = options;
      const source: ByteSource = data instanceof Uint8Array ? [data] : callersSource(data);
      if (dimension !== undefined) return this.#upload(await trimContext({ source, dimension, name }), options);
      const bytes = publicTensealContext(
        data instanceof Uint8Array ? data : await collectContext(callersSource(data), name),
        name,
      );
      const keys = [{ material: KeyMaterial.KEY_MATERIAL_TENSEAL_CONTEXT, bytes }];
      return this.#upload({ encryptionParameters: new Uint8Array(), scale: 0, keys }, options);
    });
  }

  /**
   * Uploads the parameters and evaluation keys of a SEAL context, as {@link uploadTensealContext}. Throws ClientError
   * SECRET_KEY_REFUSED where one of them is a secret key.
   */
  async uploadContext(
    { encryptionParameters, scale, relinKeys, galoisKeys }: PairwiseKeys,
    options: UploadOptions = {},
  ): Promise<PairwiseContext> {
    return this.#do({}, options, () => {
      guardSecretKey(options.name ?? "the key material", encryptionParameters, relinKeys, galoisKeys);
      const keys = [
        { material: KeyMaterial.KEY_MATERIAL_SEAL_RELIN_KEYS, bytes: relinKeys },
        { material: KeyMaterial.KEY_MATERIAL_SEAL_GALOIS_KEYS, bytes: galoisKeys },
      ];
      return this.#upload({ encryptionParameters, scale, keys }, options);
    });
  }

  /** Which server this is, and what it takes. */
  async getServerInfo(options: CallOptions = {}): Promise<ServerInfo> {
    return this.#do({}, options, () => this.#galleryCalls.serverInfo(options));
  }

  /** One context as it is. Refused with CONTEXT_NOT_FOUND; USAGE for one of the packed scheme. */
  async getContext(contextId: string, options: CallOptions = {}): Promise<PairwiseContext> {
    return this.#do({}, options, () => this.#getContext(contextId, options));
  }

  /** All contexts of the pairwise scheme on the server, in the order of their ids. */
  async listContexts(options: CallOptions = {}): Promise<PairwiseContext[]> {
    return this.#do({}, options, async () => {
      const found: PairwiseContext[] = [];
      let pageToken = "";
      do {
        const request = { pageSize: MAX_CONTEXTS_PER_PAGE, pageToken };
        const page = await this.#calls.read(options, (signal) =>
          this.#calls.services.contexts.listContexts(request, { signal }),
        );
        found.push(...page.contexts.map(fromWireContext).filter((context) => context !== undefined));
        pageToken = page.nextPageToken;
      } while (pageToken !== "");
      return found;
    });
  }

  /**
   * Deletes a context and its keys. Refused with CONTEXT_NOT_FOUND, and with CONTEXT_IN_USE while galleries exist under
   * it, unless forced.
   */
  async deleteContext(contextId: string, { force = false, ...options }: DeleteContextOptions = {}): Promise<void> {
    await this.#do({}, options, async () => {
      checkContextId(contextId);
      await this.#calls.run(options, (signal) =>
        this.#calls.services.contexts.deleteContext({ contextId, force }, { signal }),
      );
    });
  }

  /**
   * Compares two freshly encrypted vectors: the encrypted result is in slot 0 of the reply, which only the holder of
   * the secret key can read. Undefined where both are one and the same ciphertext, whose squared distance is exactly 0:
   * their difference would hide nothing. The reply is checked to be of the context and to have its SHA-256. Throws
   * ClientError TENSEAL_INVALID or SECRET_KEY_REFUSED for bytes that are no TenSEAL vector where they should be.
   */
  async compare(
    contextId: string,
    first: PairwiseCiphertext,
    second: PairwiseCiphertext,
    options: PairwiseCompareOptions,
  ): Promise<PairwiseCiphertext | undefined> {
    return this.#do({}, options, () => this.#compare(contextId, [first, second], options));
  }

  /**
   * Compares one vector with many, in the order they come: at most four are under way at a time. Throws as
   * {@link compare}, naming the vector; what was yielded before stands.
   */
  compareMany(
    contextId: string,
    first: PairwiseCiphertext,
    others: Iterable<PairwiseCiphertext> | AsyncIterable<PairwiseCiphertext>,
    options: PairwiseCompareOptions,
  ): AsyncGenerator<PairwiseCiphertext | undefined, void, undefined> {
    return this.#stream({}, options, () =>
      mapInOrder(callersSource(others), COMPARISONS_UNDER_WAY, async (other) => {
        try {
          return await this.#compare(contextId, [first, other], options);
        } catch (cause) {
          throw namingVector(cause, other.name);
        }
      }),
    );
  }

  /**
   * Makes an empty gallery. Refused with GALLERY_EXISTS, CONTEXT_NOT_FOUND, ROTATION_KEYS_MISSING for a dimension that
   * the context has no keys for.
   */
  async createGallery(
    { galleryId, contextId, metric, dimension, modelId = "tenseal", normBound }: NewPairwiseGallery,
    options: CallOptions = {},
  ): Promise<GalleryInfo> {
    return this.#do({}, options, async () => {
      const bound = normBound ?? (metric === "cosine" ? 1 : largestNorm(await this.#getContext(contextId, options)));
      const space = { dimension, metric, modelId, normBound: bound };
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
    subjectId: string,
    probe: PairwiseCiphertext,
    options: PairwiseSearchOptions = {},
  ): AsyncGenerator<PairwiseMatch, void, undefined> {
    return this.#stream({ galleryId, subjectId }, options, () =>
      this.#galleries.compareTemplates(galleryId, subjectId, probe, options),
    );
  }

  /** The templates of a gallery, in the order they last changed. */
  async listTemplates(galleryId: string, options: CallOptions = {}): Promise<RosterEntry[]> {
    return this.#do({ galleryId }, options, () => this.#galleries.templates(galleryId, options));
  }

  /**
   * Deletes templates, named one by one or by subject; returns the ids of those that were there. Nothing of them stays.
   */
  async deleteTemplates(galleryId: string, ids: DeletedIds, options: CallOptions = {}): Promise<readonly string[]> {
    const deletion = await this.#do({ galleryId }, options, () =>
      this.#galleryCalls.deleteTemplates(galleryId, ids, options),
    );
    return deletion.deleted;
  }

  [Symbol.dispose](): void {
    this.#calls.services.close();
  }

  async #compare(
    contextId: string,
    [first, second]: VectorPair,
    options: PairwiseCompareOptions,
  ): Promise<PairwiseCiphertext | undefined> {
    checkContextId(contextId);
    const { operation, normBound = 0, replyEncoding = first.encoding } = options;
    if (options.normBound !== undefined && !(normBound >= MIN_NORM_BOUND && normBound <= MAX_NORM_BOUND)) {
      throw new ClientError(
        "USAGE",
        `norm bound ${normBound} is out of range: expected a number in [${MIN_NORM_BOUND}, ${MAX_NORM_BOUND}]`,
      );
    }
    const [x, y] = [
      await this.#calls.outgoing(contextId, first, options),
      await this.#calls.outgoing(contextId, second, options),
    ];
    const dimension = agreedDimension(x, y, options.dimension);
    const request = {
      first: x.wire,
      second: y.wire,
      operation: toWireOperation(operation),
      dimension,
      normBound,
      replyEncoding: toWireEncoding(replyEncoding),
    };
    const reply = await this.#calls.read(options, (signal) =>
      this.#calls.services.matching.compareCiphertexts(request, { signal }),
    );
    if (!reply.identical) return fromWireDistance(contextId, replyEncoding, reply.distance);
    if (operation === "squared-distance" && areSameVectors(x.wire, y.wire)) return undefined;
    throw invalidReply("that two different ciphertexts are one and the same");
  }

  async #getContext(contextId: string, options: CallOptions): Promise<PairwiseContext> {
    checkContextId(contextId);
    const { context } = await this.#calls.read(options, (signal) =>
      this.#calls.services.contexts.getContext({ contextId }, { signal }),
    );
    const found = fromWireContext(context);
    if (found === undefined)
      throw new ClientError(
        "USAGE",
        `context ${contextId} is of the packed scheme: expected one of the pairwise scheme`,
      );
    if (found.contextId !== contextId) throw invalidReply("another context than was asked for");
    return found;
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

  async #upload(upload: ContextUpload, options: UploadOptions): Promise<PairwiseContext> {
    checkAcceptedError(options);
    const bytes = upload.keys.reduce((sum, key) => sum + key.bytes.length, 0);
    if (bytes > MAX_KEY_BYTES)
      throw new ClientError(
        "USAGE",
        `the key material has ${bytes} bytes: expected at most ${MAX_KEY_BYTES}; ${TRIM_ADVICE}`,
      );
    // Where no server is, that should be known before the upload is tried again and again for 21 s.
    await this.#calls.read(options, (signal) =>
      this.#calls.services.contexts.listContexts({ pageSize: 1 }, { signal }),
    );
    const context = fromWireContext(await uploadKeys(this.#calls.services, upload, this.#calls.deadline(options)));
    if (context === undefined) throw invalidReply("a context of another scheme than was uploaded");
    return context;
  }
}

/** The largest norm of vectors whose squared distance, at most 4 R^2, the context has room for. */
function largestNorm({ maxDistance }: PairwiseContext): number {
  return Math.min(MAX_NORM_BOUND, (1 - 1e-9) * (Math.sqrt(maxDistance) / 2));
}

/** What the server refused of one vector among others, with the vector's name. */
function namingVector(cause: unknown, name: string | undefined): unknown {
  if (!(cause instanceof ClientError) || cause.reason !== "SERVER_REFUSED" || name === undefined) return cause;
  return new ClientError(cause.reason, `${name}: ${cause.message}`, {
    cause,
    ...(cause.serverReason !== undefined && { serverReason: cause.serverReason }),
  });
}

function checkAcceptedError({ acceptedError }: UploadOptions): void {
  if (acceptedError === undefined || (acceptedError > 0 && acceptedError <= MAX_ACCEPTED_ERROR)) return;
  const expected = `expected a number in (0, ${MAX_ACCEPTED_ERROR}]`;
  throw new ClientError("USAGE", `accepted error ${acceptedError} is out of range: ${expected}`);
}

/** The dimension that is given or that the vectors say they have. */
function agreedDimension(x: OutgoingVector, y: OutgoingVector, given: number | undefined): number {
  const said = [given, x.dimension, y.dimension].filter((dimension) => dimension !== undefined);
  const [dimension] = said;
  if (dimension === undefined)
    throw new ClientError(
      "USAGE",
      "the dimension is missing: SEAL ciphertexts do not say how many components their vectors have",
    );
  if (!Number.isInteger(dimension) || dimension < 1)
    throw new ClientError("USAGE", `dimension ${dimension} is out of range: expected a whole number >= 1`);
  if (said.some((other) => other !== dimension))
    throw new ClientError("USAGE", `the vectors have ${said.join(" and ")} components: expected the same`);
  return dimension;
}
