import { statfsSync } from "node:fs";
import { ServerError } from "../../../errors.ts";
import type { Environment } from "./environment.ts";
import { pageCounts } from "./internals.ts";
import type { Table } from "../rows/schema.ts";

// Kept free on the disk, because a deletion has to write a few pages before it frees any.
const DISK_RESERVE_BYTES = 16 * 2 ** 20;

/** Refuses templates that do not fit, early enough that deletions still work. */
export class StorageRoom {
  readonly #environment: Environment;
  readonly #maxBytes: number;
  #room = 0;

  /** `maxBytes` bounds the pages in use; the file itself may be larger by what fragmentation costs. */
  constructor(environment: Environment, maxBytes = Infinity) {
    this.#environment = environment;
    this.#maxBytes = maxBytes;
  }

  /** Measures the room for the commit that is about to be made. */
  measure(): void {
    let usedPages = 0;
    // The same of every table: they are of the file.
    let [pageSize, lastPage] = [0, 0];
    const tables: readonly Table[] = Object.values(this.#environment.tables);
    for (const table of tables) {
      const counts = pageCounts(table);
      usedPages += counts.used;
      ({ pageSize, lastPage } = counts);
    }
    const used = usedPages * pageSize;
    const unusedInFile = (lastPage + 1) * pageSize - used;
    const disk = statfsSync(this.#environment.path);
    const onDisk = disk.bavail * disk.bsize + unusedInFile - DISK_RESERVE_BYTES;
    this.#room = Math.min(this.#maxBytes - used, onDisk);
  }

  /** Throws ServerError STORAGE_FULL if so many bytes do not fit. */
  take(bytes: number): void {
    if (bytes > this.#room)
      throw new ServerError(
        "STORAGE_FULL",
        "the store is full: delete templates, free space on its disk or raise its limit",
      );
    this.#room -= bytes;
  }
}
