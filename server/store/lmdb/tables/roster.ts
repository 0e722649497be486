import { blockStride, decodeBlock } from "../rows/block-rows.ts";
import type { BlockRef, RosterEntry, RosterPage } from "../../gallery-store.ts";
import {
  NEW_GALLERY,
  blockKey,
  changeKey,
  decodeChange,
  decodeEntry,
  decodeJson,
  entryKey,
  keysUnder,
  readU48,
  subjectKey,
  u32,
} from "../rows/schema.ts";
import type { Change, EntryRow, GalleryState, PackedBlockRow, Tables } from "../rows/schema.ts";
import { liveIn, readLiveSlots, readRoster } from "./packed-lookup.ts";
import type { PackedLookup, PackedTemplate } from "./packed-lookup.ts";
import { PackedSearch } from "./packed-search.ts";
import { pagesOf } from "../disk/pages.ts";
import type { Pace } from "../disk/turns.ts";

export function readState(tables: Tables, gallery: number): GalleryState {
  const bytes = tables.states.get(u32(gallery));
  return bytes === undefined ? NEW_GALLERY : (decodeJson(bytes) as GalleryState);
}

/** The row of a loose or deleted template. */
export function readEntry(tables: Tables, gallery: number, templateId: string): EntryRow | undefined {
  const bytes = tables.entries.get(entryKey(gallery, templateId));
  return bytes === undefined ? undefined : decodeEntry(bytes);
}

/** Whether the gallery has loose or deleted templates. */
export function hasEntries(tables: Tables, gallery: number): boolean {
  for (const _ of tables.entries.getKeys({ ...keysUnder(u32(gallery)), limit: 1 })) return true;
  return false;
}

export function rosterEntry(templateId: string, { revision, live }: EntryRow): RosterEntry {
  if (live === undefined) return { templateId, revision, live };
  const { subjectId, block, slot, stride } = live;
  return { templateId, revision, live: { subjectId, placement: { block, slot, stride } } };
}

/** What reading a gallery's roster takes. */
export interface RosterReading {
  readonly tables: Tables;
  readonly lookup: PackedLookup;
  readonly gallery: number;
  readonly pace: Pace;
}

/** The live entries of a subject, in the order of their places. */
export async function entriesOfSubject(
  { tables, lookup, gallery, pace }: RosterReading,
  subjectId: string,
): Promise<RosterEntry[]> {
  const search = new PackedSearch({ tables, lookup, gallery, ids: [subjectId], kind: "subjects" });
  await search.run(pace);
  const entries: RosterEntry[] = [];
  for (const [block, templates] of search.found) {
    await pace.step();
    entries.push(...packedEntries(tables, gallery, templates.filter(liveIn(tables, gallery, block))));
  }
  await pace.step();
  for (const page of pagesOf(tables.subjects, keysUnder(subjectKey(gallery, subjectId)))) {
    entries.push(
      ...page
        .map(({ value }) => looseEntry(tables, gallery, value.toString("latin1")))
        .filter((entry) => entry !== undefined),
    );
    await pace.step();
  }
  return entries.sort(byPlace);
}

function looseEntry(tables: Tables, gallery: number, templateId: string): RosterEntry | undefined {
  const row = readEntry(tables, gallery, templateId);
  return row?.live === undefined ? undefined : rosterEntry(templateId, row);
}

function byPlace(a: RosterEntry, b: RosterEntry): number {
  const [one, other] = [a.live!.placement, b.live!.placement];
  return one.block - other.block || one.slot - other.slot;
}

/** Entries of templates of one block. */
function packedEntries(tables: Tables, gallery: number, templates: readonly PackedTemplate[]): RosterEntry[] {
  const [first] = templates;
  if (first === undefined) return [];
  const { stride, firstRevision } = readPacked(tables, gallery, first.block);
  return templates.map(({ block, slot, templateId, subjectId }) => {
    return { templateId, revision: firstRevision + slot, live: { subjectId, placement: { block, slot, stride } } };
  });
}

function readPacked(tables: Tables, gallery: number, block: number): PackedBlockRow {
  return decodeBlock(tables.blocks.get(blockKey(gallery, block))!) as PackedBlockRow;
}

/** The live entries of a packed block that changed after revision `since`, at most so many, in slot order. */
export function entriesOfPacked(
  tables: Tables,
  gallery: number,
  block: number,
  since: number,
  most: number,
): RosterEntry[] {
  const { stride, firstRevision, count } = readPacked(tables, gallery, block);
  const roster = readRoster(tables, gallery, block);
  const live = readLiveSlots(tables, gallery, block)!;
  const entries: RosterEntry[] = [];
  for (let slot = Math.max(0, since + 1 - firstRevision); slot < count && entries.length < most; slot++) {
    if (!live.has(slot)) continue;
    const placement = { block, slot, stride };
    entries.push({
      templateId: roster.templateId(slot),
      revision: firstRevision + slot,
      live: { subjectId: roster.subjectId(slot), placement },
    });
  }
  return entries;
}

/** Reading so many holds the event loop for some 3 ms. */
const ENTRIES_AT_ONCE = 512;

/** The latest change of each template that changed after revision `since`, oldest first. */
export async function rosterPage(
  { tables, gallery, pace }: RosterReading,
  since: number,
  limit: number,
): Promise<RosterPage> {
  const entries: RosterEntry[] = [];
  for (let from = since; ; ) {
    await pace.step();
    // One more than asked for tells whether there is a next page.
    const wanted = Math.min(ENTRIES_AT_ONCE, limit + 1 - entries.length);
    const found = entriesSince(tables, gallery, from, wanted);
    for (const entry of found) entries.push(entry);
    // Read together with the last entries: what changed before it is among them.
    const { revision } = readState(tables, gallery);
    if (entries.length > limit)
      return { entries: entries.slice(0, limit), revision, next: entries[limit - 1]!.revision };
    if (found.length < wanted) return { entries, revision, next: undefined };
    from = found.at(-1)!.revision;
  }
}

function entriesSince(tables: Tables, gallery: number, since: number, most: number): RosterEntry[] {
  const entries: RosterEntry[] = [];
  for (const { change } of [
    ...packedBlockAcross(tables, gallery, since),
    ...changesAfter(tables, gallery, since, most),
  ]) {
    if (entries.length >= most) break;
    if ("templateId" in change)
      entries.push(rosterEntry(change.templateId, readEntry(tables, gallery, change.templateId)!));
    else entries.push(...entriesOfPacked(tables, gallery, change.packedBlock, since, most - entries.length));
  }
  return entries;
}

/** The blocks that had a live template at the revision, and have one still when they are read, ascending. */
export async function blockList({
  tables,
  gallery,
  pace,
}: RosterReading): Promise<{ blocks: BlockRef[]; revision: number }> {
  await pace.step();
  const { revision, nextBlock } = readState(tables, gallery);
  const blocks: BlockRef[] = [];
  for (const page of pagesOf(tables.blocks, { start: blockKey(gallery, 0), end: blockKey(gallery, nextBlock) })) {
    for (const { key, value } of page) blocks.push({ block: key.readUInt32BE(4), stride: blockStride(value) });
    await pace.step();
  }
  return { blocks, revision };
}

export interface RevisedChange {
  readonly revision: number;
  readonly change: Change;
}

/** The changes after revision `since`, at most so many. */
export function changesAfter(tables: Tables, gallery: number, since: number, most: number): RevisedChange[] {
  const { end } = keysUnder(u32(gallery));
  return Array.from(tables.changes.getRange({ start: changeKey(gallery, since + 1), end, limit: most }), revisedChange);
}

/**
 * The packed block that begins at or before revision `since`, if it is the last change until then: it may reach beyond.
 */
function packedBlockAcross(tables: Tables, gallery: number, since: number): RevisedChange[] {
  const last = tables.changes.getRange({
    start: changeKey(gallery, since),
    end: u32(gallery),
    reverse: true,
    limit: 1,
  });
  return Array.from(last, revisedChange).filter(({ change }) => "packedBlock" in change);
}

function revisedChange({ key, value }: { key: Buffer; value: Buffer }): RevisedChange {
  return { revision: readU48(key, 4), change: decodeChange(value) };
}
