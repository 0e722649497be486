// One prime's constants and tables in WASM memory. The TypeScript side (ring/modulus-block.ts) writes them; offsets in
// bytes.
export const N: usize = 4096;
export const POLYNOMIAL_BYTES: usize = N << 2;

const PRIME: usize = 0;
const MONTGOMERY: usize = 4; // prime^-1 mod 2^32
const FOLD: usize = 8; // 2^32 mod prime
const FOLD_SHOUP: usize = 12;
const N_INVERSE: usize = 16;
const N_INVERSE_SHOUP: usize = 20;
const LOW_MASK: usize = 32; // two 64-bit lanes of 2^32 - 1
const ROOTS: usize = 64;

// @ts-ignore: decorator
@inline export function prime(modulus: usize): v128 { return v128.load32_splat(modulus, PRIME); }
// @ts-ignore: decorator
@inline export function primeScalar(modulus: usize): u32 { return load<u32>(modulus, PRIME); }
// @ts-ignore: decorator
@inline export function montgomery(modulus: usize): v128 { return v128.load32_splat(modulus, MONTGOMERY); }
// @ts-ignore: decorator
@inline export function fold(modulus: usize): v128 { return v128.load32_splat(modulus, FOLD); }
// @ts-ignore: decorator
@inline export function foldShoup(modulus: usize): v128 { return v128.load32_splat(modulus, FOLD_SHOUP); }
// @ts-ignore: decorator
@inline export function nInverse(modulus: usize): v128 { return v128.load32_splat(modulus, N_INVERSE); }
// @ts-ignore: decorator
@inline export function nInverseShoup(modulus: usize): v128 { return v128.load32_splat(modulus, N_INVERSE_SHOUP); }
/** From memory, because V8 rebuilds a constant vector at every use (three instructions, 5 % of the inner loop). */
// @ts-ignore: decorator
@inline export function lowMask(modulus: usize): v128 { return v128.load(modulus, LOW_MASK); }
/** Powers of psi in bit-reversed order, then their Shoup quotients. */
// @ts-ignore: decorator
@inline export function forwardRoots(modulus: usize): usize { return modulus + ROOTS; }
/** Powers of psi^-1 in bit-reversed order, then their Shoup quotients. */
// @ts-ignore: decorator
@inline export function inverseRoots(modulus: usize): usize { return modulus + ROOTS + 2 * POLYNOMIAL_BYTES; }

/** x - k where that is not negative, else x: an unsigned wrap is always the larger of the two. */
// @ts-ignore: decorator
@inline export function reduceOnce(x: v128, k: v128): v128 { return i32x4.min_u(x, i32x4.sub(x, k)); }

/** x - y mod q, both below q. */
// @ts-ignore: decorator
@inline export function subtract(x: v128, y: v128, q: v128): v128 {
  const difference = i32x4.sub(x, y);
  return i32x4.min_u(difference, i32x4.add(difference, q));
}

/** High 32 bits of four 32 x 32 bit products. */
// @ts-ignore: decorator
@inline export function multiplyHigh(a: v128, b: v128): v128 {
  return v128.shuffle<u32>(i64x2.extmul_low_i32x4_u(a, b), i64x2.extmul_high_i32x4_u(a, b), 1, 3, 5, 7);
}

/**
 * x * w mod q in [0, 2q), for any x < 2^32 and shoup = floor(w * 2^32 / q) (Shoup; Harvey 2014, "Faster arithmetic for
 * number-theoretic transforms").
 */
// @ts-ignore: decorator
@inline export function multiplyShoup(x: v128, w: v128, shoup: v128, q: v128): v128 {
  return i32x4.sub(i32x4.mul(x, w), i32x4.mul(multiplyHigh(x, shoup), q));
}

/** Four sums x < q * 2^32 (low: lanes 0 and 1, high: lanes 2 and 3) as x / 2^32 mod q in [0, q) (Montgomery 1985). */
// @ts-ignore: decorator
@inline export function montgomeryReduce(low: v128, high: v128, q: v128, qInverse: v128): v128 {
  const m = i32x4.mul(v128.shuffle<u32>(low, high, 0, 2, 4, 6), qInverse);
  return subtract(highWords(low, high), multiplyHigh(m, q), q);
}

/** The high 32 bits of four sums (low: lanes 0 and 1, high: lanes 2 and 3). */
// @ts-ignore: decorator
@inline export function highWords(low: v128, high: v128): v128 { return v128.shuffle<u32>(low, high, 1, 3, 5, 7); }

/**
 * A sum of lanes 0 and 1 as its low 32 bits + its high 32 bits * (2^32 mod q): congruent, and below 2^32 * (2^32 mod q
 * + 1).
 */
// @ts-ignore: decorator
@inline export function foldLow(sum: v128, words: v128, fold: v128, mask: v128): v128 {
  return i64x2.add(v128.and(sum, mask), i64x2.extmul_low_i32x4_u(words, fold));
}

/** The same of lanes 2 and 3. */
// @ts-ignore: decorator
@inline export function foldHigh(sum: v128, words: v128, fold: v128, mask: v128): v128 {
  return i64x2.add(v128.and(sum, mask), i64x2.extmul_high_i32x4_u(words, fold));
}
