import { eraseBlob } from "./blob-store.ts";
import type { Environment } from "./environment.ts";
import { decodeBlock } from "../rows/block-rows.ts";
import { keysUnder, readU32, readU48, u32, u48 } from "../rows/schema.ts";
import type { BlockRow, Table, Tables } from "../rows/schema.ts";
import { pagesOf } from "./pages.ts";
import { Turn, nextTurn } from "./turns.ts";
import type { WriteQueue } from "./write-queue.ts";

// Erasing 2 MiB holds the event loop for some 3 ms, removing 500 rows for about as long.
const BYTES_AT_ONCE = 2 * 2 ** 20;
const ROWS_AT_ONCE = 500;
const BLOCKS_AT_ONCE = 64;
const BLOBS_AT_ONCE = 1024;

/**
 * Makes deleted ciphertexts unreadable in the data file. LMDB would leave their bytes in free pages; so a blob is first
 * unnamed by a commit, then filled with zeros where it lies while its pages are still its own, and only then removed.
 * What is left to do is in the tables of doomed things, from where it goes on after a crash.
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

  /** How many blobs wait for another try. */
  get unfinished(): number {
    return this.#unfinished.length;
  }

  /** Erases the doomed blobs with smaller numbers than `end`. Resolves as {@link eraseBlobs}. */
  async eraseDoomedBlobs(end: number): Promise<void> {
    const { doomedBlobs } = this.#environment.tables;
    for (let from = 0; !this.#closing; ) {
      const blobs = Array.from(doomedBlobs.getKeys({ start: u48(from), end: u48(end), limit: BLOBS_AT_ONCE }), (key) =>
        readU48(key),
      );
      const last = blobs.at(-1);
      if (last === undefined) return;
      await this.eraseBlobs(blobs);
      from = last + 1;
    }
  }

  /** Erases all doomed galleries. Resolves as {@link eraseBlobs}. */
  async eraseDoomedGalleries(): Promise<void> {
    for (const page of pagesOf(this.#environment.tables.doomedGalleries, keysUnder(Buffer.alloc(0)))) {
      if (this.#closing) return;
      await this.eraseGalleries(page.map(({ key }) => readU32(key)));
    }
  }

  /** Resolves once the zeros are on disk, or when the store closes. */
  async eraseBlobs(blobs: readonly number[]): Promise<void> {
    const all = [...this.#unfinished.splice(0), ...blobs];
    let erased = 0;
    try {
      while (erased < all.length && !this.#closing) erased += await this.#eraseSome(all, erased);
    } catch (error) {
      this.#unfinished.push(...all.slice(erased));
      throw error;
    }
  }

  /** Erases deleted galleries' blobs and removes their rows. Resolves as {@link eraseBlobs}. */
  async eraseGalleries(galleries: readonly number[]): Promise<void> {
    const full: number[] = [];
    // Those that hold nothing are removed many at a time.
    for (let at = 0; at < galleries.length && !this.#closing; )
      at = await this.#queue.write(() => this.#removeEmpty(galleries, at, full));
    for (const gallery of new Set(full)) await this.#eraseGallery(gallery);
  }

  /** Stops after the step under way. */
  close(): void {
    this.#closing = true;
  }

  async #eraseGallery(gallery: number): Promise<void> {
    const { tables } = this.#environment;
    const under = keysUnder(u32(gallery));
    while (!this.#closing && (await this.#eraseBlocks(gallery))) continue;
    for (const table of rowTables(tables)) while (!this.#closing && (await this.#removeRows(table, under))) continue;
    if (!this.#closing)
      await this.#queue.write(() => {
        removeGallery(tables, gallery);
      });
  }

  /**
   * Removes galleries that hold nothing, from `at` on, until a turn is over, and notes those that do. Returns where to
   * go on.
   */
  #removeEmpty(galleries: readonly number[], at: number, full: number[]): number {
    const { tables } = this.#environment;
    const turn = new Turn();
    let next = at;
    for (let gallery = galleries[next]; gallery !== undefined && !turn.isOver; gallery = galleries[++next]) {
      if (isEmpty(tables, gallery)) removeGallery(tables, gallery);
      else full.push(gallery);
    }
    return next;
  }

  // Returns how many. The fsync of the commit covers the zeros too.
  async #eraseSome(blobs: readonly number[], from: number): Promise<number> {
    const { tables, root } = this.#environment;
    await nextTurn();
    if (this.#closing) return 0;
    root.resetReadTxn();
    const erased: Buffer[] = [];
    let bytes = 0;
    for (const blob of blobs.slice(from, from + BLOBS_AT_ONCE)) {
      if (bytes >= BYTES_AT_ONCE) break;
      bytes += eraseBlob(tables.blobs, blob);
      erased.push(u48(blob));
    }
    await this.#queue.write(() => {
      for (const key of erased) {
        tables.blobs.removeSync(key);
        tables.doomedBlobs.removeSync(key);
      }
    });
    return erased.length;
  }

  // The rows go last: they tell what to erase after a crash.
  async #eraseBlocks(gallery: number): Promise<boolean> {
    const blocks = Array.from(
      this.#environment.tables.blocks.getRange({ ...keysUnder(u32(gallery)), limit: BLOCKS_AT_ONCE }),
    );
    if (blocks.length === 0) return false;
    await this.eraseBlobs(blocks.flatMap(({ value }) => blobsOf(decodeBlock(value))));
    if (this.#closing) return false;
    await this.#queue.write(() => {
      for (const { key } of blocks) this.#environment.tables.blocks.removeSync(key);
    });
    return true;
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

/** Those with rows of a gallery's templates, but for its blocks. */
function rowTables({ entries, changes, subjects, rosters, indexes, liveSlots }: Tables): Table[] {
  return [entries, changes, subjects, rosters, indexes, liveSlots];
}

function isEmpty(tables: Tables, gallery: number): boolean {
  const range = { ...keysUnder(u32(gallery)), limit: 1 };
  return [tables.blocks, ...rowTables(tables)].every((table) => Array.from(table.getKeys(range)).length === 0);
}

function removeGallery({ states, packedBlocks, doomedGalleries }: Tables, gallery: number): void {
  for (const table of [states, packedBlocks, doomedGalleries]) table.removeSync(u32(gallery));
}

function blobsOf(row: BlockRow): number[] {
  return row.kind === "loose" ? row.members.map(({ blob }) => blob) : row.chunks.map(({ blob }) => blob);
}
