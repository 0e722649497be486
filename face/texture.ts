/* eslint-disable @typescript-eslint/no-non-null-assertion -- typed arrays, read inside their bounds */
import { blurredLuma } from "./image.ts";
import type { RgbImage } from "./image.ts";

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
interface FaceTexture {
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

/** The texture of a face, turned upright, that fills the image. */
export async function measureTexture(view: RgbImage): Promise<FaceTexture> {
  const [sharp, fine, coarse] = await Promise.all([
    blurredLuma(view, 0),
    blurredLuma(view, FINE_SIGMA),
    blurredLuma(view, COARSE_SIGMA),
  ]);
  const inner = innerPixels(view);
  const contrast = (of: (pixel: number) => number) => standardDeviation(inner.map(of));
  const ratio = (what: number, of: number): number => what / Math.max(1, of);
  return {
    detail: ratio(
      contrast((i) => fine[i]! - coarse[i]!),
      contrast((i) => coarse[i]!),
    ),
    grain: ratio(
      contrast((i) => sharp[i]! - fine[i]!),
      contrast((i) => fine[i]!),
    ),
    flat: inner.filter((i) => isFlat(sharp, i, view.width)).length / inner.length,
  };
}

/** What is wrong with a texture; undefined where it is that of a photo of a face. */
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
