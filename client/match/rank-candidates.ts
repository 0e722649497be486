import type { RosterTable } from "../roster/roster-table.ts";
import { invalidReply } from "../remote/wire.ts";
import { nearestRows } from "./nearest-rows.ts";
import type { NearestRows } from "./nearest-rows.ts";
import { lacksBlock, refusalOf } from "./search-answer.ts";
import type { SearchAnswer } from "./search-answer.ts";

/** A subject that a probe may be of, by the nearest of its templates. */
export interface Candidate {
  /** The subject that it may be of, as it was enrolled. */
  readonly subjectId: string;
  /** The nearest of the subject's templates. */
  readonly templateId: string;
  /** From the probe to that template, in the gallery's metric, >= 0; the encryption's noise is in it. */
  readonly distance: number;
}

/** A template that the server could not compare. */
export interface RefusedTemplate {
  /** The template that is left out of the result. */
  readonly templateId: string;
  /** The subject whose template it is. */
  readonly subjectId: string;
  /**
   * Why, in a word of veilface.v1.ErrorReason without its prefix: STORED_CORRUPT where the template is damaged on the
   * server's disk.
   */
  readonly reason: string;
}

/** The templates that the roster has at the search's revision and that the server could not compare. */
export function refusedTemplates(table: RosterTable, { revision, blocks }: SearchAnswer): RefusedTemplate[] {
  return blocks
    .filter(({ refusal }) => refusal !== undefined)
    .flatMap((answer) => {
      const rows = table.places.get(answer.block) ?? [];
      return [...rows.entries()].flatMap(([slot, row]) => {
        const reason = refusalOf(answer, slot);
        if (reason === undefined || row < 0 || table.revision(row) > revision) return [];
        return [{ templateId: table.templateId(row), subjectId: table.subjectId(row), reason }];
      });
    });
}

/**
 * The nearest subjects, nearest first; equal distances in the order of subject and template ids. Sees the gallery as
 * of the search's revision: templates that changed later are left out, since their block may have been read before or
 * after. Throws ClientError REPLY_INVALID where a block that the roster has at that revision was not answered, or
 * answered at another stride, or with a distance that cannot be.
 */
export function rankCandidates(table: RosterTable, answer: SearchAnswer, top: number): Candidate[] {
  if (lacksBlock(table, answer)) throw invalidReply("a search that leaves out a block of the gallery");
  // Most subjects have few templates: a few more than asked for usually name enough subjects, and if not, more do.
  for (let count = 4 * top + 16; ; count *= 8) {
    const nearest = nearestRows(table, answer, count);
    const candidates = bestOfSubjects(table, nearest);
    if (candidates.length >= top || nearest.all) return candidates.slice(0, top);
  }
}

function bestOfSubjects(table: RosterTable, { rows }: NearestRows): Candidate[] {
  const candidates = rows
    .map(({ row, distance }) => ({ subjectId: table.subjectId(row), templateId: table.templateId(row), distance }))
    .sort(compareCandidates);
  const best = new Map<string, Candidate>();
  for (const candidate of candidates) if (!best.has(candidate.subjectId)) best.set(candidate.subjectId, candidate);
  return best.values().toArray();
}

function compareCandidates(a: Candidate, b: Candidate): number {
  return a.distance - b.distance || compareText(a.subjectId, b.subjectId) || compareText(a.templateId, b.templateId);
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
