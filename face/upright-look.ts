import type { FaceReading } from "./face-reader.ts";
import { CLEAR_DOUBT } from "./plausibility.ts";
import type { QuarterTurn } from "./quarter-turn.ts";

/** An image in one of its four turns, and what was read off its faces. */
export interface Look {
  readonly turn: QuarterTurn;
  /** Largest box first. */
  readonly faces: readonly FaceReading[];
}

/**
 * Looks at an image in the turn in which its faces are most like upright ones. Where one is clearly upright as it
 * stands, the other turns are not looked at.
 */
export async function lookUpright(look: (turn: QuarterTurn) => Promise<Look>): Promise<Look> {
  let best = await look(0);
  if (leastDoubt(best) < CLEAR_DOUBT) return best;
  for (const turn of [90, 270, 180] as const) {
    const next = await look(turn);
    if (leastDoubt(next) < leastDoubt(best)) best = next;
  }
  return best;
}

function leastDoubt({ faces }: Look): number {
  return Math.min(...faces.map(({ doubt }) => (Number.isNaN(doubt) ? Infinity : doubt)));
}
