import { createHash } from "node:crypto";
import { emptyPolynomials, encodeProbe, layoutOf, placeTemplate, scoreIndex } from "@veilface/fhe";
import { DEGREE, IndependentRing, invert } from "./independent-ring.ts";

/** One polynomial in NTT form. */
interface Transform {
  readonly polynomial: string;
  /** Its coefficients that are not zero, by power of X. */
  readonly coefficients: Readonly<Record<string, number>>;
  /** The first eight values. */
  readonly first: readonly number[];
  /** Value 4095. */
  readonly last: number;
  /** Of all 4096 values as little-endian u32, hexadecimal. */
  readonly sha256: string;
}

/**
 * The transform modulo one prime: a data prime, or the reserved prime of the default parameter set, which only SEAL's
 * keys have.
 */
export interface NttVector {
  readonly prime: number;
  readonly psi: number;
  readonly inversePsi: number;
  readonly inverseDegree: number;
  readonly transforms: readonly Transform[];
}

/** Three templates in a block, in numbers: d = 4, s = 2, both scales 1, so G = 2 polynomials. */
export interface SmallBlock {
  readonly dimension: number;
  readonly stride: number;
  readonly slots: number;
  readonly templates: readonly (readonly number[])[];
  readonly probe: readonly number[];
  /** The first coefficients of each polynomial; the rest are zero. */
  readonly templatePolynomials: readonly (readonly number[])[];
  readonly probePolynomials: readonly (readonly number[])[];
  /** The first coefficients of the sum of the products; the rest are zero. */
  readonly product: readonly number[];
  readonly scoreIndices: readonly number[];
  readonly scores: readonly number[];
}

const PRIMES = [1073668097n, 1073692673n, 1032193n];
const POLYNOMIALS: readonly (readonly [string, Readonly<Record<string, number>>])[] = [
  ["X", { 1: 1 }],
  ["1 + 2X + 3X^2 - 4X^3 + 5X^4095", { 0: 1, 1: 2, 2: 3, 3: -4, 4095: 5 }],
];

export function nttVectors(): NttVector[] {
  return PRIMES.map((prime) => {
    const ring = new IndependentRing(prime);
    const transforms = POLYNOMIALS.map(([polynomial, coefficients]) => transform(ring, polynomial, coefficients));
    // The first value of the transform of X is psi itself.
    const psi = transforms[0]!.first[0]!;
    return {
      prime: Number(prime),
      psi,
      inversePsi: Number(invert(BigInt(psi), prime)),
      inverseDegree: Number(invert(BigInt(DEGREE), prime)),
      transforms,
    };
  });
}

function transform(
  ring: IndependentRing,
  polynomial: string,
  coefficients: Readonly<Record<string, number>>,
): Transform {
  const dense = Array.from({ length: DEGREE }, (_, power) => BigInt(coefficients[power] ?? 0));
  const values = ring.forward(dense).map(Number);
  const bytes = Buffer.alloc(4 * DEGREE);
  values.forEach((value, i) => bytes.writeUInt32LE(value, 4 * i));
  return {
    polynomial,
    coefficients,
    first: values.slice(0, 8),
    last: values.at(-1)!,
    sha256: createHash("sha256").update(bytes).digest("hex"),
  };
}

const TEMPLATES = [
  [1, 2, 3, 4],
  [5, 6, 7, 8],
  [9, 10, 11, 12],
];
const PROBE = [2, -1, 3, 1];
const SHOWN = 7;
// The layout takes vectors of norm 1, so whole components enter as fractions of this power of two and leave multiplied
// by it.
const UNIT = 64;

export function smallBlock(): SmallBlock {
  const layout = layoutOf(4, 2);
  const scales = { template: UNIT, probe: UNIT };
  const blocks = emptyPolynomials(layout);
  TEMPLATES.forEach((template, slot) => {
    const vector = Float64Array.from(template, (x) => x / UNIT);
    placeTemplate({ layout, scales, polynomials: blocks }, slot, vector);
  });
  const probes = encodeProbe(
    layout,
    scales,
    Float64Array.from(PROBE, (x) => x / UNIT),
  );
  const product = Array.from({ length: SHOWN }, (_, k) =>
    blocks.reduce((sum, block, g) => sum + coefficientOf(block, probes[g]!, k), 0),
  );
  const scoreIndices = TEMPLATES.map((_, slot) => scoreIndex(layout, slot));
  const shown = (polynomial: Float64Array): number[] => [...polynomial.subarray(0, SHOWN)];
  return {
    dimension: layout.dimension,
    stride: layout.stride,
    slots: layout.slots,
    templates: TEMPLATES,
    probe: PROBE,
    templatePolynomials: blocks.map(shown),
    probePolynomials: probes.map(shown),
    product,
    scoreIndices,
    scores: scoreIndices.map((at) => product[at]!),
  };
}

/** Coefficient k of a product that does not reach X^4096. */
function coefficientOf(a: Float64Array, b: Float64Array, k: number): number {
  let sum = 0;
  for (let i = 0; i <= k; i++) sum += a[i]! * b[k - i]!;
  return sum;
}
