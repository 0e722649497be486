import { eraseBlob } from "./blob-store.ts";
import type { Environment } from "./lmdb-environment.ts";
import { decodeBlock } from "./block-rows.ts";
import { keysUnder, readU32, readU48, u32, u48 } from "./lmdb-schema.ts";
import type { BlockRow, Table } from "./lmdb-schema.ts";
import type { WriteQueue } from "./write-queue.ts";

// Erasing 4 MiB holds the event loop for some 5 ms, removing 1000 rows for about as long.
const BYTES_AT_ONCE = 4 * 2 ** 20;
const ROWS_AT_ONCE = 1000;
const BLOCKS_AT_ONCE = 64;

/**
 * Makes deleted ciphertexts unreadable in the data file. LMDB would leave their bytes in free pages; so a blob is first unnamed by a
 * commit, then filled with zeros where it lies while its pages are still its own, and only then removed. What is left to do is in the
 * tables of doomed things, from where it goes on after a crash.
 */
export class BlobEraser {
  readonly #environment: Environment;
  readonly #queue: WriteQueue;
  #closing = false;
  /** Blobs whose erasure failed, to be tried again with the next ones. */
  #unfinished: number[] = [];

  constructor(environment: Environment, queue: WriteQueue) {
    this.#environment = environment;
    this.#queue = queue;
  }

  /** Takes up what a former process left. */
  async resume(): Promise<void> {
    const { doomedBlobs, doomedGalleries } = this.#environment.tables;
    await this.eraseBlobs(Array.from(doomedBlobs.getKeys(), (key) => readU48(key)));
    for (const gallery of Array.from(doomedGalleries.getKeys(), readU32)) await this.eraseGallery(gallery);
  }

  /** Resolves once the zeros are on disk, or when the store closes. */
  async eraseBlobs(blobs: readonly number[]): Promise<void> {
    let rest = [...this.#unfinished.splice(0), ...blobs];
    try {
      while (rest.length > 0 && !this.#closing) rest = await this.#eraseSome(rest);
    } catch (error) {
      this.#unfinished.push(...rest);
      throw error;
    }
  }

  /** Erases a deleted gallery's blobs and removes its rows. Resolves as {@link eraseBlobs}. */
  async eraseGallery(gallery: number): Promise<void> {
    const { tables } = this.#environment;
    const under = keysUnder(u32(gallery));
    while (!this.#closing && (await this.#eraseBlocks(gallery))) continue;
    for (const table of [tables.entries, tables.changes, tables.subjects, tables.rosters, tables.indexes, tables.liveSlots]) {
      while (!this.#closing && (await this.#removeRows(table, under))) continue;
    }
    if (this.#closing) return;
    await this.#queue.write(() => {
      tables.states.removeSync(u32(gallery));
      tables.packedBlocks.removeSync(u32(gallery));
      tables.doomedGalleries.removeSync(u32(gallery));
    });
  }

  /** Stops after the step under way. */
  close(): void {
    this.#closing = true;
  }

  // Returns the blobs left to do. The fsync of the commit covers the zeros too.
  async #eraseSome(blobs: readonly number[]): Promise<number[]> {
    const { tables, root } = this.#environment;
    root.resetReadTxn();
    let erased = 0;
    for (let bytes = 0; erased < blobs.length && bytes < BYTES_AT_ONCE; erased++) bytes += eraseBlob(tables.blobs, blobs[erased]!);
    await this.#queue.write(() => {
      for (const key of blobs.slice(0, erased).map(u48)) {
        tables.blobs.removeSync(key);
        tables.doomedBlobs.removeSync(key);
      }
    });
    return blobs.slice(erased);
  }

  // The rows go last: they tell what to erase after a crash.
  async #eraseBlocks(gallery: number): Promise<boolean> {
    const blocks = Array.from(this.#environment.tables.blocks.getRange({ ...keysUnder(u32(gallery)), limit: BLOCKS_AT_ONCE }));
    await this.eraseBlobs(blocks.flatMap(({ value }) => blobsOf(decodeBlock(value))));
    if (this.#closing) return false;
    await this.#queue.write(() => {
      for (const { key } of blocks) this.#environment.tables.blocks.removeSync(key);
    });
    return blocks.length > 0;
  }

  async #removeRows(table: Table, range: { start: Buffer; end: Buffer }): Promise<boolean> {
    const keys = Array.from(table.getKeys({ ...range, limit: ROWS_AT_ONCE }));
    if (keys.length === 0) return false;
    await this.#queue.write(() => {
      for (const key of keys) table.removeSync(key);
    });
    return true;
  }
}

function blobsOf(row: BlockRow): number[] {
  return row.kind === "loose" ? row.members.map(({ blob }) => blob) : row.chunks.map(({ blob }) => blob);
}
