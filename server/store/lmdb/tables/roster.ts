import { storedCorrupt } from "../../../errors.ts";
import { blockStride } from "../rows/block-rows.ts";
import { decodeState } from "../rows/gallery-rows.ts";
import type { BlockRef, LiveEntry, RosterEntry, RosterPage } from "../../gallery-store.ts";
import {
  NEW_GALLERY,
  blockKey,
  changeKey,
  decodeChange,
  decodeEntry,
  entryKey,
  keysUnder,
  readU48,
  u32,
} from "../rows/schema.ts";
import type { Change, EntryRow, GalleryState, Tables } from "../rows/schema.ts";
import { readLiveSlots, readPacked, readRoster } from "./packed-lookup.ts";
import type { PackedLookup } from "./packed-lookup.ts";
import { pagesOf } from "../disk/pages.ts";
import type { Pace } from "../disk/turns.ts";

export function readState(tables: Tables, gallery: number): GalleryState {
  const bytes = tables.states.get(u32(gallery));
  return bytes === undefined ? NEW_GALLERY : decodeState(bytes);
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

/** The row of a template that a change names. Throws ServerError STORED_CORRUPT. */
export function readChanged({ tables, gallery }: GalleryRows, templateId: string): EntryRow {
  const row = readEntry(tables, gallery, templateId);
  if (row === undefined) throw storedCorrupt(`the row of template "${templateId}"`);
  return row;
}

export function rosterEntry(templateId: string, { revision, live }: EntryRow): RosterEntry {
  if (live === undefined) return { templateId, revision, live };
  const { subjectId, block, slot, stride } = live;
  return { templateId, revision, live: { subjectId, placement: { block, slot, stride } } };
}

/** The rows of one gallery. */
interface GalleryRows {
  readonly tables: Tables;
  readonly gallery: number;
}

/** What reading a gallery's roster takes. */
export interface RosterReading extends GalleryRows {
  readonly lookup: PackedLookup;
  readonly pace: Pace;
}

/** Which changes are read: those after a revision, at most so many. */
interface Since {
  readonly since: number;
  readonly most: number;
}

/** The live entries of a packed block that is there, in slot order. Throws ServerError STORED_CORRUPT. */
export function entriesOfPacked(
  { tables, gallery }: GalleryRows,
  block: number,
  { since, most }: Since = { since: 0, most: Infinity },
): LiveEntry[] {
  const { stride, firstRevision, count } = readPacked(tables, gallery, block);
  const roster = readRoster(tables, gallery, block);
  const live = readLiveSlots(tables, gallery, block);
  if (roster === undefined || live === undefined) throw storedCorrupt(`the roster of block ${block}`);
  const entries: LiveEntry[] = [];
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
export async function rosterPage({ pace, ...rows }: RosterReading, since: number, limit: number): Promise<RosterPage> {
  const entries: RosterEntry[] = [];
  for (let from = since; ; ) {
    await pace.step();
    // One more than asked for tells whether there is a next page.
    const wanted = Math.min(ENTRIES_AT_ONCE, limit + 1 - entries.length);
    const found = entriesSince(rows, { since: from, most: wanted });
    for (const entry of found) {
      entries.push(entry);
      from = entry.revision;
    }
    // Read together with the last entries: what changed before it is among them.
    const { revision } = readState(rows.tables, rows.gallery);
    const page = entries.slice(0, limit);
    if (entries.length > limit) return { entries: page, revision, next: page.at(-1)?.revision };
    if (found.length < wanted) return { entries, revision, next: undefined };
  }
}

function entriesSince(rows: GalleryRows, { since, most }: Since): RosterEntry[] {
  const entries: RosterEntry[] = [];
  for (const { change } of [...packedBlockAcross(rows, since), ...changesAfter(rows, { since, most })]) {
    const left = most - entries.length;
    if (left <= 0) break;
    if ("templateId" in change) entries.push(rosterEntry(change.templateId, readChanged(rows, change.templateId)));
    else entries.push(...entriesOfPacked(rows, change.packedBlock, { since, most: left }));
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

interface RevisedChange {
  readonly revision: number;
  readonly change: Change;
}

/** The changes after revision `since`, at most so many. */
export function changesAfter({ tables, gallery }: GalleryRows, { since, most }: Since): RevisedChange[] {
  const { end } = keysUnder(u32(gallery));
  return Array.from(tables.changes.getRange({ start: changeKey(gallery, since + 1), end, limit: most }), revisedChange);
}

/**
 * The packed block that begins at or before revision `since`, if it is the last change until then: it may reach beyond.
 */
function packedBlockAcross({ tables, gallery }: GalleryRows, since: number): RevisedChange[] {
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
