/* eslint-disable @typescript-eslint/no-non-null-assertion -- typed arrays, read inside their bounds */
import type { Point, Size } from "./geometry.ts";
import type { RgbImage } from "./image.ts";
import { applyTransform, invertTransform } from "./transform.ts";
import type { Transform } from "./transform.ts";

/** Samples `image` under `toResult` (image -> result) with bilinear weights; outside the image is black. */
export function warpImage(image: RgbImage, toResult: Transform, { width, height }: Size): RgbImage {
  const toSource = invertTransform(toResult);
  const data = new Uint8Array(width * height * 3);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const source = applyTransform(toSource, { x, y });
      for (let channel = 0; channel < 3; channel++) data[at++] = sample(image, source, channel);
    }
  }
  return { width, height, data };
}

function sample(image: RgbImage, { x, y }: Point, channel: number): number {
  const [x0, y0] = [Math.floor(x), Math.floor(y)];
  const [fx, fy] = [x - x0, y - y0];
  const level = (column: number, row: number): number => levelAt(image, offsetOf(image, column, row), channel);
  const top = (1 - fx) * level(x0, y0) + fx * level(x0 + 1, y0);
  const bottom = (1 - fx) * level(x0, y0 + 1) + fx * level(x0 + 1, y0 + 1);
  return Math.round((1 - fy) * top + fy * bottom);
}

/** Where a pixel's bytes begin; below 0 outside the image. */
function offsetOf({ width, height }: Size, x: number, y: number): number {
  return x < 0 || y < 0 || x >= width || y >= height ? -1 : (y * width + x) * 3;
}

function levelAt({ data }: RgbImage, offset: number, channel: number): number {
  return offset < 0 ? 0 : data[offset + channel]!;
}
