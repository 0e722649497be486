import { impossible } from "../errors.ts";
import { NOISE_SIGMA } from "../parameter-sets.ts";
import { dataPrimes, distanceScale, resultPrimes } from "./parameters.ts";
import type { PairwiseParameters } from "./parameters.ts";

/** The largest expected error that a context has without its owner's word for it: a hundredth of a unit distance. */
export const USUAL_ACCEPTED_ERROR = 1e-2;

// Below it the quick order of steps is precise enough: a tenth of the above.
const GOOD_ERROR = 1e-3;

/** |x - y|^2 of unit vectors that have nothing in common. */
const USUAL_SQUARED_DISTANCE = 2;

/**
 * Whether a product is rescaled before its slots are summed. That is quick, but what rotations add is not rescaled
 * then. Where it would be too much, products keep their scale, scale^2, and all their primes: rotations take about
 * twice as long, and their noise is divided by scale^2 instead of scale^2 / p. The room for distances is the same.
 */
export function rescalesFirst(parameters: PairwiseParameters): boolean {
  return errorOf(parameters, parameters.degree / 2, true) <= GOOD_ERROR;
}

/**
 * What the absolute error of a squared distance of two unit vectors, |x - y|^2 = 2, stays below in about 19 of 20
 * cases: twice its standard deviation, over keys and encryptions, and its mean. Inner products are off by less.
 * Grows with the dimension.
 *
 * Variances of the value in slot 0. Embedding a polynomial of N independent coefficients of variance v into a slot
 * gives N v, half of it real (Cheon, Kim, Kim and Song, eprint 2016/421, section 3.2: the canonical embedding).
 * Secrets are ternary, with variance 2/3; the error of keys has sigma^2 = 21/2 (SEAL 4.1, util/rlwe.cpp).
 */
export function expectedPairwiseError(parameters: PairwiseParameters, dimension: number): number {
  return errorOf(parameters, dimension, rescalesFirst(parameters));
}

function errorOf(parameters: PairwiseParameters, dimension: number, rescaled: boolean): number {
  const { degree, scale } = parameters;
  const round = rounding(degree) / scale ** 2;
  // Of x - y, in each slot: twice the rounding that ends an encryption with a public key. Its square is summed with the
  // distance.
  const fresh = 4 * USUAL_SQUARED_DISTANCE * (2 * round);
  const mean = dimension * 2 * round;
  return mean + 2 * Math.sqrt(fresh + (rescaled ? quick(parameters, dimension) : precise(parameters, dimension)));
}

// Relinearization leaves noise in each of the slots that are summed, and so does rescaling. The rotation by 2^k leaves
// some that the later ones sum from d / 2^(k+1) slots: d - 1 in all.
function quick(parameters: PairwiseParameters, dimension: number): number {
  const [product, result] = [parameters.scale ** 2, distanceScale(parameters)];
  const relinearized = switching(parameters, dataPrimes(parameters), { slots: dimension, keys: 1 });
  const rotations = { slots: dimension - 1, keys: Math.ceil(Math.log2(dimension)) };
  const rotated = switching(parameters, resultPrimes(parameters), rotations);
  return relinearized / product ** 2 + (dimension * rounding(parameters.degree) + rotated) / result ** 2;
}

function precise(parameters: PairwiseParameters, dimension: number): number {
  const switched = { slots: 2 * dimension - 1, keys: 1 + Math.ceil(Math.log2(dimension)) };
  return switching(parameters, dataPrimes(parameters), switched) / parameters.scale ** 4;
}

/** Key switchings whose noise reaches slot 0: by how many keys, and from how many slots in all. */
interface Switched {
  readonly slots: number;
  readonly keys: number;
}

/**
 * Variance that switching keys leaves, in units of the scaled slot: for each prime q the digits d of a polynomial,
 * in [0, q), times the error e of its key, over the reserved prime P (SEAL 4.1, Evaluator::switch_key_inplace;
 * Kim, Polyakov and Zucca, eprint 2021/204, section 4, with centered digits); and a rounding. Of d, q^2 / 12
 * varies, which gives N / 12 in any slot. SEAL's digits are not centered: their mean, q/2 (1 + X + ... + X^(N-1)),
 * is q / (1 - z) at a root z, so that |d|^2 has the mean q^2 / (4 sin^2(pi k / 2N)) at the k-th root. 1 / sin^2
 * summed over all N/2 slots is N^2 / 2, 81 % of it in slot 0: N^2 / 8 a key for any sum of slots with slot 0.
 */
function switching(
  { degree, primes }: PairwiseParameters,
  digits: readonly bigint[],
  { slots, keys }: Switched,
): number {
  const reserved = Number(primes.at(-1) ?? impossible("checked parameters without primes"));
  const ratios = digits.reduce((sum, prime) => sum + (Number(prime) / reserved) ** 2, 0);
  const product = ratios * NOISE_SIGMA ** 2 * (degree / 2) * (slots * (degree / 12) + keys * (degree ** 2 / 8));
  return product + slots * rounding(degree);
}

/**
 * Variance that rounding both components of a ciphertext leaves in a slot: 1/12 a coefficient, the second times the
 * secret.
 */
function rounding(degree: number): number {
  return (degree / 2) * ((1 + (2 / 3) * degree) / 12);
}
