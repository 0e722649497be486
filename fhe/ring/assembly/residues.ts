// Polynomial-wise work: one polynomial of N residues below its prime per call, unless a comment says otherwise.
import { N, POLYNOMIAL_BYTES, montgomery, montgomeryReduce, prime, primeScalar, reduceOnce } from "./modulus";

/**
 * The number of leading residues below the prime in a run whose length is a multiple of 4, counted in whole vectors of
 * 4.
 */
export function countInRange(residues: usize, bytes: usize, modulus: usize): usize {
  const q = prime(modulus);
  for (let i: usize = 0; i < bytes; i += 16) if (!i32x4.all_true(i32x4.lt_u(v128.load(residues + i), q))) return i >> 2;
  return bytes >> 2;
}

/**
 * Integers |c| < 2^51 as doubles -> residues in [0, q], which the forward NTT takes. The product with 1/q is within
 * 2^22 * 2^-52 = 2^-30 < 1/q of the quotient, so its floor is wrong only where q divides c, one too small: that leaves
 * q. floor * q is exact, below 2^53.
 */
export function reduceCoefficients(coefficients: usize, residues: usize, modulus: usize): void {
  const q = f64(primeScalar(modulus)), primes = f64x2.splat(q), inverse = f64x2.splat(1 / q);
  for (let i: usize = 0; i < POLYNOMIAL_BYTES; i += 16) {
    const low = v128.load(coefficients + 2 * i), high = v128.load(coefficients + 2 * i, 16);
    const lowRest = f64x2.sub(low, f64x2.mul(f64x2.floor(f64x2.mul(low, inverse)), primes));
    const highRest = f64x2.sub(high, f64x2.mul(f64x2.floor(f64x2.mul(high, inverse)), primes));
    v128.store(residues + i, v128.shuffle<u32>(i32x4.trunc_sat_f64x2_s_zero(lowRest), i32x4.trunc_sat_f64x2_s_zero(highRest), 0, 1, 4, 5));
  }
}

/** Residues of one prime -> centred doubles in (-q/2, q/2). */
export function center(residues: usize, coefficients: usize, modulus: usize): void {
  const q = primeScalar(modulus);
  for (let i: usize = 0; i < N; i++) {
    const residue = load<u32>(residues + (i << 2));
    store<f64>(coefficients + (i << 3), f64(residue > q >> 1 ? i32(residue) - i32(q) : i32(residue)));
  }
}

/**
 * Residues of two primes -> centred doubles in (-Q/2, Q/2), Q = q0 * q1 < 2^60, by Garner: x = a0 + q0 * ((a1 - a0) *
 * q0^-1 mod q1).
 */
export function centerTwo(first: usize, second: usize, coefficients: usize, firstModulus: usize, secondModulus: usize, inverse: u32): void {
  const q0 = u64(primeScalar(firstModulus)), q1 = u64(primeScalar(secondModulus)), product = q0 * q1, half = product >> 1;
  for (let i: usize = 0; i < N; i++) {
    const a0 = load<u32>(first + (i << 2)), a1 = load<u32>(second + (i << 2));
    // 2 * q1 > q0 keeps the difference positive: both primes lie between 2^29 and 2^30.
    const quotient = ((u64(a1) + 2 * q1 - u64(a0)) * u64(inverse)) % q1;
    const value = u64(a0) + q0 * quotient;
    store<f64>(coefficients + (i << 3), f64(value > half ? i64(value) - i64(product) : i64(value)));
  }
}

/** accumulator += residues mod q, over one polynomial. */
export function addPolynomial(accumulator: usize, residues: usize, modulus: usize): void {
  const q = prime(modulus);
  for (let i: usize = 0; i < POLYNOMIAL_BYTES; i += 16) v128.store(accumulator + i, reduceOnce(i32x4.add(v128.load(accumulator + i), v128.load(residues + i)), q));
}

/** residues *= factor / 2^32 mod q: the factor is in Montgomery form. */
export function multiplyPolynomial(residues: usize, factor: usize, modulus: usize): void {
  const q = prime(modulus), qInverse = montgomery(modulus);
  for (let i: usize = 0; i < POLYNOMIAL_BYTES; i += 16) {
    const a = v128.load(residues + i), b = v128.load(factor + i);
    v128.store(residues + i, montgomeryReduce(i64x2.extmul_low_i32x4_u(a, b), i64x2.extmul_high_i32x4_u(a, b), q, qInverse));
  }
}
