import type { Point } from "./geometry.ts";
import { cropImage, resizeImage } from "./image.ts";
import type { RgbImage } from "./image.ts";

/** The affine map (x, y) -> (a x + b y + c, d x + e y + f). */
export interface Transform {
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly d: number;
  readonly e: number;
  readonly f: number;
}

/** Where a group of landmarks belongs in an aligned face: the centroid of `landmarks` goes to (x, y). */
export interface Anchor extends Point {
  /** Indices into the 68 points of the iBUG 300-W markup, counted from 0. */
  readonly landmarks: readonly number[];
}

export function applyTransform(map: Transform, { x, y }: Point): Point {
  return { x: map.a * x + map.b * y + map.c, y: map.d * x + map.e * y + map.f };
}

/** Requires a map that keeps areas from vanishing: a e - b d is not 0. */
export function invertTransform({ a, b, c, d, e, f }: Transform): Transform {
  const k = 1 / (a * e - b * d);
  return { a: e * k, b: -b * k, c: (b * f - c * e) * k, d: -d * k, e: a * k, f: (c * d - a * f) * k };
}

/**
 * The rotation, uniform scale and shift that take `from` closest to `to` (least squares; no reflection). For points in
 * the plane this is Umeyama, "Least-squares estimation of transformation parameters between two point patterns" (1991),
 * in closed form: with both sets centred, scale * (cos, sin) = (sum x u + y v, sum x v - y u) / sum (x^2 + y^2).
 * @param from - at least two points that are not all the same
 * @param to - as many points
 */
export function similarityTransform(from: readonly Point[], to: readonly Point[]): Transform {
  const [origin, target] = [centroid(from), centroid(to)];
  let [cosine, sine, spread] = [0, 0, 0];
  from.forEach((point, i) => {
    const [x, y, u, v] = [point.x - origin.x, point.y - origin.y, to[i]!.x - target.x, to[i]!.y - target.y];
    cosine += x * u + y * v;
    sine += x * v - y * u;
    spread += x * x + y * y;
  });
  const [a, d] = [cosine / spread, sine / spread];
  return { a, b: -d, c: target.x - a * origin.x + d * origin.y, d, e: a, f: target.y - d * origin.x - a * origin.y };
}

function centroid(points: readonly Point[]): Point {
  const sum = points.reduce((total, { x, y }) => ({ x: total.x + x, y: total.y + y }), { x: 0, y: 0 });
  return { x: sum.x / points.length, y: sum.y / points.length };
}

/**
 * Turns, scales and shifts a face so that its landmarks lie on the anchors.
 * @param landmarks - 68 points in pixels of `image`
 * @returns `width` x `height` pixels; what lies outside `image` is black, as in dlib
 */
export async function alignFace(
  image: RgbImage,
  landmarks: readonly Point[],
  anchors: readonly Anchor[],
  width: number,
  height: number,
): Promise<RgbImage> {
  const reduced = await reduceForWarp(image, toAnchors(landmarks, anchors), width, height);
  return warpImage(reduced.image, reduced.toAligned, width, height);
}

/** The map that takes a face's landmarks closest to the anchors; as `alignFace`. */
export function toAnchors(landmarks: readonly Point[], anchors: readonly Anchor[]): Transform {
  const from = anchors.map((anchor) => centroid(anchor.landmarks.map((index) => landmarks[index]!)));
  return similarityTransform(from, anchors);
}

/**
 * Below this scale a warp by four neighbours skips source pixels and aliases; above it the extra blur costs more than
 * it saves.
 */
const SMALLEST_DIRECT_SCALE = 0.6;

/** Cuts out what the warp will read and shrinks it to the size of the result, averaging the pixels between. */
async function reduceForWarp(image: RgbImage, toAligned: Transform, width: number, height: number) {
  const scale = Math.hypot(toAligned.a, toAligned.d);
  const box = sourceBox(image, toAligned, width, height);
  if (scale >= SMALLEST_DIRECT_SCALE || box === undefined) return { image, toAligned };
  const { left, top, right, bottom } = box;
  const [cutWidth, cutHeight] = [right - left, bottom - top];
  const [smallWidth, smallHeight] = [cutWidth, cutHeight].map((side) => Math.max(1, Math.round(side * scale))) as [
    number,
    number,
  ];
  const small = await resizeImage(await cropImage(image, box), smallWidth, smallHeight);
  const [kx, ky] = [cutWidth / smallWidth, cutHeight / smallHeight];
  // A pixel's centre is half a pixel from its corner, so (i + 1/2) k - 1/2 is where small pixel i was.
  return { image: small, toAligned: prependScale(toAligned, kx, ky, left + kx / 2 - 0.5, top + ky / 2 - 0.5) };
}

function prependScale({ a, b, c, d, e, f }: Transform, kx: number, ky: number, x: number, y: number): Transform {
  return { a: a * kx, b: b * ky, c: a * x + b * y + c, d: d * kx, e: e * ky, f: d * x + e * y + f };
}

function sourceBox(image: RgbImage, toAligned: Transform, width: number, height: number) {
  const toSource = invertTransform(toAligned);
  const corners = [0, width].flatMap((x) => [0, height].map((y) => applyTransform(toSource, { x, y })));
  const [xs, ys] = [corners.map(({ x }) => x), corners.map(({ y }) => y)];
  const left = Math.max(0, Math.floor(Math.min(...xs)) - 2);
  const top = Math.max(0, Math.floor(Math.min(...ys)) - 2);
  const right = Math.min(image.width, Math.ceil(Math.max(...xs)) + 2);
  const bottom = Math.min(image.height, Math.ceil(Math.max(...ys)) + 2);
  return right > left && bottom > top ? { left, top, right, bottom } : undefined;
}

/** Samples `image` under `toResult` (image -> result) with bilinear weights; outside the image is black. */
export function warpImage(image: RgbImage, toResult: Transform, width: number, height: number): RgbImage {
  const toSource = invertTransform(toResult);
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) samplePixel(image, applyTransform(toSource, { x, y }), data, (y * width + x) * 3);
  }
  return { width, height, data };
}

function samplePixel(image: RgbImage, { x, y }: Point, out: Uint8Array, at: number): void {
  const [x0, y0] = [Math.floor(x), Math.floor(y)];
  const [fx, fy] = [x - x0, y - y0];
  for (let channel = 0; channel < 3; channel++) {
    const top = (1 - fx) * pixel(image, x0, y0, channel) + fx * pixel(image, x0 + 1, y0, channel);
    const bottom = (1 - fx) * pixel(image, x0, y0 + 1, channel) + fx * pixel(image, x0 + 1, y0 + 1, channel);
    out[at + channel] = Math.round((1 - fy) * top + fy * bottom);
  }
}

function pixel(image: RgbImage, x: number, y: number, channel: number): number {
  if (x < 0 || y < 0 || x >= image.width || y >= image.height) return 0;
  return image.data[(y * image.width + x) * 3 + channel]!;
}
