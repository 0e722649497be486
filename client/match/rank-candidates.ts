import type { RosterTable } from "../roster/roster-table.ts";
import { invalidReply } from "../remote/wire.ts";

/** A subject that a probe may be of, by the nearest of its templates. */
export interface Candidate {
  readonly subjectId: string;
  readonly templateId: string;
  /** In the gallery's metric. */
  readonly distance: number;
}

/** A template that the server could not compare. */
export interface RefusedTemplate {
  readonly templateId: string;
  readonly subjectId: string;
  /** A reason of the contract: STORED_CORRUPT where the template is damaged on the server's disk. */
  readonly reason: string;
}

/** The decrypted distances of one block, by slot. */
export interface BlockDistances {
  readonly block: number;
  readonly stride: number;
  /** NaN where no two embeddings can have what was decrypted. */
  readonly distances: Float64Array;
  /** What the server could not compare, and why. */
  readonly refusal?: Refusal;
}

/** What has no distance in a block. */
export interface Refusal {
  readonly reason: string;
  /** All of the block unless given. */
  readonly slots?: ReadonlySet<number>;
}

/** A search's answers, and the gallery's revision that they are of. */
export interface SearchAnswer {
  readonly revision: number;
  readonly blocks: readonly BlockDistances[];
}

/** A live template's distance. Throws ClientError REPLY_INVALID for one that no two embeddings can have. */
export function checkDistance(distance: number): number {
  if (Number.isNaN(distance)) throw invalidReply("a distance that no two embeddings can have");
  return distance;
}

/** Whether a slot has no distance because the server could not compare it. */
export function isRefused({ refusal }: BlockDistances, slot: number): boolean {
  return refusal !== undefined && (refusal.slots === undefined || refusal.slots.has(slot));
}

/** The templates that the roster has at the search's revision and that the server could not compare. */
export function refusedTemplates(table: RosterTable, { revision, blocks }: SearchAnswer): RefusedTemplate[] {
  return blocks
    .filter(({ refusal }) => refusal !== undefined)
    .flatMap((answer) => {
      const rows = table.places.get(answer.block) ?? [];
      return [...rows.entries()]
        .filter(([slot, row]) => row >= 0 && table.revision(row) <= revision && isRefused(answer, slot))
        .map(([, row]) => ({
          templateId: table.templateId(row),
          subjectId: table.subjectId(row),
          reason: answer.refusal!.reason,
        }));
    });
}

/**
 * Whether a block that the roster has at the search's revision was not answered: one that vanished meanwhile, or was
 * left out.
 */
export function lacksBlock(table: RosterTable, { revision, blocks }: SearchAnswer): boolean {
  const answered = new Set(blocks.map(({ block }) => block));
  for (const [block, rows] of table.places) {
    if (!answered.has(block) && rows.some((row) => row >= 0 && table.revision(row) <= revision)) return true;
  }
  return false;
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

interface NearestRows {
  readonly rows: readonly number[];
  readonly distances: readonly number[];
  /** Whether these are all rows there are. */
  readonly all: boolean;
}

/**
 * The rows at most as far as the count-th nearest: at least `count` of them, where there are so many; more where
 * distances are equal.
 */
function nearestRows(table: RosterTable, { revision, blocks }: SearchAnswer, count: number): NearestRows {
  let kept = { rows: [] as number[], distances: [] as number[] };
  let limit = Infinity;
  let all = true;
  for (const answered of blocks) {
    const { block, stride, distances } = answered;
    const rows = table.places.get(block);
    if (rows === undefined) continue;
    for (let slot = 0; slot < rows.length; slot++) {
      const row = rows[slot]!;
      if (row < 0 || table.revision(row) > revision || isRefused(answered, slot)) continue;
      if (table.stride(row) !== stride || slot >= distances.length)
        throw invalidReply("a block at another stride than its templates have");
      const distance = checkDistance(distances[slot]!);
      if (distance > limit) all = false;
      else {
        kept.rows.push(row);
        kept.distances.push(distance);
      }
    }
    if (kept.rows.length <= 4 * count + 1024) continue;
    limit = Float64Array.from(kept.distances).sort()[count - 1]!;
    const before = kept.rows.length;
    kept = upTo(kept, limit);
    all &&= kept.rows.length === before;
  }
  return { ...kept, all };
}

function upTo(
  { rows, distances }: { rows: readonly number[]; distances: readonly number[] },
  limit: number,
): { rows: number[]; distances: number[] } {
  const kept = { rows: [] as number[], distances: [] as number[] };
  distances.forEach((distance, i) => {
    if (distance > limit) return;
    kept.rows.push(rows[i]!);
    kept.distances.push(distance);
  });
  return kept;
}

function bestOfSubjects(table: RosterTable, { rows, distances }: NearestRows): Candidate[] {
  const candidates = rows
    .map((row, i) => ({ subjectId: table.subjectId(row), templateId: table.templateId(row), distance: distances[i]! }))
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
