/* eslint-disable @typescript-eslint/no-non-null-assertion -- typed arrays, read inside their bounds */
import { FaceError } from "./errors.ts";
import { pointAt } from "./geometry.ts";
import type { Box, Point } from "./geometry.ts";
import { cropImage, padImage, resizeImage } from "./image.ts";
import type { RgbImage } from "./image.ts";
import type { ModelSession } from "./session.ts";

const INPUT_SIDE = 112;
const LANDMARKS = 68;

/**
 * Locates the 68 points of the iBUG 300-W markup (0-16 jaw, 17-26 brows, 27-35 nose, 36-47 eyes, 48-67 mouth) in one
 * face, in pixels of `image`. `box`: the face, inside the image; it is made square with black on its shorter sides, as
 * the network was trained. Throws FaceError MODEL_PACK_INVALID where the network answers with another number of points.
 */
export async function locateLandmarks(session: ModelSession, image: RgbImage, box: Box): Promise<Point[]> {
  const whole = toWholePixels(box, image);
  const [width, height] = [whole.right - whole.left, whole.bottom - whole.top];
  const side = Math.max(width, height);
  const [before, above] = [Math.floor((side - width) / 2), Math.floor((side - height) / 2)];
  const border = { left: before, top: above, right: side - width - before, bottom: side - height - above };
  const square = await padImage(await cropImage(image, whole), border, { r: 0, g: 0, b: 0 });
  const input = await resizeImage(square, INPUT_SIDE, INPUT_SIDE);
  const shape = [1, INPUT_SIDE, INPUT_SIDE, 3];
  const [points] = await session.run(Float32Array.from(input.data), shape, ["landmarks"]);
  if (points.length !== 2 * LANDMARKS) {
    throw new FaceError(
      "MODEL_PACK_INVALID",
      `the landmark network gave ${points.length} numbers, expected ${2 * LANDMARKS}`,
    );
  }
  return Array.from({ length: LANDMARKS }, (_, i) => ({
    x: points[2 * i]! * side + whole.left - before,
    y: points[2 * i + 1]! * side + whole.top - above,
  }));
}

// A mirror image has a face's right ear where its left one was. Runs of landmarks that are read backwards then, first
// and last:
const MIRRORED_RUNS = [
  [0, 16], // jaw
  [17, 26], // brows
  [31, 35], // nostrils
  [48, 54], // outer lip, above
  [55, 59], // outer lip, below
  [60, 64], // inner lip, above
  [65, 67], // inner lip, below
] as const;
const FIRST_OF_EYES = 36;
const MIRRORED_EYES = [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40];

const MIRRORED_INDEX = Array.from({ length: LANDMARKS }, (_, index) => {
  const eye = MIRRORED_EYES[index - FIRST_OF_EYES];
  if (eye !== undefined) return eye;
  const run = MIRRORED_RUNS.find(([first, last]) => index >= first && index <= last);
  return run === undefined ? index : run[0] + run[1] - index;
});

/** Carries the 68 landmarks of a mirror image back to the image, of `width` pixels. */
export function mirrorLandmarks(mirrored: readonly Point[], width: number): Point[] {
  return MIRRORED_INDEX.map((index) => {
    const { x, y } = pointAt(mirrored, index);
    return { x: width - x, y };
  });
}

/** At least one pixel of the image, even for a sliver at its edge. */
function toWholePixels(box: Box, image: RgbImage): Box {
  const left = Math.min(Math.floor(box.left), image.width - 1);
  const top = Math.min(Math.floor(box.top), image.height - 1);
  return {
    left,
    top,
    right: Math.max(left + 1, Math.floor(box.right)),
    bottom: Math.max(top + 1, Math.floor(box.bottom)),
  };
}
