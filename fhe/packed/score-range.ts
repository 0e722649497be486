import { expectedError } from "./layout.ts";
import type { Layout } from "./layout.ts";
import type { EmbeddingSpace } from "./metric.ts";
import type { ParameterSet } from "../parameter-sets.ts";

/** The inner products that a comparison may decrypt to. */
export interface ScoreRange {
  /** The smallest of them, in units of a score, where encoded vectors have norm 1. */
  readonly least: number;
  /** The largest of them, in the same units, > least. */
  readonly largest: number;
}

// Beyond eight standard deviations a normal error lies once in 10^15 comparisons.
const TOLERANCE_SIGMAS = 8;
// Embeddings may be longer than the norm bound by a millionth (metric.ts).
const NORM_SLACK = 4e-6;

/**
 * What an inner product of a probe and a template of one space can decrypt to: what plain ones can be, and 8 standard
 * deviations of the encryption's noise (expectedError) more. Cosine: [-1, 1]. Euclidean, with u and v of norm at most
 * 1 and score = (1 + |v|^2 - |u - v|^2) / 2: [-|v|, (1 + |v|^2) / 2], which is where |u - v| is 1 + |v| and 0.
 * `probeSquaredNorm`: |v|^2 of the Euclidean probe.
 */
export function scoreRange(
  { metric }: EmbeddingSpace,
  { set, layout }: { readonly set: ParameterSet; readonly layout: Layout },
  probeSquaredNorm: number,
): ScoreRange {
  if (metric === "cosine") return widened({ least: -1, largest: 1 }, expectedError(set, layout));
  const exact = { least: -Math.sqrt(probeSquaredNorm) - NORM_SLACK, largest: (1 + probeSquaredNorm) / 2 };
  return widened(exact, expectedError(set, layout, Math.sqrt(probeSquaredNorm + 1 / 4)));
}

function widened({ least, largest }: ScoreRange, sigma: number): ScoreRange {
  return { least: least - TOLERANCE_SIGMAS * sigma, largest: largest + TOLERANCE_SIGMAS * sigma };
}
