import type { Metric, PairwiseOperation } from "@veilface/fhe";
import type { CallOptions } from "../remote/call-bounds.ts";
import type { ConnectionOptions } from "../boundary.ts";
import type { UploadOptions } from "./key-upload.ts";
import type { PairwiseCiphertext, PairwiseEncoding } from "./pairwise-wire.ts";

/** What a PairwiseClient works with. */
export type PairwiseClientOptions = ConnectionOptions;

/** SEAL's serialisations, in any compression. */
export interface PairwiseKeys {
  /** SEAL's EncryptionParameters, of CKKS. */
  readonly encryptionParameters: Uint8Array;
  /** Of fresh ciphertexts. */
  readonly scale: number;
  /** With or without seeds. */
  readonly relinKeys: Uint8Array;
  /** With or without seeds; for rotations to the left by all powers of two below the dimension of the vectors. */
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
  /** Its encoding is the reply's unless another is asked for. */
  readonly first: PairwiseCiphertext;
  /** In either encoding. */
  readonly second: PairwiseCiphertext;
}

/** A freshly encrypted vector, and others to compare it with. */
export interface VectorWithOthers {
  /** Its encoding is the replies' unless another is asked for. */
  readonly first: PairwiseCiphertext;
  /** Freshly encrypted too; taken as they are needed. */
  readonly others: Iterable<PairwiseCiphertext> | AsyncIterable<PairwiseCiphertext>;
}

/** How vectors are compared. */
export interface PairwiseCompareOptions extends CallOptions {
  /** What is computed of them. */
  readonly operation: PairwiseOperation;
  /** Components of either vector, in [1, maxDimension]. Required unless a TenSEAL vector says it. */
  readonly dimension?: number;
  /**
   * R, the largest Euclidean norm of either vector, in [1e-6, 1e6]. The server computes in the smallest modulus that
   * holds 4 R^2 or R^2: faster.
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

/** A gallery to be made. */
export interface NewPairwiseGallery {
  /** 1 to 64 of a-z, 0-9 and "-". */
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
