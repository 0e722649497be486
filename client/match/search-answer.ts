import type { RosterTable } from "../roster/roster-table.ts";
import { invalidReply } from "../remote/wire.ts";

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

/** Why a slot has no distance; undefined where the server compared it. */
export function refusalOf({ refusal }: BlockDistances, slot: number): string | undefined {
  return refusal === undefined || refusal.slots?.has(slot) === false ? undefined : refusal.reason;
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
