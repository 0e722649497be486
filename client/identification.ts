import type { Roster } from "./roster.ts";
import { invalidReply } from "./wire.ts";
import type { RosterEntry } from "./wire.ts";

/** A subject that a probe may be of, by the nearest of its templates. */
export interface Candidate {
  readonly subjectId: string;
  readonly templateId: string;
  /** In the gallery's metric. */
  readonly distance: number;
}

/** The decrypted distances of one block, by slot. */
export interface BlockDistances {
  readonly block: number;
  readonly stride: number;
  readonly distances: Float64Array;
}

/**
 * The nearest subjects, nearest first; equal distances in the order of subject and template ids. Sees the gallery as of the search's
 * revision: templates that changed later are left out, since their block may have been read before or after.
 * Throws ClientError REPLY_INVALID where a block that the roster has at that revision was not answered, or a slot is out of range.
 */
export function rankCandidates(roster: Roster, searchRevision: number, blocks: readonly BlockDistances[], top: number): Candidate[] {
  const answered = new Map(blocks.map((block) => [`${block.block}/${block.stride}`, block.distances]));
  const best = new Map<string, Candidate>();
  for (const entry of roster.entries()) {
    if (entry.revision > searchRevision) continue;
    const candidate = { subjectId: entry.subjectId, templateId: entry.templateId, distance: distanceOf(answered, entry) };
    const before = best.get(entry.subjectId);
    if (before === undefined || compareCandidates(candidate, before) < 0) best.set(entry.subjectId, candidate);
  }
  return best.values().toArray().sort(compareCandidates).slice(0, top);
}

function distanceOf(answered: ReadonlyMap<string, Float64Array>, { placement }: RosterEntry): number {
  const distances = answered.get(`${placement.block}/${placement.stride}`);
  if (distances === undefined) throw invalidReply("a search that leaves out a block of the gallery");
  const distance = distances[placement.slot];
  if (distance === undefined) throw invalidReply("a template's slot beyond its block");
  return distance;
}

function compareCandidates(a: Candidate, b: Candidate): number {
  return a.distance - b.distance || compareText(a.subjectId, b.subjectId) || compareText(a.templateId, b.templateId);
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
