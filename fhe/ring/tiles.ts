/* eslint-disable @typescript-eslint/no-non-null-assertion -- typed arrays, read inside their bounds */
import { FheError } from "../errors.ts";
import { DEGREE as N } from "../parameter-sets.ts";

/**
 * Coefficients of one tile, T: one SIMD vector, so that a scan reads memory strictly in order. Part of the stored
 * layout: changing it means rewriting every stored block.
 */
export const TILE_COEFFICIENTS = 4;

/** Tiles per prime: 1024. */
export const TILES_PER_PRIME = N / TILE_COEFFICIENTS;

/** Bytes of one tile of so many pieces (>= 1): [piece][t0 | t1][T] u32. */
export function tileBytes(pieces: number): number {
  return pieces * 2 * TILE_COEFFICIENTS * Uint32Array.BYTES_PER_ELEMENT;
}

/**
 * Pieces of a block or probe, tile by tile, so that a sum of products over the pieces reads memory once and in order:
 * [prime][tile][piece][component][T], G * 2 * L * N residues. `ciphertexts`: G of two components and the same primes,
 * each [component][prime][coefficient]. Throws FheError LAYOUT_INVALID where one has another length.
 */
export function toTiles(ciphertexts: readonly Uint32Array[]): Uint32Array<ArrayBuffer> {
  const length = ciphertexts[0]?.length ?? 0;
  for (const ciphertext of ciphertexts)
    if (ciphertext.length !== length) throw invalidPieces(ciphertext.length, `${length} residues, as piece 0 has`);
  assertTwoComponents(length);
  const tiles = new Uint32Array(ciphertexts.length * length);
  eachRun(ciphertexts.length, length, (piece, from, to) => {
    const ciphertext = ciphertexts[piece]!;
    for (let i = 0; i < TILE_COEFFICIENTS; i++) tiles[to + i] = ciphertext[from + i]!;
  });
  return tiles;
}

/**
 * Inverse of {@link toTiles}: G ciphertexts, each [component][prime][coefficient], of which `pieces` says how many.
 * Throws FheError LAYOUT_INVALID where the tiles are not whole ciphertexts of two components.
 */
export function fromTiles(tiles: Uint32Array, pieces: number): Uint32Array<ArrayBuffer>[] {
  if (!Number.isInteger(pieces) || pieces < 1) throw invalidPieces(pieces, "a positive number of pieces");
  const length = tiles.length / pieces;
  assertTwoComponents(length);
  const ciphertexts = Array.from({ length: pieces }, () => new Uint32Array(length));
  eachRun(pieces, length, (piece, from, to) => {
    const ciphertext = ciphertexts[piece]!;
    for (let i = 0; i < TILE_COEFFICIENTS; i++) ciphertext[from + i] = tiles[to + i]!;
  });
  return ciphertexts;
}

/**
 * Visits every run of T residues: its piece, its place in that ciphertext, its place among the tiles (which it visits
 * in order). Runs are copied by hand: subarray and set cost far more for runs this short.
 */
function eachRun(
  pieces: number,
  length: number,
  visit: (piece: number, inCiphertext: number, inTiles: number) => void,
): void {
  const component = length / 2;
  let inTiles = 0;
  for (let start = 0; start < component; start += TILE_COEFFICIENTS) {
    for (let piece = 0; piece < pieces; piece++) {
      visit(piece, start, inTiles);
      visit(piece, component + start, inTiles + TILE_COEFFICIENTS);
      inTiles += 2 * TILE_COEFFICIENTS;
    }
  }
}

function assertTwoComponents(length: number): void {
  if (length === 0 || length % (2 * N) !== 0)
    throw invalidPieces(length, `a positive multiple of ${2 * N} residues (two components)`);
}

function invalidPieces(got: number, expected: string): FheError {
  return new FheError("LAYOUT_INVALID", `pieces of a block: got ${got}, expected ${expected}`);
}
