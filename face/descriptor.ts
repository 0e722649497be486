/* eslint-disable @typescript-eslint/no-non-null-assertion -- typed arrays, read inside their bounds */
import { FaceError } from "./errors.ts";
import type { RgbImage } from "./image.ts";
import type { DescriptorInput, ModelCard } from "./model-card.ts";
import type { ModelSession } from "./session.ts";

/**
 * Computes the embedding of one aligned face, `card.dimension` finite numbers: the network's output less the card's
 * public mean, brought to unit length where the metric is cosine. `chip`: the aligned face, of the card's input size.
 * Throws FaceError MODEL_PACK_INVALID where the network does not answer with that.
 */
export async function describeFace(session: ModelSession, card: ModelCard, chip: RgbImage): Promise<Float32Array> {
  const { width, height, layout } = card.descriptor.input;
  const shape = layout === "NCHW" ? [1, 3, height, width] : [1, height, width, 3];
  const [output] = await session.run(toInputTensor(chip, card.descriptor.input), shape);
  return toEmbedding(output ?? new Float32Array(), card);
}

/** Euclidean distance between two embeddings of one model. */
export function embeddingDistance(a: Float32Array, b: Float32Array): number {
  return Math.hypot(...a.map((value, i) => value - b[i]!));
}

/** Lays out and normalizes pixels as the card says. */
export function toInputTensor(chip: RgbImage, input: DescriptorInput): Float32Array {
  const pixels = chip.width * chip.height;
  const tensor = new Float32Array(pixels * 3);
  const [channelStep, pixelStep] = input.layout === "NCHW" ? [pixels, 1] : [1, 3];
  for (let channel = 0; channel < 3; channel++) {
    const source = input.channelOrder === "RGB" ? channel : 2 - channel;
    const [mean, scale] = [input.mean[channel]!, input.scale[channel]!];
    for (let i = 0; i < pixels; i++)
      tensor[channel * channelStep + i * pixelStep] = (chip.data[3 * i + source]! - mean) * scale;
  }
  return tensor;
}

/** A network's output less the mean, of unit length where the metric is cosine. Throws as {@link describeFace}. */
export function toEmbedding(
  output: Float32Array,
  card: Pick<ModelCard, "dimension" | "metric" | "embeddingMean">,
): Float32Array {
  const { dimension, metric, embeddingMean } = card;
  if (output.length !== dimension) {
    throw new FaceError(
      "MODEL_PACK_INVALID",
      `the descriptor network gave ${output.length} numbers, its card says ${dimension}`,
    );
  }
  const centered = output.map((value, i) => value - (embeddingMean?.[i] ?? 0));
  const length = metric === "cosine" ? Math.hypot(...centered) : 1;
  const embedding = centered.map((value) => value / length);
  if (!embedding.every(Number.isFinite)) {
    throw new FaceError(
      "MODEL_PACK_INVALID",
      "the descriptor network gave numbers that are not finite, or nothing but zeros",
    );
  }
  return embedding;
}
