import { KeyMaterial } from "@veilface/proto";
import { DEFAULT_DEADLINE_MS, call } from "../calls.ts";
import type { CallOptions } from "../calls.ts";
import { openServices } from "../channel.ts";
import type { ServerOptions, Services } from "../channel.ts";
import { ClientError } from "../errors.ts";
import { checkContextId } from "../ids.ts";
import { invalidReply } from "../wire.ts";
import { uploadKeys } from "./key-upload.ts";
import type { ContextUpload, UploadOptions } from "./key-upload.ts";
import {
  areSameVectors, fromWireContext, fromWireDistance, toWireEncoding, toWireOperation, toWireVector,
} from "./pairwise-wire.ts";
import type { OutgoingVector, PairwiseCiphertext, PairwiseContext, PairwiseEncoding, PairwiseOperation } from "./pairwise-wire.ts";
import { guardSecretKey } from "./secret-key-guard.ts";
import { MAX_KEY_BYTES, publicTensealContext } from "./tenseal-files.ts";

export interface PairwiseClientOptions extends ServerOptions {
  /** The deadline of calls that name none, in milliseconds; 60,000 unless set. */
  readonly deadlineMs?: number;
}

/** SEAL's serialisations, in any compression. */
export interface PairwiseKeys {
  readonly encryptionParameters: Uint8Array;
  /** Of fresh ciphertexts. */
  readonly scale: number;
  /** With or without seeds. */
  readonly relinKeys: Uint8Array;
  /** With or without seeds; for rotations to the left by all powers of two below the dimension of the vectors. */
  readonly galoisKeys: Uint8Array;
}

export interface PairwiseCompareOptions extends CallOptions {
  readonly operation: PairwiseOperation;
  /** Components of either vector, in [1, maxDimension]. Required unless a TenSEAL vector says it. */
  readonly dimension?: number;
  /** R, the largest Euclidean norm of either vector, in [1e-6, 1e6]. The server computes in the smallest modulus that holds 4 R^2 or R^2: faster. */
  readonly normBound?: number;
  /** The encoding of the reply; that of the first vector unless given. */
  readonly replyEncoding?: PairwiseEncoding;
}

export interface DeleteContextOptions extends CallOptions {
  /** Delete its galleries and all their templates too. */
  readonly force?: boolean;
}

const [MIN_NORM_BOUND, MAX_NORM_BOUND] = [1e-6, 1e6];
const MAX_ACCEPTED_ERROR = 1e6;

/**
 * Has vectors compared that TenSEAL or SEAL encrypted, pair by pair, under keys that it never sees: it holds no key, encrypts and
 * decrypts nothing. It has no galleries; those of the pairwise scheme are in the contract (proto/veilface/v1), for other clients.
 * One connection; calls may run at the same time. Every method throws ClientError: SERVER_UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED,
 * SERVER_REFUSED with the server's reason (such as ROTATION_KEYS_MISSING), REPLY_INVALID for an answer that cannot be right, USAGE for
 * an argument out of range.
 */
export class PairwiseClient implements Disposable {
  readonly #services: Services;
  readonly #deadlineMs: number;

  /** Connects at the first call. Throws ClientError USAGE for a malformed address, or plain text to another machine. */
  constructor(options: PairwiseClientOptions) {
    this.#services = openServices(options);
    this.#deadlineMs = options.deadlineMs ?? DEFAULT_DEADLINE_MS;
  }

  /**
   * Uploads a public TenSEAL context: `context.serialize()` after `make_context_public()`, or base64 text of it, some 35 MB. The public
   * key in it is left out. Changes nothing where the server has it already. Throws ClientError SECRET_KEY_REFUSED, before anything is
   * sent, for a context with its secret key; TENSEAL_INVALID for anything else than a public context. The server refuses one whose expected
   * error is above `acceptedError` with SCALE_OVERFLOW.
   */
  async uploadTensealContext(data: Uint8Array, options: UploadOptions = {}): Promise<PairwiseContext> {
    const bytes = publicTensealContext(data, options.name);
    return this.#upload({ encryptionParameters: new Uint8Array(), scale: 0, keys: [{ material: KeyMaterial.KEY_MATERIAL_TENSEAL_CONTEXT, bytes }] }, options);
  }

  /** Uploads the parameters and evaluation keys of a SEAL context, as {@link uploadTensealContext}. Throws ClientError SECRET_KEY_REFUSED where one of them is a secret key. */
  async uploadContext({ encryptionParameters, scale, relinKeys, galoisKeys }: PairwiseKeys, options: UploadOptions = {}): Promise<PairwiseContext> {
    guardSecretKey(options.name ?? "the key material", encryptionParameters, relinKeys, galoisKeys);
    const keys = [
      { material: KeyMaterial.KEY_MATERIAL_SEAL_RELIN_KEYS, bytes: relinKeys },
      { material: KeyMaterial.KEY_MATERIAL_SEAL_GALOIS_KEYS, bytes: galoisKeys },
    ];
    return this.#upload({ encryptionParameters, scale, keys }, options);
  }

  /** One context as it is. Refused with CONTEXT_NOT_FOUND; USAGE for one of the packed scheme. */
  async getContext(contextId: string, options: CallOptions = {}): Promise<PairwiseContext> {
    checkContextId(contextId);
    const { context } = await this.#call(options, (signal) => this.#services.contexts.getContext({ contextId }, { signal }));
    const found = fromWireContext(context);
    if (found === undefined) throw new ClientError("USAGE", `context ${contextId} is of the packed scheme: expected one of the pairwise scheme`);
    if (found.contextId !== contextId) throw invalidReply("another context than was asked for");
    return found;
  }

  /** Deletes a context and its keys. Refused with CONTEXT_NOT_FOUND, and with CONTEXT_IN_USE while galleries exist under it, unless forced. */
  async deleteContext(contextId: string, { force = false, ...options }: DeleteContextOptions = {}): Promise<void> {
    checkContextId(contextId);
    await this.#call(options, (signal) => this.#services.contexts.deleteContext({ contextId, force }, { signal }));
  }

  /**
   * Compares two freshly encrypted vectors: the encrypted result is in slot 0 of the reply, which only the holder of the secret key can
   * read. Undefined where both are one and the same ciphertext, whose squared distance is exactly 0: their difference would hide nothing.
   * The reply is checked to be of the context and to have its SHA-256. Throws ClientError TENSEAL_INVALID or SECRET_KEY_REFUSED for
   * bytes that are no TenSEAL vector where they should be.
   */
  async compare(contextId: string, first: PairwiseCiphertext, second: PairwiseCiphertext, options: PairwiseCompareOptions): Promise<PairwiseCiphertext | undefined> {
    checkContextId(contextId);
    const { operation, normBound = 0, replyEncoding = first.encoding } = options;
    if (options.normBound !== undefined && !(normBound >= MIN_NORM_BOUND && normBound <= MAX_NORM_BOUND)) {
      throw new ClientError("USAGE", `norm bound ${normBound} is out of range: expected a number in [${MIN_NORM_BOUND}, ${MAX_NORM_BOUND}]`);
    }
    const [x, y] = [toWireVector(contextId, first), toWireVector(contextId, second)];
    const dimension = agreedDimension(x, y, options.dimension);
    const request = { first: x.wire, second: y.wire, operation: toWireOperation(operation), dimension, normBound, replyEncoding: toWireEncoding(replyEncoding) };
    const { matching } = this.#services;
    const reply = await this.#call(options, (signal) => matching.compareCiphertexts(request, { signal }));
    if (!reply.identical) return fromWireDistance(contextId, replyEncoding, reply.distance);
    if (operation === "squared-distance" && areSameVectors(x.wire, y.wire)) return undefined;
    throw invalidReply("that two different ciphertexts are one and the same");
  }

  [Symbol.dispose](): void {
    this.#services.close();
  }

  async #upload(upload: ContextUpload, options: UploadOptions): Promise<PairwiseContext> {
    const { acceptedError } = options;
    if (acceptedError !== undefined && !(acceptedError > 0 && acceptedError <= MAX_ACCEPTED_ERROR)) {
      const expected = `expected a number in (0, ${MAX_ACCEPTED_ERROR}]`;
      throw new ClientError("USAGE", `accepted error ${acceptedError} is out of range: ${expected}`);
    }
    const bytes = upload.keys.reduce((sum, key) => sum + key.bytes.length, 0);
    if (bytes > MAX_KEY_BYTES) throw new ClientError("USAGE", `the key material has ${bytes} bytes: expected at most ${MAX_KEY_BYTES}; make Galois keys for the rotations that are needed only`);
    // Where no server is, that should be known before the upload is tried again and again for 21 s.
    await this.#call(options, (signal) => this.#services.contexts.listContexts({ pageSize: 1 }, { signal }));
    const context = fromWireContext(await uploadKeys(this.#services, upload, { ...options, deadlineMs: options.deadlineMs ?? this.#deadlineMs }));
    if (context === undefined) throw invalidReply("a context of another scheme than was uploaded");
    return context;
  }

  #call<T>(options: CallOptions, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return call(this.#services.address, { ...options, deadlineMs: options.deadlineMs ?? this.#deadlineMs }, run);
  }
}

/** The dimension that is given or that the vectors say they have. */
function agreedDimension(x: OutgoingVector, y: OutgoingVector, given: number | undefined): number {
  const said = [given, x.dimension, y.dimension].filter((dimension) => dimension !== undefined);
  const [dimension] = said;
  if (dimension === undefined) throw new ClientError("USAGE", "the dimension is missing: SEAL ciphertexts do not say how many components their vectors have");
  if (!Number.isInteger(dimension) || dimension < 1) throw new ClientError("USAGE", `dimension ${dimension} is out of range: expected a whole number >= 1`);
  if (said.some((other) => other !== dimension)) throw new ClientError("USAGE", `the vectors have ${said.join(" and ")} components: expected the same`);
  return dimension;
}
