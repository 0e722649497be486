import type { PackedMatcher } from "./packed/packed-matcher.ts";
import type { SharedScans } from "./packed/shared-scans.ts";
import type { PairwiseMatcher } from "./pairwise/pairwise-matcher.ts";

/** The compute of each scheme. */
export interface Matchers {
  readonly packed: PackedMatcher;
  /** Passes over galleries of the packed scheme, which searches share. */
  readonly scans: SharedScans;
  readonly pairwise: PairwiseMatcher;
}
