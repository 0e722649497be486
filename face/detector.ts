/* eslint-disable @typescript-eslint/no-non-null-assertion -- typed arrays, read inside their bounds */
import { boxArea, clipBox, intersectionArea, scaleBox, shiftBox, suppressNonMaxima } from "./geometry.ts";
import { FaceError } from "./errors.ts";
import type { Box, ScoredBox } from "./geometry.ts";
import { padImage, resizeImage } from "./image.ts";
import type { RgbImage } from "./image.ts";
import type { ModelSession } from "./session.ts";

const INPUT_SIDE = 512;
/**
 * A box of a lower score is no face. Of 190 public portraits of one person, 0.5 finds a second face in 3 (a dress,
 * hair, a hand), and the dress is the largest box of its photo; from 0.65 on none has a second one, up to 0.7 no face
 * is lost that 0.5 finds, at 0.75 two are and at 0.8 six.
 */
const MINIMUM_SCORE = 0.65;
/** Boxes that share more than this part of what they cover are one face. */
const SAME_FACE_OVERLAP = 0.45;
/** A box lying this far inside a better one is a part of that face, seen at the other scale. */
const PART_OF_FACE_OVERLAP = 0.75;
/**
 * Border of the second look, as a part of the image's longer side: a face that fills the image then fills half of it.
 */
const BORDER_SHARE = 0.5;
const BLACK = { r: 0, g: 0, b: 0 };

/**
 * Finds faces with an SSD MobileNet v1, in two looks: at the image as it is, and at the image within a wide border. The
 * detector was trained on faces with surroundings and misses those of tightly cropped portraits, which the border makes
 * up for. Boxes are in pixels of `image`, clipped to it, best score first. Throws FaceError MODEL_PACK_INVALID where
 * the network does not answer with as many boxes as scores.
 */
export async function detectFaces(session: ModelSession, image: RgbImage): Promise<ScoredBox[]> {
  const square = await fitIntoSquare(image, INPUT_SIDE);
  const found = [...(await look(session, square)), ...(await lookWithBorder(session, image))];
  const clipped = found.map(({ box, score }) => ({ box: clipBox(box, image.width, image.height), score }));
  const visible = clipped.filter(({ box }) => boxArea(box) >= 1);
  return suppressNonMaxima(suppressNonMaxima(visible, SAME_FACE_OVERLAP), PART_OF_FACE_OVERLAP, containment);
}

/** Shared area over the smaller box's area, [0, 1]. */
function containment(a: Box, b: Box): number {
  return intersectionArea(a, b) / Math.min(boxArea(a), boxArea(b));
}

interface SquareView {
  readonly image: RgbImage;
  /** Pixels of the original per pixel of the view. */
  readonly pixelRatio: number;
}

async function lookWithBorder(session: ModelSession, image: RgbImage): Promise<ScoredBox[]> {
  const innerSide = Math.round(INPUT_SIDE / (1 + 2 * BORDER_SHARE));
  const inner = await fitIntoSquare(image, innerSide);
  const before = Math.floor((INPUT_SIDE - innerSide) / 2);
  const after = INPUT_SIDE - innerSide - before;
  const view = {
    image: await padImage(inner.image, { left: before, top: before, right: after, bottom: after }, BLACK),
  };
  const found = await look(session, { ...view, pixelRatio: inner.pixelRatio });
  return found.map(({ box, score }) => ({
    box: shiftBox(box, -before * inner.pixelRatio, -before * inner.pixelRatio),
    score,
  }));
}

/** Scales an image to touch both sides of a square and fills the rest, right or below, with black. */
async function fitIntoSquare(image: RgbImage, side: number): Promise<SquareView> {
  const pixelRatio = Math.max(image.width, image.height) / side;
  const shrunk = (length: number): number => Math.max(1, Math.round(length / pixelRatio));
  const [width, height] = [shrunk(image.width), shrunk(image.height)];
  const scaled = await resizeImage(image, width, height);
  const padded = await padImage(scaled, { left: 0, top: 0, right: side - width, bottom: side - height }, BLACK);
  return { image: padded, pixelRatio };
}

async function look(session: ModelSession, view: SquareView): Promise<ScoredBox[]> {
  const shape = [1, INPUT_SIDE, INPUT_SIDE, 3];
  const [boxes, scores] = await session.run(Float32Array.from(view.image.data), shape, ["boxes", "scores"]);
  if (boxes.length !== 4 * scores.length) {
    throw new FaceError(
      "MODEL_PACK_INVALID",
      `the detector network gave ${boxes.length} numbers for ${scores.length} boxes, expected 4 each`,
    );
  }
  const found: ScoredBox[] = [];
  scores.forEach((score, i) => {
    if (score < MINIMUM_SCORE) return;
    const at = 4 * i;
    const box = { top: boxes[at]!, left: boxes[at + 1]!, bottom: boxes[at + 2]!, right: boxes[at + 3]! };
    found.push({ score, box: scaleBox(box, INPUT_SIDE * view.pixelRatio) });
  });
  return found;
}
