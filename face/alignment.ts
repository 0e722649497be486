import { pointAt } from "./geometry.ts";
import type { Box, Point, Size } from "./geometry.ts";
import { cropImage, resizeImage } from "./image.ts";
import type { RgbImage } from "./image.ts";
import { applyTransform, centroid, invertTransform, similarityTransform } from "./transform.ts";
import type { Transform } from "./transform.ts";
import { warpImage } from "./warp.ts";

/** Where a group of landmarks belongs in an aligned face: the centroid of `landmarks` goes to (x, y). */
export interface Anchor extends Point {
  /** Indices into the 68 points of the iBUG 300-W markup, counted from 0. */
  readonly landmarks: readonly number[];
}

/** How a face is to stand in an image of its own, of so many pixels. */
export interface FaceFrame extends Size {
  readonly anchors: readonly Anchor[];
}

/**
 * Turns, scales and shifts a face so that its landmarks, 68 points in pixels of `image`, lie on the anchors. What lies
 * outside `image` is black, as in dlib.
 */
export async function alignFace(image: RgbImage, landmarks: readonly Point[], frame: FaceFrame): Promise<RgbImage> {
  const reduced = await reduceForWarp(image, toAnchors(landmarks, frame.anchors), frame);
  return warpImage(reduced.image, reduced.toAligned, frame);
}

/** The map that takes a face's landmarks closest to the anchors; as `alignFace`. */
export function toAnchors(landmarks: readonly Point[], anchors: readonly Anchor[]): Transform {
  const from = anchors.map((anchor) => centroid(anchor.landmarks.map((index) => pointAt(landmarks, index))));
  return similarityTransform(from, anchors);
}

/**
 * Below this scale a warp by four neighbours skips source pixels and aliases; above it the extra blur costs more than
 * it saves.
 */
const SMALLEST_DIRECT_SCALE = 0.6;

/** An image, and the map from it to the aligned face. */
interface WarpSource {
  readonly image: RgbImage;
  readonly toAligned: Transform;
}

/** Cuts out what the warp will read and shrinks it to the size of the result, averaging the pixels between. */
async function reduceForWarp(image: RgbImage, toAligned: Transform, size: Size): Promise<WarpSource> {
  const scale = Math.hypot(toAligned.a, toAligned.d);
  const box = sourceBox(image, toAligned, size);
  if (scale >= SMALLEST_DIRECT_SCALE || box === undefined) return { image, toAligned };
  const cut = await cropImage(image, box);
  const shrunk = (side: number): number => Math.max(1, Math.round(side * scale));
  const small = await resizeImage(cut, shrunk(cut.width), shrunk(cut.height));
  const [kx, ky] = [cut.width / small.width, cut.height / small.height];
  // A pixel's centre is half a pixel from its corner, so (i + 1/2) k - 1/2 is where small pixel i was.
  const shift = { x: box.left + kx / 2 - 0.5, y: box.top + ky / 2 - 0.5 };
  return { image: small, toAligned: prependScale(toAligned, { x: kx, y: ky }, shift) };
}

/** The map of points that are scaled and then shifted first. */
function prependScale({ a, b, c, d, e, f }: Transform, scale: Point, { x, y }: Point): Transform {
  return { a: a * scale.x, b: b * scale.y, c: a * x + b * y + c, d: d * scale.x, e: e * scale.y, f: d * x + e * y + f };
}

function sourceBox(image: RgbImage, toAligned: Transform, { width, height }: Size): Box | undefined {
  const toSource = invertTransform(toAligned);
  const corners = [0, width].flatMap((x) => [0, height].map((y) => applyTransform(toSource, { x, y })));
  const [xs, ys] = [corners.map(({ x }) => x), corners.map(({ y }) => y)];
  const left = Math.max(0, Math.floor(Math.min(...xs)) - 2);
  const top = Math.max(0, Math.floor(Math.min(...ys)) - 2);
  const right = Math.min(image.width, Math.ceil(Math.max(...xs)) + 2);
  const bottom = Math.min(image.height, Math.ceil(Math.max(...ys)) + 2);
  return right > left && bottom > top ? { left, top, right, bottom } : undefined;
}
