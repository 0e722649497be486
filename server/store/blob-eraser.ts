import { eraseBlob } from "./blob-store.ts";
import type { Environment } from "./lmdb-environment.ts";
import { decodeBlock, keysUnder, readU32, readU48, u32, u48 } from "./lmdb-schema.ts";
import type { Table } from "./lmdb-schema.ts";
import type { WriteQueue } from "./write-queue.ts";

// Erasing 64 ciphertexts of 64 KiB holds the event loop for some 5 ms, removing 1000 rows for about as long.
const BLOBS_AT_ONCE = 64;
const ROWS_AT_ONCE = 1000;

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
    const all = [...this.#unfinished.splice(0), ...blobs];
    for (let first = 0; first < all.length && !this.#closing; first += BLOBS_AT_ONCE) {
      try {
        await this.#eraseSome(all.slice(first, first + BLOBS_AT_ONCE));
      } catch (error) {
        this.#unfinished.push(...all.slice(first));
        throw error;
      }
    }
  }

  /** Erases a deleted gallery's blobs and removes its rows. Resolves as {@link eraseBlobs}. */
  async eraseGallery(gallery: number): Promise<void> {
    const { tables } = this.#environment;
    const under = keysUnder(u32(gallery));
    while (!this.#closing && (await this.#eraseBlocks(gallery))) continue;
    for (const table of [tables.entries, tables.changes, tables.subjects]) {
      while (!this.#closing && (await this.#removeRows(table, under))) continue;
    }
    if (this.#closing) return;
    await this.#queue.write(() => {
      tables.states.removeSync(u32(gallery));
      tables.doomedGalleries.removeSync(u32(gallery));
    });
  }

  /** Stops after the step under way. */
  close(): void {
    this.#closing = true;
  }

  // The fsync of the commit covers the zeros too.
  async #eraseSome(blobs: readonly number[], blocks: readonly Buffer[] = []): Promise<void> {
    const { tables, root } = this.#environment;
    root.resetReadTxn();
    for (const blob of blobs) eraseBlob(tables.blobs, blob);
    await this.#queue.write(() => {
      for (const key of blobs.map(u48)) {
        tables.blobs.removeSync(key);
        tables.doomedBlobs.removeSync(key);
      }
      for (const key of blocks) tables.blocks.removeSync(key);
    });
  }

  async #eraseBlocks(gallery: number): Promise<boolean> {
    const blobs: number[] = [];
    const keys: Buffer[] = [];
    for (const { key, value } of this.#environment.tables.blocks.getRange(keysUnder(u32(gallery)))) {
      blobs.push(...decodeBlock(value).members.map(({ blob }) => blob));
      keys.push(key);
      if (blobs.length >= BLOBS_AT_ONCE) break;
    }
    if (keys.length > 0) await this.#eraseSome(blobs, keys);
    return keys.length > 0;
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
