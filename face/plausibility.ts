import { DEFAULT_CARD } from "./default-pack/card.ts";
import type { Point } from "./geometry.ts";
import { blurredLuma } from "./image.ts";
import type { RgbImage } from "./image.ts";
import type { ModelCard } from "./model-card.ts";

// The detector finds faces that stand on their side or upside down, and things that are none; the networks behind it,
// trained on upright faces, answer with landmarks and embeddings of no meaning, which lie near the average face and
// so match each other. What gives them away: a face and its mirror image get mirrored landmarks and nearly one
// embedding; nonsense does not. docs/faces.md has the figures.

/**
 * Faces of a doubt from here on are refused. Of 172 public portraits at tilts of up to 30 degrees the highest doubt
 * is 0.69; at 75 to 285 degrees, of 1,651 boxes that give an embedding of no meaning, the lowest is 0.75.
 */
export const DOUBT_LIMIT = 0.72;

/**
 * A face of less doubt is upright; from here on the photo is looked at in all four turns, for the one of least doubt.
 */
export const CLEAR_DOUBT = 0.6;

/**
 * Brings both kinds of disagreement to one scale: medians of upright faces are 0.23 and 0.023, of turned ones 0.61
 * and 0.135.
 */
const ASYMMETRY_WEIGHT = 10;

/**
 * Limit of the landmarks' disagreement alone: 0.036 is the highest of upright faces, and 1 in 200 of turned ones is
 * below 0.037.
 */
const ASYMMETRY_LIMIT = 0.04;

/** What was found out about one face. */
export interface MirrorEvidence {
  /**
   * Mean distance between a face's landmarks and those of its mirror image, mirrored back, as a part of the face's
   * side.
   */
  readonly landmarkAsymmetry: number;
  readonly embedding: Float32Array;
  readonly mirroredEmbedding: Float32Array;
}

/**
 * How little something is like an upright face, from 0 on. With the default pack's descriptor both networks are
 * heard; how far another one's embeddings move by mirroring is not known, so there the landmarks decide, and a face
 * must match its own mirror image.
 */
export function faceDoubt(card: ModelCard, evidence: MirrorEvidence): number {
  const { landmarkAsymmetry, embedding, mirroredEmbedding } = evidence;
  const apart = Math.hypot(...embedding.map((value, i) => value - mirroredEmbedding[i]!));
  if (card.descriptor.sha256 === DEFAULT_CARD.descriptor.sha256) {
    return apart / Math.hypot(...embedding) + ASYMMETRY_WEIGHT * landmarkAsymmetry;
  }
  // Embeddings of a cosine pack are unit vectors: their similarity is 1 - apart^2 / 2.
  const matches = card.metric === "cosine" ? 1 - apart ** 2 / 2 >= card.threshold : apart <= card.threshold;
  return matches ? (DOUBT_LIMIT / ASYMMETRY_LIMIT) * landmarkAsymmetry : Infinity;
}

/** The mean distance between two sets of landmarks. */
export function meanDistance(a: readonly Point[], b: readonly Point[]): number {
  return a.reduce((sum, { x, y }, i) => sum + Math.hypot(x - b[i]!.x, y - b[i]!.y), 0) / a.length;
}

/** What makes a picture of a face useless for recognition. */
export type FaceFlaw = "blurred" | "drawn";

// Detail is what a blur of 1.5 pixels leaves and one of 3 takes away, where a face is 112 pixels; grain is what the
// first one takes away.
const [FINE_SIGMA, COARSE_SIGMA] = [1.5, 3];
/**
 * 0.14 is the least of 172 portraits; half of the faces scaled up from 12 pixels, or blurred by 4 % of their width,
 * are below 0.105.
 */
const LEAST_DETAIL = 0.11;
/** 0.39 is the most of 172 portraits; the outlines of photos have 0.49 to 1.45, a drawing by Picasso 0.81. */
const MOST_GRAIN = 0.5;
/**
 * 0.12 is the most of 172 portraits; drawings have 0.27 to 0.67, faces with half of them painted over 0.23 to 0.54.
 */
const MOST_FLAT = 0.2;
/** The inner face in the view of a face, from eyebrows to chin, as parts of its side. */
const INNER = { left: 0.2, top: 0.2, right: 0.8, bottom: 0.9 };

/** Figures of a face's pixels, each a part of 1 or a ratio. */
export interface FaceTexture {
  /** Contrast of details over that of the face's coarse shape. */
  readonly detail: number;
  /** Contrast of the finest lines and grain over that of what is coarser. */
  readonly grain: number;
  /**
   * The part of the pixels that differ from their four neighbours by at most one level of 255: paint rather than
   * skin.
   */
  readonly flat: number;
}

/** @param view - a face, turned upright, that fills the image */
export async function measureTexture(view: RgbImage): Promise<FaceTexture> {
  const sigmas = [0, FINE_SIGMA, COARSE_SIGMA];
  const [sharp, fine, coarse] = await Promise.all(sigmas.map((sigma) => blurredLuma(view, sigma)));
  const inner = innerPixels(view);
  const contrast = (of: (pixel: number) => number) => standardDeviation(inner.map(of));
  return {
    detail:
      contrast((i) => fine![i]! - coarse![i]!) /
      Math.max(
        1,
        contrast((i) => coarse![i]!),
      ),
    grain:
      contrast((i) => sharp![i]! - fine![i]!) /
      Math.max(
        1,
        contrast((i) => fine![i]!),
      ),
    flat: inner.filter((i) => isFlat(sharp!, i, view.width)).length / inner.length,
  };
}

/** @returns undefined where the texture is that of a photo of a face */
export function findFlaw({ detail, grain, flat }: FaceTexture): FaceFlaw | undefined {
  if (grain > MOST_GRAIN || flat > MOST_FLAT) return "drawn";
  return detail < LEAST_DETAIL ? "blurred" : undefined;
}

function innerPixels({ width, height }: RgbImage): number[] {
  const pixels: number[] = [];
  for (let y = Math.round(INNER.top * height); y < INNER.bottom * height; y++) {
    for (let x = Math.round(INNER.left * width); x < INNER.right * width; x++) pixels.push(y * width + x);
  }
  return pixels;
}

function isFlat(luma: Uint8Array, pixel: number, width: number): boolean {
  const cross = [0, 1, -1, width, -width].map((step) => luma[pixel + step]!);
  return Math.max(...cross) - Math.min(...cross) <= 1;
}

function standardDeviation(values: readonly number[]): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}
