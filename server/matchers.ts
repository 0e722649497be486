import type { Matcher } from "./matcher.ts";
import type { PairwiseMatcher } from "./pairwise/pairwise-matcher.ts";

/** The compute of each scheme. */
export interface Matchers {
  readonly packed: Matcher;
  readonly pairwise: PairwiseMatcher;
}
