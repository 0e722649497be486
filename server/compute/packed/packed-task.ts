import type { CiphertextEncoding, ParameterSetName } from "@veilface/fhe";
import type { CiphertextEnvelope, Envelope } from "../envelope.ts";
import type { ReaderLocation } from "../../store/gallery-store.ts";
import type { BlockTask } from "../block-task.ts";

/** Probes that may be matched in one pass: all that one search may have. */
export const MAX_PROBES = 8;

/** Check a fresh ciphertext and move it to its slot: multiply by X^exponent. */
export interface PrepareTemplate {
  readonly parameterSet: ParameterSetName;
  readonly ciphertext: CiphertextEnvelope;
  readonly exponent: number;
}

/** Check the pieces of a probe at one stride and lay them out for matching. */
export interface PrepareProbe {
  readonly parameterSet: ParameterSetName;
  readonly pieces: readonly CiphertextEnvelope[];
}

/** A checked probe, tile-major, shared between the workers without copies. */
export interface PreparedProbe {
  /** Unique in this process: a worker that has the probe loaded need not load it again. */
  readonly id: number;
  readonly pieces: number;
  readonly tiles: SharedArrayBuffer;
}

/** Multiply blocks of one stride with probes of that stride, all at once. */
export interface MatchBlocks {
  readonly parameterSet: ParameterSetName;
  readonly probes: readonly PreparedProbe[];
  /** How to answer each probe. */
  readonly encodings: readonly CiphertextEncoding[];
  readonly location: ReaderLocation;
  readonly blocks: readonly BlockTask[];
  /** One i32 per probe; not 0 once its search was cancelled. */
  readonly cancelled: SharedArrayBuffer;
}

/** What a block gives: a product for each probe; none where everything that was to be multiplied is damaged on disk. */
export interface MatchedBlock {
  readonly block: number;
  readonly stride: number;
  readonly products: readonly Envelope[];
  /** Slots of a loose block whose templates are damaged: the products go without them. */
  readonly damagedSlots: readonly number[];
}

/** Check the polynomials of a block that the client packed and lay them out for the store. */
export interface PrepareBlock {
  readonly parameterSet: ParameterSetName;
  readonly pieces: readonly CiphertextEnvelope[];
}

/** Turn stored residues back into ciphertexts as they are sent. */
export interface SerializePieces {
  readonly parameterSet: ParameterSetName;
  /** The chunks of a packed block's tiles; or one chunk, the residues of a loose template. */
  readonly chunks: readonly Uint8Array[];
  /** Polynomials of the packed block; undefined for a loose template. */
  readonly tiledPieces: number | undefined;
}
