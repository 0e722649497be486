import { impossible } from "./impossible.ts";

/** A position in pixels; x grows to the right, y downwards, and (0, 0) is the image's top left corner. */
export interface Point {
  /** Distance from the left edge. */
  readonly x: number;
  /** Distance from the top edge. */
  readonly y: number;
}

/** Width and height in pixels. */
export interface Size {
  readonly width: number;
  readonly height: number;
}

/** An upright rectangle in pixels, right and bottom exclusive. It may reach outside the image it was found in. */
export interface Box {
  /** The left edge: x of the first column. */
  readonly left: number;
  /** The upper edge: y of the first row. */
  readonly top: number;
  /** One past the last column. */
  readonly right: number;
  /** One past the last row. */
  readonly bottom: number;
}

/** A find of the detector. */
export interface ScoredBox {
  readonly box: Box;
  /** The detector's confidence, [0, 1]. */
  readonly score: number;
}

/** One of a list of points that is known to have so many. */
export function pointAt(points: readonly Point[], index: number): Point {
  return points[index] ?? impossible(`point ${index} of ${points.length}`);
}

export function boxArea(box: Box): number {
  return Math.max(0, box.right - box.left) * Math.max(0, box.bottom - box.top);
}

export function scaleBox(box: Box, factor: number): Box {
  return { left: box.left * factor, top: box.top * factor, right: box.right * factor, bottom: box.bottom * factor };
}

export function shiftBox(box: Box, dx: number, dy: number): Box {
  return { left: box.left + dx, top: box.top + dy, right: box.right + dx, bottom: box.bottom + dy };
}

/** The part of `box` inside an image of `width` x `height`; its area is 0 when they do not meet. */
export function clipBox(box: Box, width: number, height: number): Box {
  const clamp = (value: number, limit: number) => Math.min(Math.max(value, 0), limit);
  return {
    left: clamp(box.left, width),
    top: clamp(box.top, height),
    right: clamp(box.right, width),
    bottom: clamp(box.bottom, height),
  };
}

export function intersectionArea(a: Box, b: Box): number {
  return boxArea({
    left: Math.max(a.left, b.left),
    top: Math.max(a.top, b.top),
    right: Math.min(a.right, b.right),
    bottom: Math.min(a.bottom, b.bottom),
  });
}

/** Jaccard index of two boxes, [0, 1]: shared area over covered area. 0 when both are empty. */
export function intersectionOverUnion(a: Box, b: Box): number {
  const shared = intersectionArea(a, b);
  const covered = boxArea(a) + boxArea(b) - shared;
  return covered > 0 ? shared / covered : 0;
}

/**
 * Keeps the best-scored box of every group of boxes that overlap by more than `maximumOverlap`, best score first.
 * `overlap`: how much two boxes overlap, [0, 1].
 */
export function suppressNonMaxima<T extends ScoredBox>(
  found: readonly T[],
  maximumOverlap: number,
  overlap: (a: Box, b: Box) => number = intersectionOverUnion,
): T[] {
  const kept: T[] = [];
  for (const candidate of found.toSorted((a, b) => b.score - a.score)) {
    if (kept.every((other) => overlap(candidate.box, other.box) <= maximumOverlap)) kept.push(candidate);
  }
  return kept;
}
