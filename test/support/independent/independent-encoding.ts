// Embeddings to polynomials and inner products to distances, from the comments of template.proto and distance.proto.
import { DEGREE } from "../../../scripts/vectors/independent-ring.ts";

/** EmbeddingSpace as the wire spells it. */
export interface Space {
  readonly dimension: number;
  readonly metric: "METRIC_COSINE" | "METRIC_EUCLIDEAN";
  readonly model_id: string;
  readonly norm_bound: number;
}

export interface Scales {
  readonly template: number;
  readonly probe: number;
}

/** d for the cosine distance, d + 1 for the Euclidean. */
export function encodedDimension(space: Space): number {
  return space.metric === "METRIC_EUCLIDEAN" ? space.dimension + 1 : space.dimension;
}

/** The scales that cost least precision: |score| * template * probe stays 2 % below half the modulus. */
export function scalesOf(modulus: bigint, encoded: number, stride: number): Scales {
  const product = Number(modulus) / 2 / 1.02;
  const slots = Math.floor(DEGREE / stride);
  const summed = stride === encoded ? slots : 1;
  const probe = Math.sqrt(product * Math.sqrt(slots / summed));
  return { probe, template: product / probe };
}

/** One polynomial: the template at slot 0, at the stride of the encoded dimension. */
export function templatePolynomial(space: Space, embedding: readonly number[], scale: number): number[] {
  const u = normalized(space, embedding);
  const vector = space.metric === "METRIC_EUCLIDEAN" ? [...u, 1 - dot(u, u)] : u;
  return Array.from({ length: DEGREE }, (_, i) => Math.round(scale * (vector[i] ?? 0)));
}

/** G polynomials: component g*s + l at coefficient s - 1 - l of polynomial g. */
export function probePolynomials(
  space: Space,
  embedding: readonly number[],
  stride: number,
  scale: number,
): number[][] {
  const v = normalized(space, embedding);
  const vector = space.metric === "METRIC_EUCLIDEAN" ? [...v, 0.5] : v;
  return Array.from({ length: Math.ceil(vector.length / stride) }, (_, piece) =>
    Array.from({ length: DEGREE }, (_unused, i) =>
      i < stride ? Math.round(scale * (vector[piece * stride + stride - 1 - i] ?? 0)) : 0,
    ),
  );
}

/** The distance that an inner product of encoded vectors stands for. */
export function distanceOf(space: Space, score: number, probe: readonly number[]): number {
  if (space.metric === "METRIC_COSINE") return 1 - score;
  const v = normalized(space, probe);
  return space.norm_bound * Math.sqrt(Math.max(0, 1 + dot(v, v) - 2 * score));
}

/** The same distance without any encryption: what the rest is held to. */
export function plainDistance(space: Space, a: readonly number[], b: readonly number[]): number {
  if (space.metric === "METRIC_COSINE") return 1 - dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
  return Math.hypot(...a.map((x, k) => x - b[k]!));
}

/** A vector of independent normal components, scaled to a length. */
export function randomEmbedding(dimension: number, length = 1): number[] {
  const vector = Array.from(
    { length: dimension },
    () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random()),
  );
  const norm = Math.sqrt(dot(vector, vector));
  return vector.map((x) => (x * length) / norm);
}

/** A vector whose cosine with the given unit vector is about 0.8: the same face seen again. */
export function similarEmbedding(embedding: readonly number[]): number[] {
  const norm = Math.sqrt(dot(embedding, embedding));
  const noise = randomEmbedding(embedding.length, 0.75 * norm);
  const near = embedding.map((x, k) => x + noise[k]!);
  return near.map((x) => (x * norm) / Math.sqrt(dot(near, near)));
}

function normalized(space: Space, embedding: readonly number[]): number[] {
  const length = space.metric === "METRIC_COSINE" ? Math.sqrt(dot(embedding, embedding)) : space.norm_bound;
  return embedding.map((x) => x / length);
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, x, k) => sum + x * b[k]!, 0);
}
