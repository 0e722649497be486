import { decodeBlock } from "./block-rows.ts";
import type { RosterEntry, RosterPage } from "./gallery-store.ts";
import { NEW_GALLERY, blockKey, changeKey, decodeChange, decodeEntry, decodeJson, entryKey, keysUnder, readU48, subjectKey, u32 } from "./lmdb-schema.ts";
import type { Change, EntryRow, GalleryState, PackedBlockRow, Tables } from "./lmdb-schema.ts";
import { readLiveSlots, readRoster } from "./packed-lookup.ts";
import type { PackedLookup, PackedTemplate } from "./packed-lookup.ts";

export function readState(tables: Tables, gallery: number): GalleryState {
  const bytes = tables.states.get(u32(gallery));
  return bytes === undefined ? NEW_GALLERY : (decodeJson(bytes) as GalleryState);
}

/** The row of a loose or deleted template. */
export function readEntry(tables: Tables, gallery: number, templateId: string): EntryRow | undefined {
  const bytes = tables.entries.get(entryKey(gallery, templateId));
  return bytes === undefined ? undefined : decodeEntry(bytes);
}

export function rosterEntry(templateId: string, { revision, live }: EntryRow): RosterEntry {
  if (live === undefined) return { templateId, revision, live };
  const { subjectId, block, slot, stride } = live;
  return { templateId, revision, live: { subjectId, placement: { block, slot, stride } } };
}

/** Template ids of a subject's loose templates, in the order of their places. */
export function looseTemplatesOf(tables: Tables, gallery: number, subjectId: string): string[] {
  return Array.from(tables.subjects.getRange(keysUnder(subjectKey(gallery, subjectId))), ({ value }) => value.toString("latin1"));
}

/** The live entries of a subject, in the order of their places. */
export function entriesOfSubject(tables: Tables, lookup: PackedLookup, gallery: number, subjectId: string): RosterEntry[] {
  const loose = looseTemplatesOf(tables, gallery, subjectId).map((id) => rosterEntry(id, readEntry(tables, gallery, id)!));
  const packed = packedEntries(tables, gallery, lookup.templatesOf(gallery, [subjectId]));
  return [...loose, ...packed].sort(byPlace);
}

function byPlace(a: RosterEntry, b: RosterEntry): number {
  const [one, other] = [a.live!.placement, b.live!.placement];
  return one.block - other.block || one.slot - other.slot;
}

function packedEntries(tables: Tables, gallery: number, templates: readonly PackedTemplate[]): RosterEntry[] {
  const rows = new Map(Array.from(new Set(templates.map(({ block }) => block)), (block) => [block, readPacked(tables, gallery, block)]));
  return templates.map(({ block, slot, templateId, subjectId }) => {
    const { stride, firstRevision } = rows.get(block)!;
    return { templateId, revision: firstRevision + slot, live: { subjectId, placement: { block, slot, stride } } };
  });
}

function readPacked(tables: Tables, gallery: number, block: number): PackedBlockRow {
  return decodeBlock(tables.blocks.get(blockKey(gallery, block))!) as PackedBlockRow;
}

/** The live entries of a packed block that changed after revision `since`, at most so many, in slot order. */
export function entriesOfPacked(tables: Tables, gallery: number, block: number, since: number, most: number): RosterEntry[] {
  const { stride, firstRevision, count } = readPacked(tables, gallery, block);
  const roster = readRoster(tables, gallery, block);
  const live = readLiveSlots(tables, gallery, block);
  const entries: RosterEntry[] = [];
  for (let slot = Math.max(0, since + 1 - firstRevision); slot < count && entries.length < most; slot++) {
    if (!live.has(slot)) continue;
    const placement = { block, slot, stride };
    entries.push({ templateId: roster.templateId(slot), revision: firstRevision + slot, live: { subjectId: roster.subjectId(slot), placement } });
  }
  return entries;
}

/** The latest change of each template that changed after revision `since`, oldest first. */
export function rosterPage(tables: Tables, gallery: number, since: number, limit: number): RosterPage {
  // One more than asked for tells whether there is a next page.
  const found = entriesSince(tables, gallery, since, limit + 1);
  const entries = found.slice(0, limit);
  return { entries, revision: readState(tables, gallery).revision, next: found.length > limit ? entries[entries.length - 1]!.revision : undefined };
}

function entriesSince(tables: Tables, gallery: number, since: number, most: number): RosterEntry[] {
  const entries: RosterEntry[] = [];
  for (const { change } of [...packedBlockAcross(tables, gallery, since), ...changesAfter(tables, gallery, since, most)]) {
    if (entries.length >= most) break;
    if ("templateId" in change) entries.push(rosterEntry(change.templateId, readEntry(tables, gallery, change.templateId)!));
    else entries.push(...entriesOfPacked(tables, gallery, change.packedBlock, since, most - entries.length));
  }
  return entries;
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

/** The packed block that begins at or before revision `since`, if it is the last change until then: it may reach beyond. */
function packedBlockAcross(tables: Tables, gallery: number, since: number): RevisedChange[] {
  const last = tables.changes.getRange({ start: changeKey(gallery, since), end: u32(gallery), reverse: true, limit: 1 });
  return Array.from(last, revisedChange).filter(({ change }) => "packedBlock" in change);
}

function revisedChange({ key, value }: { key: Buffer; value: Buffer }): RevisedChange {
  return { revision: readU48(key, 4), change: decodeChange(value) };
}
