/* eslint-disable @typescript-eslint/no-non-null-assertion -- typed arrays, read inside their bounds */
import { distanceFromScore } from "@veilface/fhe";
import type { EmbeddingSpace, Layout } from "@veilface/fhe";
import { ClientError } from "../errors.ts";

/** Inner products that two embeddings can have, give or take the encryption's noise; both ends included. */
interface ScoreRange {
  readonly least: number;
  readonly largest: number;
}

/** What makes a distance of an inner product. */
interface ProbeMetric {
  readonly space: EmbeddingSpace;
  /** |p / R|^2 of the plain probe. */
  readonly probeSquaredNorm: number;
}

/** How templates lie in the polynomials of their block. */
interface TemplatePlaces {
  readonly layout: Layout;
  /** What components were multiplied by. */
  readonly scale: number;
}

/** Puts distances in the place of inner products, and returns them: NaN for those out of the range. */
export function distancesFromScores(
  scores: Float64Array,
  { least, largest }: ScoreRange,
  { space, probeSquaredNorm }: ProbeMetric,
): Float64Array {
  // A plain loop: a million of these are part of every large search.
  for (let slot = 0; slot < scores.length; slot++) {
    const score = scores[slot]!;
    scores[slot] = score < least || score > largest ? NaN : distanceFromScore(space, score, probeSquaredNorm);
  }
  return scores;
}

/**
 * The inverse of placeTemplate: component g*s + l from coefficient slot*s + l of polynomial g, of which there are as
 * many as the layout has pieces. Throws ClientError REPLY_INVALID for a slot that the layout does not have.
 */
export function readTemplate(
  polynomials: readonly Float64Array[],
  slot: number,
  { layout: { dimension, stride, slots }, scale }: TemplatePlaces,
): Float64Array {
  if (slot < 0 || slot >= slots)
    throw new ClientError("REPLY_INVALID", `a template in slot ${slot}: expected one in [0, ${slots})`);
  const vector = new Float64Array(dimension);
  for (let k = 0; k < dimension; k++)
    vector[k] = polynomials[Math.floor(k / stride)]![slot * stride + (k % stride)]! / scale;
  return vector;
}
