import type { EmbeddingSpace } from "@veilface/fhe";
import { MAX_NORM_BOUND, MAX_PACKED_DIMENSION, METRICS, MIN_NORM_BOUND, definedOnly } from "@veilface/proto";
import { ClientError } from "./errors.ts";
import { checkWhole } from "./ranges.ts";

/**
 * The kind of embeddings a gallery holds, with the model that makes them: embeddings of two models are never compared.
 */
export interface ModelSpace extends EmbeddingSpace {
  /** The model, by an id that its users agree on: 1 to 64 of a-z, 0-9 and "-". */
  readonly modelId: string;
  /**
   * The version of its weights, at most 64 of letters, digits, ".", "_", "+" and "-"; undefined where none is known.
   */
  readonly modelVersion?: string;
}

/** What a model pack's card says of its embeddings. */
export interface EmbeddingCard {
  /** The model's name, 1 to 64 of a-z, 0-9 and "-". */
  readonly id: string;
  /** The version of its weights, as ModelSpace.modelVersion. */
  readonly version?: string;
  /** Components of an embedding, in [1, 2048]. */
  readonly dimension: number;
  /** How two embeddings are compared, and what `threshold` is in. */
  readonly metric: "euclidean" | "cosine";
  /** The threshold of a verification (1:1). "euclidean": a distance, > 0; "cosine": a similarity in [-1, 1]. */
  readonly threshold: number;
  /**
   * The threshold of a search (1:N), as strict as a comparison with many people has to be; `threshold` unless stated.
   */
  readonly identificationThreshold?: number;
  /** The largest Euclidean norm of an embedding, in [1e-6, 1e6]; 2 unless stated. Not read for cosine. */
  readonly normBound?: number;
}

// For a card that states no bound. Euclidean models are trained to put faces about 1 apart, at norms below 2.
const DEFAULT_EUCLIDEAN_NORM_BOUND = 2;

/**
 * The space of a model pack's embeddings, for createGallery. Cosine spaces have norm bound 1: embeddings are
 * normalised.
 */
export function spaceOf(card: EmbeddingCard): ModelSpace {
  const normBound = card.metric === "cosine" ? 1 : (card.normBound ?? DEFAULT_EUCLIDEAN_NORM_BOUND);
  return { dimension: card.dimension, metric: card.metric, normBound, ...modelOf(card) };
}

/** The model that makes a card's embeddings, as calls name it: galleries of another model or version refuse them. */
export function modelOf({
  id,
  version,
}: Pick<EmbeddingCard, "id" | "version">): Pick<ModelSpace, "modelId" | "modelVersion"> {
  return definedOnly({ modelId: id, modelVersion: version });
}

/**
 * The card's threshold of a verification (1:1) as a distance, by which the client decides: a similarity s is the cosine
 * distance 1 - s.
 */
export function thresholdOf(card: Pick<EmbeddingCard, "metric" | "threshold">): number {
  return asDistance(card, card.threshold);
}

/** The card's threshold of an identification (1:N) as a distance; that of a verification where it states none. */
export function identificationThresholdOf(
  card: Pick<EmbeddingCard, "metric" | "threshold" | "identificationThreshold">,
): number {
  return asDistance(card, card.identificationThreshold ?? card.threshold);
}

function asDistance({ metric }: Pick<EmbeddingCard, "metric">, threshold: number): number {
  return metric === "cosine" ? 1 - threshold : threshold;
}

/** Throws ClientError USAGE for a space that no gallery can have. */
export function checkSpace({ dimension, metric, normBound, modelId }: ModelSpace): void {
  checkWhole("dimension", dimension, { least: 1, most: MAX_PACKED_DIMENSION });
  const usage = (message: string): ClientError => new ClientError("USAGE", message);
  if (!METRICS.names.includes(metric))
    throw usage(`metric "${metric}" is unknown: expected ${METRICS.names.join(" or ")}`);
  if (!(normBound >= MIN_NORM_BOUND && normBound <= MAX_NORM_BOUND))
    throw usage(`norm bound ${normBound} is out of range: expected a number in [${MIN_NORM_BOUND}, ${MAX_NORM_BOUND}]`);
  if (typeof modelId !== "string" || modelId === "") throw usage("the model id is missing: expected the model's name");
}
