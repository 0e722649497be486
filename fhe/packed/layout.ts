/* eslint-disable @typescript-eslint/no-non-null-assertion -- typed arrays, read inside their bounds */
import { FheError } from "../errors.ts";
import { DEGREE, NOISE_SIGMA, log2DataModulus } from "../parameter-sets.ts";
import type { ParameterSet } from "../parameter-sets.ts";

// Nobody else has it, so that a layout is one that layoutOf checked.
const checked = Symbol("checked");

/**
 * How vectors of `dimension` components lie in polynomials of 4096 coefficients. A vector is cut into `pieces` of
 * `stride` components; a block is `pieces` polynomials that hold `slots` vectors side by side.
 */
export interface Layout {
  /** Components of an encoded vector, in [1, 4096]. */
  readonly dimension: number;
  /** Components a polynomial holds of each vector, in [1, dimension]. */
  readonly stride: number;
  /** Polynomials per block and per probe: G = ceil(dimension / stride). */
  readonly pieces: number;
  /** Vectors per block: C = floor(4096 / stride). */
  readonly slots: number;
  /** There on what {@link layoutOf} gave, and on nothing else: its numbers fit each other. */
  readonly [checked]: true;
}

/**
 * The layout of vectors cut into pieces of `stride` components. `dimension`: the encoded one. Throws FheError
 * LAYOUT_INVALID unless 1 <= stride <= dimension <= 4096, all whole numbers.
 */
export function layoutOf(dimension: number, stride: number): Layout {
  if (!Number.isInteger(dimension) || dimension < 1 || dimension > DEGREE) {
    throw new FheError(
      "LAYOUT_INVALID",
      `encoded dimension ${dimension} is out of range: expected a whole number in [1, ${DEGREE}]`,
    );
  }
  if (!Number.isInteger(stride) || stride < 1 || stride > dimension) {
    throw new FheError(
      "LAYOUT_INVALID",
      `stride ${stride} is out of range: expected a whole number in [1, ${dimension}], the encoded dimension`,
    );
  }
  const [pieces, slots] = [Math.ceil(dimension / stride), Math.floor(DEGREE / stride)];
  return { dimension, stride, pieces, slots, [checked]: true };
}

/**
 * The layout of templates enrolled alone: one ciphertext holds the whole vector. Throws FheError LAYOUT_INVALID as
 * {@link layoutOf}.
 */
export function looseLayout(dimension: number): Layout {
  return layoutOf(dimension, dimension);
}

/** Factors that turn components of templates and probes into whole coefficients. */
export interface Scales {
  /** Coefficients of a template per unit of a component, > 0. */
  readonly template: number;
  /** Coefficients of a probe per unit of a component, > 0. */
  readonly probe: number;
}

// |score| <= 1 is scaled to at most q/2 / SCORE_MARGIN: room for the noise, whose sixfold standard deviation is below
// 1.2 % of the score's range in the worst set and layout (Q30, stride 1).
const SCORE_MARGIN = 1.02;

/** How many fresh ciphertexts may be summed into one block: loose templates are, packed ones are not. */
function summedCiphertexts(layout: Layout): number {
  return layout.stride === layout.dimension ? layout.slots : 1;
}

/**
 * The scales with the least error for vectors of norm at most 1.
 *
 * The product of a block T (C vectors) and a probe P carries T * e_p + P * e_t. Relative to both scales its variance is
 * sigma^2 (C |x|^2 / Dp^2 + L |p|^2 / Dt^2), L being the number of ciphertexts summed into the block. Under Dp * Dt =
 * M, where M = q / 2 / margin keeps the score below q / 2, it is least for Dp = sqrt(M sqrt(C / L)) and Dt = M / Dp.
 */
export function scalesOf(set: ParameterSet, layout: Layout): Scales {
  const product = 2 ** (log2DataModulus(set) - 1) / SCORE_MARGIN;
  const probe = Math.sqrt(product * Math.sqrt(layout.slots / summedCiphertexts(layout)));
  return { probe, template: product / probe };
}

/**
 * The standard deviation of the error of an inner product with vectors of norm 1 in a full block, by the formula of
 * {@link scalesOf}. `probeNorm`: |p|, at most sqrt(5/4), the Euclidean metric's largest.
 */
export function expectedError(set: ParameterSet, layout: Layout, probeNorm = 1): number {
  const { probe, template } = scalesOf(set, layout);
  const ofTemplates = probeNorm * Math.sqrt(summedCiphertexts(layout));
  return NOISE_SIGMA * Math.hypot(Math.sqrt(layout.slots) / probe, ofTemplates / template);
}

/** A block that is being filled, not encrypted yet. */
export interface PlainBlock {
  /** How vectors lie in it. */
  readonly layout: Layout;
  /** Those of its layout: see {@link scalesOf}. */
  readonly scales: Scales;
  /** `pieces` arrays of 4096 whole-valued doubles, as {@link emptyPolynomials} gives them. */
  readonly polynomials: readonly Float64Array[];
}

/**
 * Puts one encoded vector of norm at most 1 into a block: component g*s + l goes to coefficient slot*s + l of
 * polynomial g. Throws FheError LAYOUT_INVALID for a slot outside [0, slots), EMBEDDING_INVALID for a vector of another
 * length than the layout's dimension, one that is not finite, or one longer than any that is encoded.
 */
export function placeTemplate({ layout, scales, polynomials }: PlainBlock, slot: number, vector: Float64Array): void {
  checkVector(layout, vector);
  if (!Number.isInteger(slot) || slot < 0 || slot >= layout.slots) {
    throw new FheError(
      "LAYOUT_INVALID",
      `slot ${slot} is out of range: expected a whole number in [0, ${layout.slots})`,
    );
  }
  // Plain loops here and below: bulk enrollment spends a tenth of its time in them.
  for (let piece = 0, k = 0; k < layout.dimension; piece++) {
    const polynomial = polynomials[piece]!;
    const end = Math.min(k + layout.stride, layout.dimension);
    for (let at = slot * layout.stride; k < end; k++, at++) polynomial[at] = Math.round(scales.template * vector[k]!);
  }
}

/** `pieces` polynomials of 4096 zero coefficients. */
export function emptyPolynomials(layout: Layout): Float64Array[] {
  return Array.from({ length: layout.pieces }, () => new Float64Array(DEGREE));
}

/**
 * The probe's polynomials: component g*s + l at coefficient s - 1 - l of polynomial g, so that in the sum of the
 * products with a block coefficient slot*s + s - 1 is the inner product. Throws FheError EMBEDDING_INVALID as
 * {@link placeTemplate}.
 */
export function encodeProbe(layout: Layout, scales: Scales, vector: Float64Array): Float64Array[] {
  checkVector(layout, vector);
  const polynomials = emptyPolynomials(layout);
  vector.forEach((component, k) => {
    polynomials[Math.floor(k / layout.stride)]![layout.stride - 1 - (k % layout.stride)] = Math.round(
      scales.probe * component,
    );
  });
  return polynomials;
}

/** Where the inner product of a slot, in [0, slots), stands among the 4096 coefficients of the decrypted product. */
export function scoreIndex(layout: Layout, slot: number): number {
  return slot * layout.stride + layout.stride - 1;
}

/**
 * The inner products of all slots, `slots` of them, from the 4096 centered coefficients of the decrypted product: each
 * over both scales. Meaningless for slots without a template.
 */
export function readScores(layout: Layout, scales: Scales, coefficients: Float64Array): Float64Array {
  const unit = scales.template * scales.probe;
  return Float64Array.from({ length: layout.slots }, (_, slot) => coefficients[scoreIndex(layout, slot)]! / unit);
}

function checkVector(layout: Layout, vector: Float64Array): void {
  if (vector.length !== layout.dimension) {
    throw new FheError("EMBEDDING_INVALID", `vector has ${vector.length} components: expected ${layout.dimension}`);
  }
  let squaredNorm = 0;
  for (let k = 0; k < vector.length; k++) squaredNorm += vector[k]! ** 2;
  // 1.25 is the largest squared norm that a probe of the Euclidean metric has; NaN fails the comparison too.
  if (!(squaredNorm <= 1.25 + 1e-6)) {
    throw new FheError(
      "EMBEDDING_INVALID",
      "vector is not finite or longer than the scheme's bound: scale embeddings by their norm bound first",
    );
  }
}
