import { idKey, keysUnder, readU48, u48 } from "../rows/schema.ts";
import type { Tables } from "../rows/schema.ts";
import { pagesOf } from "../disk/pages.ts";

/** How many drafts a gallery may have at a time: far more than are ever filled at once. */
export const MOST_DRAFTS = 16;
/** A draft into which nothing was written for so long was left behind by a run that was killed. */
const ABANDONED_AFTER_MS = 24 * 60 * 60 * 1000;

const draftKey = (galleryId: string, draftId: string): Buffer => idKey(`${galleryId}/${draftId}`);

/**
 * Which galleries are drafts of which, and when each was last written to. Changes belong inside a write transaction.
 */
export class DraftTable {
  readonly #table: Tables["drafts"];

  constructor({ drafts }: Pick<Tables, "drafts">) {
    this.#table = drafts;
  }

  /** Ids of a gallery's drafts, at most so many. */
  of(galleryId: string, limit: number): string[] {
    const prefix = draftKey(galleryId, "");
    const keys = this.#table.getKeys({ ...keysUnder(prefix), limit });
    return Array.from(keys, (key) => key.toString("latin1", prefix.length));
  }

  /** Adds a draft, or notes that it was written to now. */
  touch(galleryId: string, draftId: string): void {
    this.#table.putSync(draftKey(galleryId, draftId), u48(Date.now()));
  }

  remove(galleryId: string, draftId: string): void {
    this.#table.removeSync(draftKey(galleryId, draftId));
  }

  isAbandoned(galleryId: string, draftId: string): boolean {
    const written = this.#table.get(draftKey(galleryId, draftId));
    return written !== undefined && isOld(written);
  }

  /** Ids of galleries with one draft each that is abandoned, some at a time. */
  *abandoned(): Generator<{ readonly galleryId: string; readonly draftId: string }[]> {
    for (const page of pagesOf(this.#table, keysUnder(Buffer.alloc(0)))) {
      yield page
        .filter(({ value }) => isOld(value))
        .map(({ key }) => {
          const [galleryId = "", draftId = ""] = key.toString("latin1").split("/");
          return { galleryId, draftId };
        });
    }
  }
}

function isOld(written: Buffer): boolean {
  return Date.now() - readU48(written) >= ABANDONED_AFTER_MS;
}
