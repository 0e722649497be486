import { DEFAULT_CARD } from "./default-pack/card.ts";
import { pointAt } from "./geometry.ts";
import type { Point } from "./geometry.ts";
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
interface MirrorEvidence {
  /**
   * Mean distance between a face's landmarks and those of its mirror image, mirrored back, as a part of the face's
   * side.
   */
  readonly landmarkAsymmetry: number;
  /** Euclidean distance between the face's embedding and its mirror image's. */
  readonly apart: number;
  /** Euclidean norm of the face's embedding. */
  readonly norm: number;
}

/**
 * How little something is like an upright face, from 0 on. With the default pack's descriptor both networks are
 * heard; how far another one's embeddings move by mirroring is not known, so there the landmarks decide, and a face
 * must match its own mirror image.
 */
export function faceDoubt(card: ModelCard, evidence: MirrorEvidence): number {
  const { landmarkAsymmetry, apart, norm } = evidence;
  if (card.descriptor.sha256 === DEFAULT_CARD.descriptor.sha256) {
    return apart / norm + ASYMMETRY_WEIGHT * landmarkAsymmetry;
  }
  // Embeddings of a cosine pack are unit vectors: their similarity is 1 - apart^2 / 2.
  const matches = card.metric === "cosine" ? 1 - apart ** 2 / 2 >= card.threshold : apart <= card.threshold;
  return matches ? (DOUBT_LIMIT / ASYMMETRY_LIMIT) * landmarkAsymmetry : Infinity;
}

/** The mean distance between two sets of as many landmarks. */
export function meanDistance(a: readonly Point[], b: readonly Point[]): number {
  const distance = ({ x, y }: Point, other: Point): number => Math.hypot(x - other.x, y - other.y);
  return a.reduce((sum, point, i) => sum + distance(point, pointAt(b, i)), 0) / a.length;
}
