/* eslint-disable @typescript-eslint/no-non-null-assertion -- typed arrays, read inside their bounds */
import type { RosterTable } from "../roster/roster-table.ts";
import { invalidReply } from "../remote/wire.ts";
import { checkDistance, refusalOf } from "./search-answer.ts";
import type { SearchAnswer } from "./search-answer.ts";

/** A row of the roster, as far from the probe as its template is. */
interface NearRow {
  readonly row: number;
  readonly distance: number;
}

/** Rows in no particular order. */
export interface NearestRows {
  readonly rows: readonly NearRow[];
  /** Whether these are all rows there are. */
  readonly all: boolean;
}

/**
 * The rows at most as far as the count-th nearest: at least `count` of them, where there are so many; more where
 * distances are equal. Throws ClientError REPLY_INVALID for an answer at another stride than its templates have, or
 * with a distance that cannot be.
 */
export function nearestRows(table: RosterTable, { revision, blocks }: SearchAnswer, count: number): NearestRows {
  let kept: NearRow[] = [];
  let limit = Infinity;
  let all = true;
  for (const answered of blocks) {
    const { block, stride, distances } = answered;
    const rows = table.places.get(block);
    if (rows === undefined) continue;
    for (let slot = 0; slot < rows.length; slot++) {
      const row = rows[slot]!;
      if (row < 0 || table.revision(row) > revision || refusalOf(answered, slot) !== undefined) continue;
      if (table.stride(row) !== stride || slot >= distances.length)
        throw invalidReply("a block at another stride than its templates have");
      const distance = checkDistance(distances[slot]!);
      if (distance > limit) all = false;
      else kept.push({ row, distance });
    }
    if (kept.length <= 4 * count + 1024) continue;
    limit = nthSmallest(kept, count);
    const before = kept.length;
    kept = upTo(kept, limit);
    all &&= kept.length === before;
  }
  return { rows: kept, all };
}

function nthSmallest(rows: readonly NearRow[], n: number): number {
  return Float64Array.from(rows, ({ distance }) => distance).sort()[n - 1]!;
}

function upTo(rows: readonly NearRow[], limit: number): NearRow[] {
  return rows.filter(({ distance }) => distance <= limit);
}
