/* eslint-disable @typescript-eslint/no-non-null-assertion -- typed arrays, read inside their bounds */
import { FheError } from "../errors.ts";
import { DEGREE as N } from "../parameter-sets.ts";
import { inverse, modulusTables } from "./modulus.ts";
import { MODULUS_BLOCK_BYTES, writeModulusBlock } from "./modulus-block.ts";
import { TILE_COEFFICIENTS, tileBytes } from "./tiles.ts";
import type { KernelExports } from "./wasm.ts";
import { BumpAllocator, instantiateKernel } from "./wasm.ts";

/** Bytes of one polynomial's residues. */
export const POLYNOMIAL_BYTES = 4 * N;

// Tiles are copied in runs of about this size, which stay in the second-level cache while every probe meets them (4 to
// 8 % faster than 64 KiB).
const TILE_BUFFER_BYTES = 262_144;
// 16,384 pieces of two primes are 1 GiB of probes.
const MAX_PIECES = 16_384;

/**
 * Residues as they are stored: u32 as words or as little-endian bytes at any alignment. A little-endian host is
 * assumed, as WebAssembly's memory is.
 */
export type StoredResidues = Uint32Array | Uint8Array;

/** Room reserved for matching: how many probes at once, and how many pieces they have in all. */
export interface MatchingRoom {
  /** Probes that one call to RingKernel.loadProbes may bring, >= 1. */
  readonly probes: number;
  /** Of all probes together, in [probes, 16384]. */
  readonly pieces: number;
  /** Blocks that are matched side by side; 1 unless given. */
  readonly blocks?: number;
  /** Bytes of the buffer into which chunks may be read (RingKernel.chunkBuffer); none unless given. */
  readonly chunkBytes?: number;
}

/** One WASM instance, its regions and the views on them. The memory never grows, so the views stay attached. */
export interface KernelMemory {
  readonly exports: KernelExports;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly words: Uint32Array<ArrayBuffer>;
  /** Address of each prime's constants. */
  readonly moduli: readonly number[];
  /** q0^-1 mod q1 where there are two primes, else 0. */
  readonly garnerInverse: number;
  readonly regions: Regions;
}

/** Addresses. */
interface Regions {
  /** N doubles; also one packed polynomial and the byte its code touches beyond. */
  readonly coefficients: number;
  /** Up to three components. */
  readonly accumulator: number;
  readonly residues: number;
  readonly probes: number;
  readonly tiles: number;
  readonly tilesBytes: number;
  readonly chunk: number;
  readonly chunkBytes: number;
  /** [block][probe][component][prime][coefficient]. */
  readonly products: number;
}

/** Throws FheError PARAMETERS_INVALID for other primes than one or two NTT primes, or room that makes no sense. */
export function createKernelMemory(primes: readonly number[], room: MatchingRoom | undefined): KernelMemory {
  assertPrimes(primes);
  if (room) assertRoom(room);
  const exports = instantiateKernel();
  if (exports.N.value !== N || exports.TILE.value !== TILE_COEFFICIENTS)
    throw new FheError(
      "PARAMETERS_INVALID",
      "the compiled ring kernel is of another version; run scripts/build-kernel.ts",
    );
  const allocator = new BumpAllocator();
  const moduli = primes.map(() => allocator.allocate(MODULUS_BLOCK_BYTES));
  const regions = allocateRegions(allocator, primes.length, room ?? { probes: 0, pieces: 0 });
  exports.memory.grow(allocator.pages);
  const words = new Uint32Array(exports.memory.buffer);
  primes.forEach((prime, i) => {
    writeModulusBlock(words, moduli[i]!, modulusTables(prime));
  });
  return {
    exports,
    bytes: new Uint8Array(exports.memory.buffer),
    words,
    moduli,
    garnerInverse: garnerInverse(primes),
    regions,
  };
}

function allocateRegions(allocator: BumpAllocator, primes: number, room: MatchingRoom): Regions {
  const component = primes * POLYNOMIAL_BYTES;
  const { blocks = 1, chunkBytes = 0 } = room;
  const tilesBytes = room.pieces === 0 ? 0 : Math.max(TILE_BUFFER_BYTES, tileBytes(room.pieces));
  return {
    coefficients: allocator.allocate(8 * N),
    accumulator: allocator.allocate(3 * component),
    residues: allocator.allocate(3 * component),
    probes: allocator.allocate(room.pieces * 2 * component),
    tiles: allocator.allocate(tilesBytes),
    tilesBytes,
    chunk: allocator.allocate(chunkBytes),
    chunkBytes,
    products: allocator.allocate(blocks * room.probes * 3 * component),
  };
}

function garnerInverse(primes: readonly number[]): number {
  const [first, second] = primes;
  return first === undefined || second === undefined ? 0 : Number(inverse(BigInt(first), BigInt(second)));
}

function assertPrimes(primes: readonly number[]): void {
  if (primes.length < 1 || primes.length > 2 || new Set(primes).size !== primes.length) {
    throw new FheError(
      "PARAMETERS_INVALID",
      `data primes: got ${primes.join(", ")}, expected one or two different ones; use one of the named parameter sets`,
    );
  }
}

function assertRoom(room: MatchingRoom): void {
  const { probes, pieces } = room;
  if (!Number.isInteger(probes) || !Number.isInteger(pieces) || probes < 1 || pieces < probes || pieces > MAX_PIECES) {
    throw new FheError(
      "PARAMETERS_INVALID",
      `room for ${probes} probes of ${pieces} pieces in all: expected 1 <= probes <= pieces <= ${MAX_PIECES}`,
    );
  }
}
