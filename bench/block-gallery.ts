import type { RingKernel } from "@veilface/fhe";

/** More than the CPU's caches hold. */
export const GALLERY_BYTES = 64 * 2 ** 20;

const CHUNK_BYTES = 256 * 2 ** 10;

/** Packed blocks in ordinary memory, which a kernel reads in chunks as a store hands them out. */
export class BlockGallery {
  readonly blocks: number;
  readonly #bytes: Uint8Array;
  readonly #blockBytes: number;

  /** As many blocks as there is room for, each of the tiles of one. */
  static filledWith(block: Uint32Array): BlockGallery {
    const tiles = new Uint8Array(block.buffer, block.byteOffset, block.byteLength);
    const bytes = new Uint8Array(Math.max(1, Math.floor(GALLERY_BYTES / tiles.length)) * tiles.length);
    for (let at = 0; at < bytes.length; at += tiles.length) bytes.set(tiles, at);
    return new BlockGallery(bytes, tiles.length);
  }

  /** `bytes`: the tiles of blocks of `blockBytes` each, one after the other; what is left over is not read. */
  constructor(bytes: Uint8Array, blockBytes: number) {
    this.#bytes = bytes;
    this.#blockBytes = blockBytes;
    this.blocks = Math.floor(bytes.length / blockBytes);
  }

  /** Matches every block with the probes that the kernel has loaded. */
  match(kernel: RingKernel, each: (products: Uint32Array[]) => void): void {
    for (let block = 0; block < this.blocks; block++) each(kernel.matchBlock(this.#chunksOf(block)));
  }

  *#chunksOf(block: number): Generator<Uint8Array> {
    const end = (block + 1) * this.#blockBytes;
    for (let at = block * this.#blockBytes; at < end; at += CHUNK_BYTES)
      yield this.#bytes.subarray(at, Math.min(at + CHUNK_BYTES, end));
  }
}
