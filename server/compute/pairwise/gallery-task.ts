import type { PairwiseTask } from "@veilface/fhe";
import type { ModelSpace } from "../../store/gallery-store.ts";

/** What a gallery's metric asks to be computed, and how large that may be: |x - p| <= 2R, |<x, p>| <= R^2. */
export function galleryTask({ dimension, metric, normBound }: ModelSpace): PairwiseTask & { readonly bound: number } {
  if (metric === "euclidean")
    return { operation: "SQUARED_DISTANCE", dimension, bound: squaredDistanceBound(normBound) };
  return { operation: "INNER_PRODUCT", dimension, bound: innerProductBound(normBound) };
}

export function squaredDistanceBound(normBound: number): number {
  return 4 * normBound ** 2;
}

export function innerProductBound(normBound: number): number {
  return normBound ** 2;
}
