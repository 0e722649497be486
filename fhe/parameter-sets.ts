import { FheError } from "./errors.ts";

/** Ring degree of every parameter set: polynomials have this many coefficients. */
export const DEGREE = 4096;

/**
 * Standard deviation of SEAL's error distribution, a centered binomial of 21 + 21 bits (SEAL 4.1 `util/rlwe.cpp`,
 * sample_poly_cbd).
 */
export const NOISE_SIGMA = Math.sqrt(21 / 2);

/**
 * The name of a row of the closed list: ring degree 4096 and the bits of the data modulus. Inner products of unit
 * vectors err by about 1e-7 under PACKED_N4096_Q60 and 1e-3 under PACKED_N4096_Q30, whose ciphertexts have half the
 * bytes (docs/wire-format.md).
 */
export type ParameterSetName = "PACKED_N4096_Q60" | "PACKED_N4096_Q30";

/**
 * One row of the closed list. All rows: CKKS, N = 4096, uniform ternary secret, at least 128 bits of security
 * (HomomorphicEncryption.org standard, table 1: log2 q <= 109 for N = 4096).
 */
export interface ParameterSet {
  /** The name that contexts and key files have for it. */
  readonly name: ParameterSetName;
  /**
   * The one or two primes a ciphertext lives in, in SEAL's order; each is 1 mod 2N and below 2^30, so residues and
   * their sums fit 32 bits.
   */
  readonly dataPrimes: readonly number[];
  /** SEAL reserves the last prime of its chain for key switching, which the packed scheme never does. */
  readonly reservedPrime: number;
}

// The two largest primes below 2^30 that are 1 mod 8192, and the largest below 2^20. Q30 has them in the other order
// than CoeffModulus::Create(4096, {30, 30}) would give: its data prime folds faster (2^30 - 49151), and its key level
// is not the data level of Q60, so that no plaintext of one set is taken for a secret key of the other.
const SETS: Readonly<Record<ParameterSetName, ParameterSet>> = {
  PACKED_N4096_Q60: { name: "PACKED_N4096_Q60", dataPrimes: [1073668097, 1073692673], reservedPrime: 1032193 },
  PACKED_N4096_Q30: { name: "PACKED_N4096_Q30", dataPrimes: [1073692673], reservedPrime: 1073668097 },
};

/** Every name of the closed list, the default first. */
export const PARAMETER_SET_NAMES: readonly ParameterSetName[] = ["PACKED_N4096_Q60", "PACKED_N4096_Q30"];
/**
 * The set of a key whose maker names none: the more exact one. Sets are part of a key: changing them means encrypting
 * anew.
 */
export const DEFAULT_PARAMETER_SET: ParameterSetName = "PACKED_N4096_Q60";

/** The set of that name. Throws FheError PARAMETERS_INVALID for a name that is not in the list. */
export function parameterSet(name: string): ParameterSet {
  const found = PARAMETER_SET_NAMES.find((known) => known === name);
  if (found === undefined) {
    throw new FheError(
      "PARAMETERS_INVALID",
      `unknown parameter set "${name}": expected one of ${PARAMETER_SET_NAMES.join(", ")}`,
    );
  }
  return SETS[found];
}

/** log2 of the data modulus q, the product of the data primes. */
export function log2DataModulus(set: ParameterSet): number {
  return set.dataPrimes.reduce((bits, prime) => bits + Math.log2(prime), 0);
}
