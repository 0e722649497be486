import { FheError } from "../errors.ts";
import type { KernelMemory, MatchingRoom, StoredResidues } from "./kernel-memory.ts";
import { POLYNOMIAL_BYTES } from "./kernel-memory.ts";
import { N } from "./modulus.ts";
import { TILE_COEFFICIENTS, tileBytes, TILES_PER_PRIME } from "./tiles.ts";

/** Probes in WASM memory and the scan of blocks against them: the part of RingKernel that matches. */
export class ProbeMatcher {
  readonly #memory: KernelMemory;
  readonly #room: MatchingRoom;
  #probes = 0;
  #pieces = 0;

  constructor(memory: KernelMemory, room: MatchingRoom) {
    this.#memory = memory;
    this.#room = room;
  }

  load(probes: readonly Uint32Array[]): void {
    const { exports, words, moduli, regions } = this.#memory;
    const pieces = this.#assertProbes(probes);
    const primeBytes = TILES_PER_PRIME * tileBytes(pieces);
    probes.forEach((probe, i) => {
      const address = regions.probes + i * moduli.length * primeBytes;
      words.set(probe, address / 4);
      moduli.forEach((modulus, j) => {
        exports.toMontgomery(address + j * primeBytes, primeBytes, modulus);
      });
    });
    this.#probes = probes.length;
    this.#pieces = pieces;
  }

  matchBlock(chunks: Iterable<StoredResidues>): Uint32Array<ArrayBuffer>[] {
    if (this.#probes === 0) throw new FheError("LAYOUT_INVALID", "no probes are loaded: call loadProbes first");
    const tiles = this.#memory.moduli.length * TILES_PER_PRIME;
    const bytes = tileBytes(this.#pieces);
    let done = 0;
    for (const chunk of chunks) {
      const count = chunk.byteLength / bytes;
      if (!Number.isInteger(count) || done + count > tiles) throw invalidBlock(chunk.byteLength, bytes, tiles - done);
      this.#multiplyChunk(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength), done);
      done += count;
    }
    if (done !== tiles) throw invalidBlock(done * bytes, bytes, tiles);
    return this.#products();
  }

  /** Copies a chunk in runs that fit the tile buffer and never cross from one prime to the next. */
  #multiplyChunk(chunk: Uint8Array, firstTile: number): void {
    const { bytes, regions } = this.#memory;
    const size = tileBytes(this.#pieces);
    const most = Math.floor(regions.tilesBytes / size);
    for (let offset = 0, tile = firstTile; offset < chunk.byteLength; ) {
      const count = Math.min(most, (chunk.byteLength - offset) / size, TILES_PER_PRIME - (tile % TILES_PER_PRIME));
      bytes.set(chunk.subarray(offset, offset + count * size), regions.tiles);
      this.#multiplyRun(tile, count);
      offset += count * size;
      tile += count;
    }
  }

  #multiplyRun(tile: number, count: number): void {
    const { exports, moduli, regions } = this.#memory;
    const size = tileBytes(this.#pieces);
    const probeBytes = moduli.length * TILES_PER_PRIME * size;
    const componentBytes = moduli.length * POLYNOMIAL_BYTES;
    const modulus = moduli[Math.floor(tile / TILES_PER_PRIME)]!;
    for (let i = 0; i < this.#probes; i++) {
      const out = regions.products + i * 3 * componentBytes + tile * TILE_COEFFICIENTS * 4;
      exports.multiplyTiles(regions.tiles, regions.probes + i * probeBytes + tile * size, count, this.#pieces, out, componentBytes, modulus);
    }
  }

  #products(): Uint32Array<ArrayBuffer>[] {
    const { words, moduli, regions } = this.#memory;
    const length = 3 * moduli.length * N;
    return Array.from({ length: this.#probes }, (_, i) => words.slice(regions.products / 4 + i * length, regions.products / 4 + (i + 1) * length));
  }

  /** Pieces of each probe. */
  #assertProbes(probes: readonly Uint32Array[]): number {
    const length = probes[0]?.length ?? 0;
    const pieces = length / (2 * this.#memory.moduli.length * N);
    if (!Number.isInteger(pieces) || pieces < 1 || probes.some((probe) => probe.length !== length)) {
      throw new FheError("LAYOUT_INVALID", `probes of ${length} residues: expected one or more, of the same whole number of two-component pieces`);
    }
    if (probes.length > this.#room.probes || probes.length * pieces > this.#room.pieces) {
      throw new FheError("LAYOUT_INVALID", `${probes.length} probes of ${pieces} pieces: this kernel has room for ${this.#room.probes} probes and ${this.#room.pieces} pieces in all`);
    }
    return pieces;
  }
}

function invalidBlock(got: number, bytes: number, tiles: number): FheError {
  return new FheError("LAYOUT_INVALID", `tiles of a block: got ${got} bytes, expected ${tiles} tiles of ${bytes} bytes`);
}
