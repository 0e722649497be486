// One prime's constants and tables in WASM memory. The TypeScript side (ring/modulus-block.ts) writes them; offsets in bytes.
export const N: usize = 4096;
export const POLYNOMIAL_BYTES: usize = N << 2;

const PRIME: usize = 0;
const MONTGOMERY: usize = 4; // prime^-1 mod 2^32
const FOLD: usize = 8; // 2^32 mod prime
const FOLD_SHOUP: usize = 12;
const N_INVERSE: usize = 16;
const N_INVERSE_SHOUP: usize = 20;
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
/** Powers of psi in bit-reversed order, then their Shoup quotients. */
// @ts-ignore: decorator
@inline export function forwardRoots(modulus: usize): usize { return modulus + ROOTS; }
/** Powers of psi^-1 in bit-reversed order, then their Shoup quotients. */
// @ts-ignore: decorator
@inline export function inverseRoots(modulus: usize): usize { return modulus + ROOTS + 2 * POLYNOMIAL_BYTES; }

/** x - k where that is not negative, else x: an unsigned wrap is always the larger of the two. */
// @ts-ignore: decorator
@inline export function reduceOnce(x: v128, k: v128): v128 { return i32x4.min_u(x, i32x4.sub(x, k)); }

/** High 32 bits of four 32 x 32 bit products. */
// @ts-ignore: decorator
@inline export function multiplyHigh(a: v128, b: v128): v128 {
  return v128.shuffle<u32>(i64x2.extmul_low_i32x4_u(a, b), i64x2.extmul_high_i32x4_u(a, b), 1, 3, 5, 7);
}

/** x * w mod q in [0, 2q), for any x < 2^32 and shoup = floor(w * 2^32 / q) (Shoup; Harvey 2014, "Faster arithmetic for number-theoretic transforms"). */
// @ts-ignore: decorator
@inline export function multiplyShoup(x: v128, w: v128, shoup: v128, q: v128): v128 {
  return i32x4.sub(i32x4.mul(x, w), i32x4.mul(multiplyHigh(x, shoup), q));
}

/** Four sums x < q * 2^32 (low: lanes 0 and 1, high: lanes 2 and 3) as x / 2^32 mod q in [0, q) (Montgomery 1985). */
// @ts-ignore: decorator
@inline export function montgomeryReduce(low: v128, high: v128, q: v128, qInverse: v128): v128 {
  const m = i32x4.mul(v128.shuffle<u32>(low, high, 0, 2, 4, 6), qInverse);
  const difference = i32x4.sub(v128.shuffle<u32>(low, high, 1, 3, 5, 7), multiplyHigh(m, q));
  return i32x4.min_u(difference, i32x4.add(difference, q));
}

/** x = low 32 bits + high 32 bits * (2^32 mod q): below 2^32 * (2^32 mod q + 1), congruent to x. */
// @ts-ignore: decorator
@inline export function foldSum(x: v128, fold: v128): v128 {
  const high = v128.shuffle<u32>(x, x, 1, 3, 5, 7);
  return i64x2.add(v128.and(x, i64x2.splat(0xffffffff)), i64x2.extmul_low_i32x4_u(high, fold));
}
