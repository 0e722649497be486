import { layoutOf } from "./layout.ts";
import type { ParameterSet } from "../parameter-sets.ts";
import { PACKED_POLYNOMIAL_BYTES } from "../ring/ring-kernel.ts";

/** How many templates a stride is chosen for where nobody says. */
export const USUAL_TEMPLATES = 10_000;

/**
 * What a search costs besides the scan, by stride. The scan itself takes the same products whatever the stride
 * (templates * dimension / 4096 of them), so it does not count. A probe has G pieces that are encrypted and sent; a
 * gallery of n templates answers with n / C products that are received and decrypted.
 */
export interface SearchCosts {
  /** Seconds to encrypt one polynomial per data prime. */
  readonly encryptSeconds: number;
  /** Seconds to decrypt one product per data prime. */
  readonly decryptSeconds: number;
  /** Bytes per second between client and server. */
  readonly bytesPerSecond: number;
}

/** One core of a 2-core x86-64 machine (npm run bench: encrypt, decrypt) and a network of 1 Gbit/s. */
export const USUAL_COSTS: SearchCosts = { encryptSeconds: 0.0004, decryptSeconds: 0.0003, bytesPerSecond: 125e6 };

/** Templates that are searched together. */
export interface SearchedTemplates {
  /** The parameter set of their context: a search encrypts and decrypts once for each of its data primes. */
  readonly set: ParameterSet;
  /** The encoded dimension, in [1, 4096]. */
  readonly dimension: number;
  /** How many there are, >= 0. */
  readonly templates: number;
}

/**
 * Seconds that a search among templates packed at `stride` takes besides the scan, by the model of {@link SearchCosts}.
 * Throws FheError LAYOUT_INVALID unless 1 <= stride <= dimension <= 4096.
 */
export function searchSeconds(
  { set, dimension, templates }: SearchedTemplates,
  stride: number,
  costs: SearchCosts = USUAL_COSTS,
): number {
  const { pieces, slots } = layoutOf(dimension, stride);
  const primes = set.dataPrimes.length;
  const perPiece = primes * (costs.encryptSeconds + (2 * PACKED_POLYNOMIAL_BYTES) / costs.bytesPerSecond);
  const perProduct = primes * (costs.decryptSeconds + (3 * PACKED_POLYNOMIAL_BYTES) / costs.bytesPerSecond);
  return pieces * perPiece + Math.ceil(templates / slots) * perProduct;
}

/**
 * The stride that a gallery of that many templates is given: the quickest at {@link USUAL_COSTS}. `dimension`: the
 * encoded dimension. Throws FheError LAYOUT_INVALID for a dimension outside [1, 4096].
 */
export function chooseStride(set: ParameterSet, dimension: number, templates: number): number {
  return quickestStride({ set, dimension, templates }, USUAL_COSTS);
}

/**
 * The stride at which a search among templates is quickest; the smallest of equals, as it packs the most into a block.
 * About sqrt(4096 * dimension / templates), as pieces and products cost about the same. Throws FheError LAYOUT_INVALID
 * for a dimension outside [1, 4096].
 */
export function quickestStride(searched: SearchedTemplates, costs: SearchCosts): number {
  const { dimension } = searched;
  let best = layoutOf(dimension, 1).stride;
  let least = searchSeconds(searched, best, costs);
  for (let stride = 2; stride <= dimension; stride++) {
    const seconds = searchSeconds(searched, stride, costs);
    if (seconds < least) [best, least] = [stride, seconds];
  }
  return best;
}
