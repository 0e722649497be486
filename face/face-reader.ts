import { alignFace, toAnchors } from "./alignment.ts";
import type { FaceFrame } from "./alignment.ts";
import { describeFace, embeddingDistance } from "./descriptor.ts";
import type { Point, ScoredBox } from "./geometry.ts";
import { mirrorImage } from "./image.ts";
import type { RgbImage } from "./image.ts";
import { locateLandmarks, mirrorLandmarks } from "./landmarks.ts";
import type { ModelCard } from "./model-card.ts";
import { faceDoubt, meanDistance } from "./plausibility.ts";
import type { ModelSession } from "./session.ts";
import { findFlaw, measureTexture } from "./texture.ts";
import type { FaceFlaw } from "./texture.ts";
import { applyTransform, invertTransform } from "./transform.ts";

/** What a face is read with. */
interface ReadingNetworks {
  readonly card: ModelCard;
  readonly landmarks: ModelSession;
  readonly descriptor: ModelSession;
}

/** A found face with what was read off it. Coordinates are pixels of the image that it was found in. */
export interface FaceReading extends ScoredBox {
  readonly landmarks: readonly Point[];
  readonly embedding: Float32Array;
  /** How little it is like an upright face; DOUBT_LIMIT says from where on its embedding means nothing. */
  readonly doubt: number;
  readonly flaw: FaceFlaw | undefined;
}

/** The side in pixels of the view of a face, which is what the landmark network takes. */
const VIEW_SIDE = 112;
const WHOLE_VIEW = { left: 0, top: 0, right: VIEW_SIDE, bottom: VIEW_SIDE };

/**
 * Where the middles of both eyes and of the mouth are, by the median, in the boxes that the detector draws around
 * upright faces.
 */
const VIEW: FaceFrame = {
  width: VIEW_SIDE,
  height: VIEW_SIDE,
  anchors: [
    { landmarks: [36, 37, 38, 39, 40, 41], x: 0.315 * VIEW_SIDE, y: 0.355 * VIEW_SIDE },
    { landmarks: [42, 43, 44, 45, 46, 47], x: 0.685 * VIEW_SIDE, y: 0.355 * VIEW_SIDE },
    { landmarks: Array.from({ length: 20 }, (_, i) => 48 + i), x: 0.5 * VIEW_SIDE, y: 0.755 * VIEW_SIDE },
  ],
};

/**
 * Reads a face in two looks. The first one's landmarks turn it upright and to one size; the second look, at that
 * view, finds the landmarks that are used, so that a tilted head gives the embedding of an upright one, and compares
 * them with those of the view's mirror image, as the embedding is with the mirrored one's.
 */
export async function readFace(networks: ReadingNetworks, image: RgbImage, found: ScoredBox): Promise<FaceReading> {
  const { card, descriptor } = networks;
  const first = await locateLandmarks(networks.landmarks, image, found.box);
  const view = await alignFace(image, first, VIEW);
  const seen = await locateLandmarks(networks.landmarks, view, WHOLE_VIEW);
  const mirrored = await locateLandmarks(networks.landmarks, await mirrorImage(view), WHOLE_VIEW);
  const toImage = invertTransform(toAnchors(first, VIEW.anchors));
  const landmarks = seen.map((point) => applyTransform(toImage, point));
  const { input, alignment } = card.descriptor;
  const chip = await alignFace(image, landmarks, { anchors: alignment, width: input.width, height: input.height });
  const embedding = await describeFace(descriptor, card, chip);
  const mirroredEmbedding = await describeFace(descriptor, card, await mirrorImage(chip));
  const landmarkAsymmetry = meanDistance(seen, mirrorLandmarks(mirrored, VIEW_SIDE)) / VIEW_SIDE;
  const apart = embeddingDistance(embedding, mirroredEmbedding);
  const doubt = faceDoubt(card, { landmarkAsymmetry, apart, norm: Math.hypot(...embedding) });
  return { ...found, landmarks, embedding, doubt, flaw: findFlaw(await measureTexture(view)) };
}
