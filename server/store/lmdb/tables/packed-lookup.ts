import { storedCorrupt } from "../../../errors.ts";
import type { PackedSlot } from "../../gallery-store.ts";
import { INDEX_BYTES_PER_ID, WantedIds, decodeIndex, indexIds } from "../rows/id-index.ts";
import type { IdIndex } from "../rows/id-index.ts";
import { decodeBlock } from "../rows/block-rows.ts";
import { blockKey, u32 } from "../rows/schema.ts";
import type { PackedBlockRow, Tables } from "../rows/schema.ts";
import { BlockRoster, LiveSlots } from "../rows/packed-rows.ts";

/** A live template of a packed block. */
export interface PackedTemplate extends PackedSlot {
  readonly block: number;
  readonly slot: number;
}

/** What is looked for: template ids or subject ids. */
export type IdKind = keyof BlockIndexes;

interface SoughtPart {
  readonly kind: IdKind;
  readonly ids: readonly string[];
  readonly wanted: WantedIds;
}

/** Ids made ready to be looked for in one block after the other. */
export class SoughtIds {
  /** Each of as many ids as an index can hold slots of. */
  readonly parts: readonly SoughtPart[];

  constructor(ids: readonly string[], kind: IdKind) {
    const unique = [...new Set(ids)];
    this.parts = Array.from({ length: Math.ceil(unique.length / MOST_IDS_AT_ONCE) }, (_, i) => {
      const some = unique.slice(i * MOST_IDS_AT_ONCE, (i + 1) * MOST_IDS_AT_ONCE);
      return { kind, ids: some, wanted: new WantedIds(indexIds(some)) };
    });
  }
}

interface BlockIndexes {
  readonly templates: IdIndex;
  readonly subjects: IdIndex;
}

/** Indexes of about 4 million templates. Those of further blocks are read anew for every search, some 10 us a block. */
const CACHE_BYTES = 48 * 2 ** 20;
/** What an index can hold slots of. */
const MOST_IDS_AT_ONCE = 2 ** 16;

/** The packed blocks of a gallery, ascending. */
export function packedBlocksOf(tables: Tables, gallery: number): number[] {
  const bytes = tables.packedBlocks.get(u32(gallery)) ?? Buffer.alloc(0);
  return Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readUInt32BE(4 * i));
}

/** The row of a packed block that is there. Throws ServerError STORED_CORRUPT. */
export function readPacked(tables: Tables, gallery: number, block: number): PackedBlockRow {
  const bytes = tables.blocks.get(blockKey(gallery, block));
  const row = bytes && decodeBlock(bytes);
  if (row?.kind !== "packed") throw storedCorrupt(`block ${block}`);
  return row;
}

/** Undefined if the block is gone. */
export function readRoster(tables: Tables, gallery: number, block: number): BlockRoster | undefined {
  const bytes = tables.rosters.get(blockKey(gallery, block));
  return bytes && new BlockRoster(bytes);
}

/** Which slots of a packed block are live; undefined if the block is gone. */
export function readLiveSlots(tables: Tables, gallery: number, block: number): LiveSlots | undefined {
  const bytes = tables.liveSlots.get(blockKey(gallery, block));
  return bytes === undefined ? undefined : new LiveSlots(bytes);
}

/** Whether templates of a block are live now; of a block that is gone none is. */
export function liveIn(tables: Tables, gallery: number, block: number): (template: PackedTemplate) => boolean {
  const live = readLiveSlots(tables, gallery, block);
  return ({ slot }) => live?.has(slot) === true;
}

/**
 * Finds templates of packed blocks by their ids: a search in the sorted hashes of every block, then a look at the ids
 * found. Indexes are kept in memory up to a bound, which is safe because a block's index never changes and its number
 * is never given to another block.
 */
export class PackedLookup {
  readonly #tables: Tables;
  readonly #most: number;
  readonly #cache = new Map<string, BlockIndexes>();
  /** What is in the cache, to choose from. */
  readonly #cached: { readonly key: string; readonly bytes: number }[] = [];
  #bytes = 0;

  constructor(tables: Tables, cacheBytes = CACHE_BYTES) {
    this.#tables = tables;
    this.#most = cacheBytes;
  }

  /** The live templates with those ids, by id. */
  templates(gallery: number, templateIds: readonly string[]): Map<string, PackedTemplate> {
    return new Map(this.#find(gallery, templateIds, "templates").map((found) => [found.templateId, found]));
  }

  /**
   * Templates with these ids, or of these subjects, in one block, by their slots: struck ones too. None if the block is
   * gone.
   */
  findIn(gallery: number, block: number, wanted: SoughtIds): PackedTemplate[] {
    return wanted.parts.flatMap((part) => this.#findIn(gallery, block, part)).sort((a, b) => a.slot - b.slot);
  }

  #find(gallery: number, ids: readonly string[], kind: IdKind): PackedTemplate[] {
    const blocks = packedBlocksOf(this.#tables, gallery);
    if (blocks.length === 0 || ids.length === 0) return [];
    const wanted = new SoughtIds(ids, kind);
    return blocks.flatMap((block) => this.findIn(gallery, block, wanted).filter(liveIn(this.#tables, gallery, block)));
  }

  #findIn(gallery: number, block: number, { kind, ids, wanted }: SoughtPart): PackedTemplate[] {
    const indexes = this.#indexes(gallery, block);
    const candidates: { i: number; slot: number }[] = [];
    if (indexes !== undefined) wanted.eachMatch(indexes[kind], (i, slot) => candidates.push({ i, slot }));
    if (candidates.length === 0) return [];
    const roster = readRoster(this.#tables, gallery, block);
    if (roster === undefined) return [];
    const idOf = (slot: number): string => (kind === "templates" ? roster.templateId(slot) : roster.subjectId(slot));
    const found = candidates.filter(({ i, slot }) => idOf(slot) === ids[i]);
    return found.map(({ slot }) => ({
      block,
      slot,
      templateId: roster.templateId(slot),
      subjectId: roster.subjectId(slot),
    }));
  }

  /** Undefined if the block is gone and not remembered either. */
  #indexes(gallery: number, block: number): BlockIndexes | undefined {
    const key = `${gallery}/${block}`;
    const cached = this.#cache.get(key);
    if (cached !== undefined) return cached;
    const bytes = this.#tables.indexes.get(blockKey(gallery, block));
    if (bytes === undefined) return undefined;
    const half = bytes.length / 2;
    const indexes = { templates: decodeIndex(bytes.subarray(0, half)), subjects: decodeIndex(bytes.subarray(half)) };
    this.#keep(key, indexes);
    return indexes;
  }

  // One at random makes way: searches go through all blocks in turn, for which the one least recently used would be the
  // worst choice.
  #keep(key: string, indexes: BlockIndexes): void {
    const bytes = sizeOf(indexes);
    this.#cache.set(key, indexes);
    this.#bytes += bytes;
    this.#cached.push({ key, bytes });
    while (this.#bytes > this.#most && this.#cached.length > 1) this.#forgetOne();
  }

  #forgetOne(): void {
    const i = Math.floor(Math.random() * this.#cached.length);
    const last = this.#cached.pop();
    const victim = this.#cached[i] ?? last;
    if (victim === undefined || last === undefined) return;
    if (victim !== last) this.#cached[i] = last;
    this.#bytes -= victim.bytes;
    this.#cache.delete(victim.key);
  }
}

function sizeOf({ templates, subjects }: BlockIndexes): number {
  return (templates.slots.length + subjects.slots.length) * INDEX_BYTES_PER_ID;
}
