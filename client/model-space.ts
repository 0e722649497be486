import type { EmbeddingSpace } from "@veilface/fhe";
import { ClientError } from "./errors.ts";
import { checkWhole } from "./ranges.ts";

/** The kind of embeddings a gallery holds, with the model that makes them: embeddings of two models are never compared. */
export interface ModelSpace extends EmbeddingSpace {
  /** 1 to 64 of a-z, 0-9 and "-". */
  readonly modelId: string;
}

/** What a model pack's card says of its embeddings. */
export interface EmbeddingCard {
  readonly id: string;
  readonly dimension: number;
  readonly metric: "euclidean" | "cosine";
  /** "euclidean": a distance; "cosine": a similarity in [-1, 1]. */
  readonly threshold: number;
  /** The largest Euclidean norm of an embedding. */
  readonly normBound?: number;
}

// For a card that states no bound. Euclidean models are trained to put faces about 1 apart, at norms below 2.
const DEFAULT_EUCLIDEAN_NORM_BOUND = 2;

/** The space of a model pack's embeddings, for createGallery. Cosine spaces have norm bound 1: embeddings are normalised. */
export function spaceOf(card: EmbeddingCard): ModelSpace {
  const normBound = card.metric === "cosine" ? 1 : (card.normBound ?? DEFAULT_EUCLIDEAN_NORM_BOUND);
  return { dimension: card.dimension, metric: card.metric, normBound, modelId: card.id };
}

/** The card's threshold as a distance, which is what the client decides by: a similarity s is the cosine distance 1 - s. */
export function thresholdOf(card: Pick<EmbeddingCard, "metric" | "threshold">): number {
  return card.metric === "cosine" ? 1 - card.threshold : card.threshold;
}

/** Components that a plain embedding may have. */
export const MAX_DIMENSION = 2048;
const METRICS: readonly string[] = ["cosine", "euclidean"];

/** Throws ClientError USAGE for a space that no gallery can have. */
export function checkSpace({ dimension, metric, normBound, modelId }: ModelSpace): void {
  checkWhole("dimension", dimension, { least: 1, most: MAX_DIMENSION });
  if (!METRICS.includes(metric)) throw new ClientError("USAGE", `metric ${JSON.stringify(metric)} is unknown: expected one of ${METRICS.join(", ")}`);
  if (!Number.isFinite(normBound) || normBound <= 0) throw new ClientError("USAGE", `norm bound ${normBound} is out of range: expected a number > 0`);
  if (typeof modelId !== "string" || modelId === "") throw new ClientError("USAGE", "the model id is missing: expected the name of the model that makes the embeddings");
}
