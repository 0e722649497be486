import type { PairwiseOperation, PairwiseTask } from "@veilface/fhe";
import type { BlockTask } from "../block-task.ts";
import type { PairwiseEncoding, CiphertextEnvelope } from "../envelope.ts";
import type { ContextKeys, ContextLocation, PairwiseScheme, ReaderLocation } from "../../store/gallery-store.ts";

/** What was uploaded for a context. */
export type UploadedKeys = KeyBytes & {
  /** The largest expected error that the caller accepts, > 0. */
  readonly acceptedError: number;
};

type KeyBytes =
  | { readonly kind: "tenseal"; readonly context: Uint8Array }
  | {
      readonly kind: "seal";
      readonly parameters: Uint8Array;
      readonly scale: number;
      readonly relinKeys: Uint8Array;
      readonly galoisKeys: Uint8Array;
    };

/** A context that was found sound. */
export interface AdmittedContext {
  readonly contextId: string;
  readonly scheme: PairwiseScheme;
  readonly keys: ContextKeys;
}

/** Check a fresh ciphertext of a vector with so many components. */
export interface PrepareVector {
  readonly context: ContextLocation;
  readonly ciphertext: CiphertextEnvelope<PairwiseEncoding>;
  readonly dimension: number;
}

/** Compare two ciphertexts of a request. */
export interface CompareVectors {
  readonly context: ContextLocation;
  readonly first: CiphertextEnvelope<PairwiseEncoding>;
  readonly second: CiphertextEnvelope<PairwiseEncoding>;
  readonly operation: PairwiseOperation;
  /** 0: as the vectors say. */
  readonly dimension: number;
  readonly bound: number | undefined;
  readonly encoding: PairwiseEncoding;
}

/** Compare a probe with templates of a gallery, each a block of its own. */
export interface CompareWithTemplates {
  readonly context: ContextLocation;
  readonly location: ReaderLocation;
  /** The bytes that preparing the probe gave. */
  readonly probe: SharedArrayBuffer;
  readonly task: PairwiseTask;
  readonly encoding: PairwiseEncoding;
  readonly blocks: readonly BlockTask[];
  /** One i32; not 0 once the comparison was cancelled. */
  readonly cancelled: SharedArrayBuffer;
}
