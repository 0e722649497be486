import type { LiveEntry, SubjectPage } from "../../gallery-store.ts";
import { pagesOf } from "../disk/pages.ts";
import { keysUnder, subjectKey } from "../rows/schema.ts";
import type { Tables } from "../rows/schema.ts";
import { liveIn, readPacked } from "./packed-lookup.ts";
import type { PackedTemplate } from "./packed-lookup.ts";
import { PackedSearch } from "./packed-search.ts";
import { readEntry, rosterEntry, rosterPage } from "./roster.ts";
import type { RosterReading } from "./roster.ts";

/** The live entries of a subject, in the order of their places. */
export async function entriesOfSubject(reading: RosterReading, subjectId: string): Promise<LiveEntry[]> {
  return (await entriesOfSubjects(reading, [subjectId])).sort(byPlace);
}

/** A page of the subjects with live templates, in the order of the oldest of these. */
export async function subjectPage(reading: RosterReading, since: number, limit: number): Promise<SubjectPage> {
  const { entries, next } = await rosterPage(reading, since, limit);
  const first = new Map<string, number>();
  for (const { live, revision } of entries)
    if (live !== undefined && !first.has(live.subjectId)) first.set(live.subjectId, revision);
  const counts = new Map<string, number>();
  // One that has an older template was on an earlier page.
  const older = new Set<string>();
  for (const { live, revision } of await entriesOfSubjects(reading, [...first.keys()])) {
    const { subjectId } = live;
    counts.set(subjectId, (counts.get(subjectId) ?? 0) + 1);
    if (revision < (first.get(subjectId) ?? 0)) older.add(subjectId);
  }
  const subjects = [...first.keys()].flatMap((subjectId) => {
    const templateCount = counts.get(subjectId);
    return templateCount === undefined || older.has(subjectId) ? [] : [{ subjectId, templateCount }];
  });
  return { subjects, next };
}

async function entriesOfSubjects(
  { tables, lookup, gallery, pace }: RosterReading,
  subjectIds: readonly string[],
): Promise<LiveEntry[]> {
  const search = new PackedSearch({ tables, lookup, gallery, ids: subjectIds, kind: "subjects" });
  await search.run(pace);
  const entries: LiveEntry[] = [];
  for (const [block, templates] of search.found) {
    await pace.step();
    entries.push(...packedEntries(tables, gallery, templates.filter(liveIn(tables, gallery, block))));
  }
  for (const subjectId of subjectIds) {
    await pace.step();
    for (const page of pagesOf(tables.subjects, keysUnder(subjectKey(gallery, subjectId)))) {
      const ids = page.map(({ value }) => value.toString("latin1"));
      entries.push(...ids.map((id) => looseEntry(tables, gallery, id)).filter((entry) => entry !== undefined));
      await pace.step();
    }
  }
  return entries;
}

function looseEntry(tables: Tables, gallery: number, templateId: string): LiveEntry | undefined {
  const row = readEntry(tables, gallery, templateId);
  if (row === undefined) return undefined;
  const { live, ...entry } = rosterEntry(templateId, row);
  return live && { ...entry, live };
}

function byPlace(a: LiveEntry, b: LiveEntry): number {
  const [one, other] = [a.live.placement, b.live.placement];
  return one.block - other.block || one.slot - other.slot;
}

/** Entries of templates of one block. */
function packedEntries(tables: Tables, gallery: number, templates: readonly PackedTemplate[]): LiveEntry[] {
  const [first] = templates;
  if (first === undefined) return [];
  const { stride, firstRevision } = readPacked(tables, gallery, first.block);
  return templates.map(({ block, slot, templateId, subjectId }) => {
    return { templateId, revision: firstRevision + slot, live: { subjectId, placement: { block, slot, stride } } };
  });
}
