import type { CiphertextEncoding, FheErrorReason, ParameterSetName } from "@veilface/fhe";
import type { FieldViolation, ServerErrorReason } from "./errors.ts";
import type { ReaderLocation } from "./store/gallery-store.ts";
import type { SealedBytes } from "./validate.ts";

/** Check a fresh ciphertext and move it to its slot: multiply by X^exponent. */
export interface PrepareTemplate {
  readonly parameterSet: ParameterSetName;
  readonly ciphertext: SealedBytes;
  readonly exponent: number;
}

/** Check the pieces of a probe at one stride and lay them out for matching. */
export interface PrepareProbe {
  readonly parameterSet: ParameterSetName;
  readonly pieces: readonly SealedBytes[];
}

/** A checked probe, tile-major, shared between the workers without copies. */
export interface PreparedProbe {
  /** Unique in this process: a worker that has the probe loaded need not load it again. */
  readonly id: number;
  readonly pieces: number;
  readonly tiles: SharedArrayBuffer;
}

/** What to multiply: a block, or only some of its slots. */
export interface BlockTask {
  readonly block: number;
  readonly stride: number;
  readonly slots?: readonly number[];
}

/** Multiply blocks with a probe. */
export interface MatchBlocks {
  readonly parameterSet: ParameterSetName;
  readonly probe: PreparedProbe;
  readonly location: ReaderLocation;
  readonly blocks: readonly BlockTask[];
  readonly encoding: CiphertextEncoding;
  /** One i32; not 0 once the search was cancelled. */
  readonly cancelled: SharedArrayBuffer;
}

/** The encrypted inner products of one block. */
export interface Product {
  readonly block: number;
  readonly stride: number;
  readonly data: Uint8Array;
  readonly sha256: Uint8Array;
}

/** Errors lose their class between threads, so tasks answer with values. */
export type Outcome<T> =
  | { readonly value: T }
  | { readonly fheError: { readonly reason: FheErrorReason; readonly message: string } }
  | { readonly serverError: { readonly reason: ServerErrorReason; readonly message: string; readonly violations: readonly FieldViolation[] } };
