import type { PairwiseTask } from "@veilface/fhe";
import type { BlockAnswer } from "../block-answer.ts";
import type { PairwiseEncoding, SealedBytes } from "../sealed-bytes.ts";
import type { ModelSpace } from "../store/gallery-store.ts";
import type { PairwiseMatcher, PairwiseScan } from "./pairwise-matcher.ts";

/** What a gallery's metric asks to be computed, and how large that may be: |x - p| <= 2R, |<x, p>| <= R^2. */
export function galleryTask({ dimension, metric, normBound }: ModelSpace): PairwiseTask {
  if (metric === "euclidean") return { operation: "squared_distance", dimension, bound: squaredDistanceBound(normBound) };
  return { operation: "inner_product", dimension, bound: innerProductBound(normBound) };
}

export function squaredDistanceBound(normBound: number): number {
  return 4 * normBound ** 2;
}

export function innerProductBound(normBound: number): number {
  return normBound ** 2;
}

/** Compares a probe with the templates of a gallery, each a block of its own. Throws ServerError with what is wrong with the probe. */
export async function scanPairwise(
  pairwise: PairwiseMatcher,
  space: ModelSpace,
  ciphertext: SealedBytes<PairwiseEncoding>,
  scan: Omit<PairwiseScan, "probe" | "task">,
): Promise<AsyncIterable<BlockAnswer>> {
  const bytes = await pairwise.prepare({ context: scan.context, ciphertext, dimension: space.dimension });
  const probe = new SharedArrayBuffer(bytes.length);
  new Uint8Array(probe).set(bytes);
  return pairwise.scan({ ...scan, probe, task: galleryTask(space) });
}
