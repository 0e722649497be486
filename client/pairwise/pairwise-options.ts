import type { Metric, PairwiseOperation } from "@veilface/fhe";
import type { CallOptions } from "../remote/call-bounds.ts";
import type { ConnectionOptions } from "../boundary.ts";
import type { UploadOptions } from "./key-upload.ts";
import type { PairwiseCiphertext, PairwiseEncoding } from "./pairwise-wire.ts";

/** What a PairwiseClient works with. */
export type PairwiseClientOptions = ConnectionOptions;

/**
 * What a SEAL context computes with: SEAL's serialisations, in any compression, the two keys at most 64 MiB together.
 */
export interface PairwiseKeys {
  /** SEAL's EncryptionParameters, of CKKS. */
  readonly encryptionParameters: Uint8Array;
  /** By what fresh ciphertexts multiply components before rounding, > 0: such as 2^40. */
  readonly scale: number;
  /** SEAL's RelinKeys, with or without seeds. */
  readonly relinKeys: Uint8Array;
  /**
   * SEAL's GaloisKeys, with or without seeds; for rotations to the left by all powers of two below the dimension of the
   * vectors.
   */
  readonly galoisKeys: Uint8Array;
}

/** What of a TenSEAL context is uploaded. */
export interface TensealUploadOptions extends UploadOptions {
  /**
   * Components of the vectors that will be compared, in [1, N/2]: of the Galois keys those that they need are sent. All
   * of them unless given.
   */
  readonly dimension?: number;
}

/** Two freshly encrypted vectors. */
export interface VectorPair {
  /** The one whose encoding is the reply's, unless another is asked for. */
  readonly first: PairwiseCiphertext;
  /** The other one, in either encoding. */
  readonly second: PairwiseCiphertext;
}

/** A freshly encrypted vector, and others to compare it with. */
export interface VectorWithOthers {
  /** The one whose encoding is the replies', unless another is asked for. */
  readonly first: PairwiseCiphertext;
  /** Freshly encrypted too; taken as they are needed. */
  readonly others: Iterable<PairwiseCiphertext> | AsyncIterable<PairwiseCiphertext>;
}

/** How vectors are compared. */
export interface PairwiseCompareOptions extends CallOptions {
  /** Squared distance or inner product. */
  readonly operation: PairwiseOperation;
  /** Components of either vector, in [1, maxDimension]. Required unless a TenSEAL vector says it. */
  readonly dimension?: number;
  /**
   * R, the largest Euclidean norm of either vector, in [1e-6, 1e6]: the server then computes in the smallest modulus
   * that holds 4 R^2 (squared distances) or R^2 (inner products), which is faster. As many primes as there are unless
   * given.
   */
  readonly normBound?: number;
  /** The encoding of the reply; that of the first vector unless given. */
  readonly replyEncoding?: PairwiseEncoding;
}

/** What is deleted with a context. */
export interface DeleteContextOptions extends CallOptions {
  /** Delete its galleries and all their templates too. */
  readonly force?: boolean;
}

/** A gallery of the pairwise scheme that is to be made. */
export interface NewPairwiseGallery {
  /** The id that it gets: 1 to 64 of a-z, 0-9 and "-". */
  readonly galleryId: string;
  /** The context that its vectors are encrypted under: 64 lowercase hexadecimal digits. */
  readonly contextId: string;
  /** Components of its vectors, in [1, the context's maxDimension]. */
  readonly dimension: number;
  /**
   * "euclidean": answers are squared distances. "cosine": inner products, of vectors that are unit vectors before they
   * are encrypted.
   */
  readonly metric: Metric;
  /** What made the vectors, 1 to 64 of a-z, 0-9 and "-"; "tenseal" unless given. */
  readonly modelId?: string;
  /**
   * R, the largest Euclidean norm of its vectors, in [1e-6, 1e6]; faster where it is small. Unless given, 1 for cosine,
   * else the largest that the context has room for.
   */
  readonly normBound?: number;
}
