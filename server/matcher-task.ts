import type { CiphertextEncoding, ParameterSetName } from "@veilface/fhe";
import type { SealedBytes, SealedProduct } from "./sealed-bytes.ts";
import type { ReaderLocation } from "./store/gallery-store.ts";

/** Probes that may be matched in one pass. */
export const MAX_PROBES = 8;

/**
 * Blocks that a worker matches side by side and hands over together: a probe of 8 MB is read from memory once for all of them, and
 * searches share the workers fairly, as four blocks take it a few milliseconds.
 */
export const BLOCKS_PER_TASK = 4;

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

/** Whether nobody waits for any of the probes any more. */
export function allCancelled(cancelled: Int32Array): boolean {
  return cancelled.every((_, i) => Atomics.load(cancelled, i) !== 0);
}

/** A scan cut into tasks of few blocks each, until it is cancelled. `cancelled`: as in {@link MatchBlocks}. */
export function* tasksOf<Scan extends { readonly blocks: readonly BlockTask[]; readonly cancelled: SharedArrayBuffer }>(scan: Scan): Generator<Scan> {
  const cancelled = new Int32Array(scan.cancelled);
  for (let first = 0; first < scan.blocks.length && !allCancelled(cancelled); first += BLOCKS_PER_TASK) yield { ...scan, blocks: scan.blocks.slice(first, first + BLOCKS_PER_TASK) };
}

/** What a block gives: a product for each probe; none where everything that was to be multiplied is damaged on disk. */
export interface MatchedBlock {
  readonly block: number;
  readonly stride: number;
  readonly products: readonly SealedProduct[];
  /** Slots of a loose block whose templates are damaged: the products go without them. */
  readonly damagedSlots: readonly number[];
}

/** Check the polynomials of a block that the client packed and lay them out for the store. */
export interface PrepareBlock {
  readonly parameterSet: ParameterSetName;
  readonly pieces: readonly SealedBytes[];
}

/** Turn stored residues back into ciphertexts as they are sent. */
export interface SerialisePieces {
  readonly parameterSet: ParameterSetName;
  /** The chunks of a packed block's tiles; or one chunk, the residues of a loose template. */
  readonly chunks: readonly Uint8Array[];
  /** Polynomials of the packed block; undefined for a loose template. */
  readonly tiledPieces: number | undefined;
}
