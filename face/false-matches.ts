import type { ModelCard } from "./model-card.ts";

/** How often a threshold accepts photos of two different people. */
export interface FalseMatchRate {
  /** As the card's threshold: a Euclidean distance, or a cosine similarity. */
  readonly threshold: number;
  /** False match rate of one comparison, in (0, 1]. */
  readonly rate: number;
}

type Rates = readonly FalseMatchRate[];

/**
 * How many templates of other people a search is expected to accept, among so many that are all of other people than
 * the probe: the card's false match rate at that threshold, a distance, times their number. Between and beyond the
 * card's thresholds the rate's logarithm goes along straight lines, which for the tail of a normal distribution is
 * never too low beyond them.
 * @returns undefined where the card states no two rates
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
  const byDistance = known.sort((a, b) => a.threshold - b.threshold);
  return byDistance.length < 2 ? undefined : templates * rateAt(byDistance, threshold);
}

function rateAt(rates: Rates, threshold: number): number {
  const above = rates.findIndex((known) => known.threshold >= threshold);
  const end = above < 0 ? rates.length - 1 : Math.max(1, above);
  const [low, high] = [rates[end - 1]!, rates[end]!];
  const part = (threshold - low.threshold) / (high.threshold - low.threshold);
  return Math.min(1, low.rate * (high.rate / low.rate) ** part);
}
