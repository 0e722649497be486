/* eslint-disable @typescript-eslint/no-non-null-assertion -- typed arrays, read inside their bounds */
import { FheError } from "../errors.ts";

/**
 * How two embeddings x and p are compared: by the cosine distance 1 - <x, p> / (|x| |p|), in [0, 2], or by the
 * Euclidean distance |x - p|, in [0, 2 R] for norms of at most R. The names of
 * veilface.v1.Metric without the prefix, in lower case. Strings that stand for values of the contract's enums are
 * their names as they are, without the prefix; metrics alone are in lower case, as people write them into files: model
 * cards and command lines.
 */
export type Metric = "cosine" | "euclidean";

/** The kind of embeddings a gallery holds: what decides how they are encoded. */
export interface EmbeddingSpace {
  /** Components of a plain embedding, in [1, 2048]. */
  readonly dimension: number;
  /** What a distance is, and how many components are encrypted: {@link encodedDimension}. */
  readonly metric: Metric;
  /**
   * R: the largest Euclidean norm an embedding may have, in [1e-6, 1e6]; 1 for cosine, whose embeddings are made unit
   * vectors. Euclidean ones are divided by it, so a tight bound is precise.
   */
  readonly normBound: number;
}

/** A vector ready for the ring, and what the key holder must remember of it to read distances. */
export interface EncodedEmbedding {
  /** {@link encodedDimension} components, of norm at most 1; of a Euclidean probe at most sqrt(5/4). */
  readonly vector: Float64Array;
  /** |p / R|^2, needed on the probe's side of the Euclidean metric. */
  readonly squaredNorm: number;
}

/** Components of an encoded vector: `dimension` for cosine, one more for Euclidean, in which |x|^2 is carried. */
export function encodedDimension(space: EmbeddingSpace): number {
  return space.metric === "euclidean" ? space.dimension + 1 : space.dimension;
}

/**
 * Encodes a template's embedding x: cosine x / |x|; Euclidean (u, 1 - |u|^2) with u = x / R, whose norm is at most 1.
 * Throws FheError EMBEDDING_INVALID for a wrong dimension, a component that is not finite, a zero vector (cosine) or a
 * norm over R.
 */
export function encodeTemplateEmbedding(space: EmbeddingSpace, embedding: ArrayLike<number>): EncodedEmbedding {
  const { unit, squaredNorm } = normalize(space, embedding);
  return { vector: space.metric === "euclidean" ? append(unit, 1 - squaredNorm) : unit, squaredNorm };
}

// The noise of a decrypted vector adds less than 0.1 to its norm, in all sets and layouts.
const LEAST_DECRYPTED_NORM = 0.5;
const LARGEST_DECRYPTED_NORM = 1.5;

/**
 * The encoded template next to a vector that was one and has noise: cosine, of norm 1; Euclidean, (u, 1 - |u|^2) with
 * |u| at most 1. Without it every packing would leave vectors longer, until their inner products are none that
 * embeddings have. Throws FheError EMBEDDING_INVALID for a vector so long or so short that it was none.
 */
export function nearestTemplateVector(space: EmbeddingSpace, vector: Float64Array): Float64Array {
  const u = space.metric === "euclidean" ? vector.subarray(0, -1) : vector;
  const norm = Math.sqrt(u.reduce((sum, component) => sum + component ** 2, 0));
  if (!(norm <= LARGEST_DECRYPTED_NORM) || (space.metric === "cosine" && norm < LEAST_DECRYPTED_NORM)) {
    throw new FheError("EMBEDDING_INVALID", "a decrypted template is no embedding's: it is not what was enrolled");
  }
  const scale = space.metric === "cosine" ? norm : Math.max(1, norm);
  const unit = u.map((component) => component / scale);
  return space.metric === "euclidean" ? append(unit, 1 - (norm / scale) ** 2) : unit;
}

/**
 * Encodes a probe's embedding p: cosine p / |p|; Euclidean (v, 1/2) with v = p / R. Throws as
 * {@link encodeTemplateEmbedding}.
 */
export function encodeProbeEmbedding(space: EmbeddingSpace, embedding: ArrayLike<number>): EncodedEmbedding {
  const { unit, squaredNorm } = normalize(space, embedding);
  return { vector: space.metric === "euclidean" ? append(unit, 0.5) : unit, squaredNorm };
}

/**
 * The distance from an inner product of encoded vectors. Cosine: 1 - score, in [0, 2]. Euclidean: with
 * score = <u, v> + (1 - |u|^2) / 2, |x - p| = R sqrt(1 + |v|^2 - 2 score). Noise below zero is cut off.
 */
export function distanceFromScore(space: EmbeddingSpace, score: number, probeSquaredNorm: number): number {
  if (space.metric === "cosine") return Math.max(0, 1 - score);
  return space.normBound * Math.sqrt(Math.max(0, 1 + probeSquaredNorm - 2 * score));
}

/**
 * The same distance from plain embeddings: the oracle, and what `compare` prints. Throws as
 * {@link encodeTemplateEmbedding}.
 */
export function plainDistance(space: EmbeddingSpace, a: ArrayLike<number>, b: ArrayLike<number>): number {
  const x = normalize(space, a).unit;
  const y = normalize(space, b).unit;
  if (space.metric === "cosine") return Math.max(0, 1 - x.reduce((sum, component, k) => sum + component * y[k]!, 0));
  return space.normBound * Math.hypot(...x.map((component, k) => component - y[k]!));
}

// Unit vectors in floating point are longer than 1 as often as not.
const NORM_TOLERANCE = 1 + 1e-6;

function normalize(space: EmbeddingSpace, embedding: ArrayLike<number>): { unit: Float64Array; squaredNorm: number } {
  if (embedding.length !== space.dimension) {
    throw new FheError(
      "EMBEDDING_INVALID",
      `embedding has ${embedding.length} components: expected ${space.dimension}`,
    );
  }
  const unit = new Float64Array(embedding.length);
  let sum = 0;
  for (let k = 0; k < unit.length; k++) sum += (unit[k] = embedding[k]!) ** 2;
  const norm = Math.sqrt(sum);
  if (!Number.isFinite(norm))
    throw new FheError("EMBEDDING_INVALID", "embedding has a component that is not a finite number");
  if (space.metric === "cosine" && norm === 0)
    throw new FheError("EMBEDDING_INVALID", "embedding is the zero vector: it has no direction to compare");
  if (space.metric === "euclidean" && norm > space.normBound * NORM_TOLERANCE) {
    throw new FheError(
      "EMBEDDING_INVALID",
      `embedding is longer than the norm bound ${space.normBound} of its embedding space: use a larger bound for this model`,
    );
  }
  const scale = space.metric === "cosine" ? norm : space.normBound;
  for (let k = 0; k < unit.length; k++) unit[k]! /= scale;
  return { unit, squaredNorm: (norm / scale) ** 2 };
}

function append(vector: Float64Array, component: number): Float64Array {
  const longer = new Float64Array(vector.length + 1);
  longer.set(vector);
  longer[vector.length] = component;
  return longer;
}
