import type { Tables } from "../rows/schema.ts";
import { SoughtIds, packedBlocksOf } from "./packed-lookup.ts";
import type { IdKind, PackedLookup, PackedTemplate } from "./packed-lookup.ts";
import type { Pace } from "../disk/turns.ts";

/** What is looked for in the packed blocks of a gallery. */
interface Sought {
  readonly tables: Tables;
  readonly lookup: PackedLookup;
  readonly gallery: number;
  readonly ids: readonly string[];
  readonly kind: IdKind;
}

/**
 * A search for ids in the packed blocks of a gallery that holds the event loop for one block at a time. Whether what it
 * finds is live is for a write transaction to say, which first looks at the blocks that came meanwhile: their numbers
 * are larger than all before.
 */
export class PackedSearch {
  readonly #sought: Sought;
  readonly #ids: SoughtIds;
  /** Templates found so far, live or struck, by their blocks and in the order of their slots. */
  readonly found = new Map<number, readonly PackedTemplate[]>();
  #last = -1;

  constructor(sought: Sought) {
    this.#sought = sought;
    this.#ids = new SoughtIds(sought.ids, sought.kind);
  }

  /** Looks at the blocks there are. */
  async run(pace: Pace): Promise<void> {
    for (const block of this.#blocksToCome()) {
      await pace.step();
      this.#lookAt(block);
    }
  }

  /** Looks at the blocks that came since, all at once. */
  catchUp(): void {
    for (const block of this.#blocksToCome()) this.#lookAt(block);
  }

  #blocksToCome(): number[] {
    const { tables, gallery, ids } = this.#sought;
    return ids.length === 0 ? [] : packedBlocksOf(tables, gallery).filter((block) => block > this.#last);
  }

  #lookAt(block: number): void {
    const { lookup, gallery } = this.#sought;
    const found = lookup.findIn(gallery, block, this.#ids);
    if (found.length > 0) this.found.set(block, found);
    this.#last = block;
  }
}
