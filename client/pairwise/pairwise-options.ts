import type { Metric } from "@veilface/fhe";
import type { CallOptions } from "../remote/calls.ts";
import type { ServerOptions } from "../remote/channel.ts";
import type { UploadOptions } from "./key-upload.ts";
import type { PairwiseEncoding, PairwiseOperation } from "./pairwise-wire.ts";

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

export interface TensealUploadOptions extends UploadOptions {
  /**
   * Components of the vectors that will be compared, in [1, N/2]: of the Galois keys those that they need are sent. All
   * of them unless given.
   */
  readonly dimension?: number;
}

export interface PairwiseCompareOptions extends CallOptions {
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

export interface DeleteContextOptions extends CallOptions {
  /** Delete its galleries and all their templates too. */
  readonly force?: boolean;
}

/** A gallery to be made. */
export interface NewPairwiseGallery {
  /** 1 to 64 of a-z, 0-9 and "-". */
  readonly galleryId: string;
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
