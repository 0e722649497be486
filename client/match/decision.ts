import { ClientError } from "../errors.ts";

/** The outcome of comparing a distance with a threshold. Not a match is an outcome, never an error. */
export interface Decision {
  /** Whether the distance is at most the threshold. */
  readonly accepted: boolean;
  /** In the gallery's metric, >= 0 but for the encryption's noise. */
  readonly distance: number;
  /** What it was compared with, >= 0. */
  readonly threshold: number;
}

/**
 * Accepts at or below the threshold. Both in the metric's unit: Euclidean distance, or cosine distance 1 - similarity
 * in [0, 2]. Throws ClientError USAGE for a threshold that is not a finite number >= 0, or a distance that is not a
 * number.
 */
export function decide(distance: number, threshold: number): Decision {
  checkThreshold(threshold);
  if (Number.isNaN(distance)) throw new ClientError("USAGE", "the distance is not a number: nothing can be decided");
  return { accepted: distance <= threshold, distance, threshold };
}

/** Throws ClientError USAGE unless the threshold is a finite number >= 0. */
export function checkThreshold(threshold: number): void {
  if (!Number.isFinite(threshold) || threshold < 0) {
    throw new ClientError(
      "USAGE",
      `threshold ${threshold} is out of range: expected a finite distance >= 0; a similarity s is the cosine distance 1 - s`,
    );
  }
}
