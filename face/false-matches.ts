import type { ModelCard } from "./model-card.ts";

/** How often a threshold accepts photos of two different people. */
export interface FalseMatchRate {
  /** As the card's threshold: a Euclidean distance, or a cosine similarity. */
  readonly threshold: number;
  /** False match rate of one comparison, in (0, 1]. */
  readonly rate: number;
}

/**
 * How many templates of other people a search is expected to accept, among so many that are all of other people than
 * the probe: the card's false match rate at that threshold, a distance, times their number. Between and beyond the
 * card's thresholds the rate's logarithm goes along straight lines, which for the tail of a normal distribution is
 * never too low beyond them. Undefined where the card states no two rates.
 */
export function expectedFalseMatches(
  { metric, falseMatchRates = [] }: Pick<ModelCard, "metric" | "falseMatchRates">,
  threshold: number,
  templates: number,
): number | undefined {
  const known = falseMatchRates.map(({ threshold: value, rate }) => ({
    threshold: metric === "cosine" ? 1 - value : value,
    rate,
  }));
  const [first, second, ...laxer] = known.sort((a, b) => a.threshold - b.threshold);
  if (first === undefined || second === undefined) return undefined;
  return templates * rateAt([first, second, ...laxer], threshold);
}

/** Rates by growing distance. */
type Rates = readonly [FalseMatchRate, FalseMatchRate, ...FalseMatchRate[]];

function rateAt([first, second, ...laxer]: Rates, threshold: number): number {
  let [low, high] = [first, second];
  for (const next of laxer) if (high.threshold < threshold) [low, high] = [high, next];
  const part = (threshold - low.threshold) / (high.threshold - low.threshold);
  return Math.min(1, low.rate * (high.rate / low.rate) ** part);
}
