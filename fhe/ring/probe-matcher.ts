/* eslint-disable @typescript-eslint/no-non-null-assertion -- typed arrays, read inside their bounds */
import { FheError } from "../errors.ts";
import type { KernelMemory, MatchingRoom, StoredResidues } from "./kernel-memory.ts";
import { POLYNOMIAL_BYTES } from "./kernel-memory.ts";
import { DEGREE as N } from "../parameter-sets.ts";
import { TILE_COEFFICIENTS, tileBytes, TILES_PER_PRIME } from "./tiles.ts";

/** Tiles of a block that lie one after the other in WASM memory. */
interface TileRun {
  /** Where the first of them is. */
  readonly address: number;
  /** Which one of the block that is. */
  readonly tile: number;
  readonly count: number;
}

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

  /**
   * Blocks advance chunk by chunk side by side, so that a part of the probe is multiplied with all of them while it is
   * in cache.
   */
  matchBlocks(blocks: readonly Iterable<StoredResidues>[]): Uint32Array<ArrayBuffer>[][] {
    if (this.#probes === 0) throw new FheError("LAYOUT_INVALID", "no probes are loaded: call loadProbes first");
    if (blocks.length > (this.#room.blocks ?? 1))
      throw new FheError(
        "LAYOUT_INVALID",
        `${blocks.length} blocks: this kernel has room for ${this.#room.blocks ?? 1} side by side`,
      );
    const cursors = blocks.map((chunks) => ({ chunks: chunks[Symbol.iterator](), tile: 0, over: false }));
    while (cursors.some(({ over }) => !over)) {
      cursors.forEach((cursor, block) => {
        const next = cursor.over ? undefined : cursor.chunks.next();
        cursor.over = next?.done !== false;
        if (next?.done === false) cursor.tile += this.#multiplyChunk(next.value, cursor.tile, block);
      });
    }
    const bytes = tileBytes(this.#pieces);
    for (const { tile } of cursors) if (tile !== this.#tiles) throw invalidBlock(tile * bytes, bytes, this.#tiles);
    return blocks.map((_, block) => this.#products(block));
  }

  /** Tiles of a block, of all primes. */
  get #tiles(): number {
    return this.#memory.moduli.length * TILES_PER_PRIME;
  }

  /** Multiplies whole tiles, the first of which is `firstTile` of its block. Returns how many. */
  #multiplyChunk(chunk: StoredResidues, firstTile: number, block: number): number {
    const bytes = tileBytes(this.#pieces);
    const count = chunk.byteLength / bytes;
    if (!Number.isInteger(count) || firstTile + count > this.#tiles)
      throw invalidBlock(chunk.byteLength, bytes, this.#tiles - firstTile);
    // What lies in the kernel's own memory is not copied.
    if (chunk.buffer === this.#memory.bytes.buffer && chunk.byteOffset % 16 === 0)
      this.#multiplyInPlace({ address: chunk.byteOffset, tile: firstTile, count }, block);
    else this.#multiplyCopies(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength), firstTile, block);
    return count;
  }

  #multiplyInPlace({ address, tile: first, count }: TileRun, block: number): void {
    for (let done = 0; done < count; ) {
      const tile = first + done;
      const most = Math.min(count - done, TILES_PER_PRIME - (tile % TILES_PER_PRIME));
      this.#multiplyRun({ address: address + done * tileBytes(this.#pieces), tile, count: most }, block);
      done += most;
    }
  }

  /** Copies a chunk in runs that fit the tile buffer and never cross from one prime to the next. */
  #multiplyCopies(chunk: Uint8Array, firstTile: number, block: number): void {
    const { bytes, regions } = this.#memory;
    const size = tileBytes(this.#pieces);
    const most = Math.floor(regions.tilesBytes / size);
    for (let offset = 0, tile = firstTile; offset < chunk.byteLength; ) {
      const count = Math.min(most, (chunk.byteLength - offset) / size, TILES_PER_PRIME - (tile % TILES_PER_PRIME));
      bytes.set(chunk.subarray(offset, offset + count * size), regions.tiles);
      this.#multiplyRun({ address: regions.tiles, tile, count }, block);
      offset += count * size;
      tile += count;
    }
  }

  /** All tiles of the run must be of one prime. */
  #multiplyRun({ address, tile, count }: TileRun, block: number): void {
    const { exports, moduli, regions } = this.#memory;
    const size = tileBytes(this.#pieces);
    const probeBytes = this.#tiles * size;
    const componentBytes = moduli.length * POLYNOMIAL_BYTES;
    const modulus = moduli[Math.floor(tile / TILES_PER_PRIME)]!;
    for (let i = 0; i < this.#probes; i++) {
      const out = regions.products + (block * this.#probes + i) * 3 * componentBytes + tile * TILE_COEFFICIENTS * 4;
      exports.multiplyTiles(
        address,
        regions.probes + i * probeBytes + tile * size,
        count,
        this.#pieces,
        out,
        componentBytes,
        modulus,
      );
    }
  }

  #products(block: number): Uint32Array<ArrayBuffer>[] {
    const { words, moduli, regions } = this.#memory;
    const length = 3 * moduli.length * N;
    const first = regions.products / 4 + block * this.#probes * length;
    return Array.from({ length: this.#probes }, (_, i) => words.slice(first + i * length, first + (i + 1) * length));
  }

  /** Pieces of each probe. */
  #assertProbes(probes: readonly Uint32Array[]): number {
    const length = probes[0]?.length ?? 0;
    const pieces = length / (2 * this.#memory.moduli.length * N);
    if (!Number.isInteger(pieces) || pieces < 1 || probes.some((probe) => probe.length !== length)) {
      throw new FheError(
        "LAYOUT_INVALID",
        `probes of ${length} residues: expected one or more, of the same whole number of two-component pieces`,
      );
    }
    if (probes.length > this.#room.probes || probes.length * pieces > this.#room.pieces) {
      throw new FheError(
        "LAYOUT_INVALID",
        `${probes.length} probes of ${pieces} pieces: this kernel has room for ${this.#room.probes} probes and ${this.#room.pieces} pieces in all`,
      );
    }
    return pieces;
  }
}

function invalidBlock(got: number, bytes: number, tiles: number): FheError {
  return new FheError(
    "LAYOUT_INVALID",
    `tiles of a block: got ${got} bytes, expected ${tiles} tiles of ${bytes} bytes`,
  );
}
