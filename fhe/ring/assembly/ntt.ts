// The negacyclic NTT in SEAL's order, lazy as in Harvey 2014: forward values stay below 4q, inverse values below 2q; 4q
// < 2^32.
import { N, POLYNOMIAL_BYTES, forwardRoots, inverseRoots, multiplyShoup, nInverse, nInverseShoup, prime, reduceOnce } from "./modulus";

// @ts-ignore: decorator
@inline function differenceOf(u: v128, v: v128, twoQ: v128): v128 { return i32x4.add(i32x4.sub(u, v), twoQ); }

function forwardStage(polynomial: usize, roots: usize, groups: usize, span: usize, q: v128, twoQ: v128): void {
  for (let i: usize = 0; i < groups; i++) {
    const root = roots + ((groups + i) << 2);
    const w = v128.load32_splat(root), shoup = v128.load32_splat(root, POLYNOMIAL_BYTES);
    const start = polynomial + ((2 * i * span) << 2);
    for (let at = start, end = start + (span << 2); at < end; at += 16) {
      const u = reduceOnce(v128.load(at), twoQ);
      const v = multiplyShoup(v128.load(at + (span << 2)), w, shoup, q);
      v128.store(at, i32x4.add(u, v));
      v128.store(at + (span << 2), differenceOf(u, v, twoQ));
    }
  }
}

/**
 * The last two forward stages (spans 2 and 1), eight coefficients at a time in registers, and the final reduction below
 * q.
 */
function forwardTail(polynomial: usize, roots: usize, q: v128, twoQ: v128): void {
  const pairRoots = roots + POLYNOMIAL_BYTES / 4, singleRoots = roots + POLYNOMIAL_BYTES / 2;
  for (let i: usize = 0; i < POLYNOMIAL_BYTES; i += 32) {
    const a = v128.load(polynomial + i), b = v128.load(polynomial + i, 16);
    const w2 = v128.load64_splat(pairRoots + (i >> 2)), s2 = v128.load64_splat(pairRoots + (i >> 2), POLYNOMIAL_BYTES);
    let u = reduceOnce(v128.shuffle<u32>(a, b, 0, 1, 4, 5), twoQ);
    let v = multiplyShoup(v128.shuffle<u32>(a, b, 2, 3, 6, 7), v128.shuffle<u32>(w2, w2, 0, 0, 1, 1), v128.shuffle<u32>(s2, s2, 0, 0, 1, 1), q);
    const sum = i32x4.add(u, v), difference = differenceOf(u, v, twoQ);
    u = reduceOnce(v128.shuffle<u32>(sum, difference, 0, 4, 2, 6), twoQ);
    v = multiplyShoup(v128.shuffle<u32>(sum, difference, 1, 5, 3, 7), v128.load(singleRoots + (i >> 1)), v128.load(singleRoots + (i >> 1), POLYNOMIAL_BYTES), q);
    const even = reduceOnce(reduceOnce(i32x4.add(u, v), twoQ), q), odd = reduceOnce(reduceOnce(differenceOf(u, v, twoQ), twoQ), q);
    v128.store(polynomial + i, v128.shuffle<u32>(even, odd, 0, 4, 1, 5));
    v128.store(polynomial + i, v128.shuffle<u32>(even, odd, 2, 6, 3, 7), 16);
  }
}

/** In place, coefficients below 4q -> values below q. */
export function forwardNtt(polynomial: usize, modulus: usize): void {
  const q = prime(modulus), twoQ = i32x4.add(q, q), roots = forwardRoots(modulus);
  for (let groups: usize = 1, span: usize = N / 2; span >= 4; groups <<= 1, span >>= 1) forwardStage(polynomial, roots, groups, span, q, twoQ);
  forwardTail(polynomial, roots, q, twoQ);
}

/** The first two inverse stages (spans 1 and 2), eight values at a time in registers. */
function inverseHead(polynomial: usize, roots: usize, q: v128, twoQ: v128): void {
  const pairRoots = roots + POLYNOMIAL_BYTES / 4, singleRoots = roots + POLYNOMIAL_BYTES / 2;
  for (let i: usize = 0; i < POLYNOMIAL_BYTES; i += 32) {
    const a = v128.load(polynomial + i), b = v128.load(polynomial + i, 16);
    let u = v128.shuffle<u32>(a, b, 0, 2, 4, 6), v = v128.shuffle<u32>(a, b, 1, 3, 5, 7);
    const sum = reduceOnce(i32x4.add(u, v), twoQ);
    const product = multiplyShoup(differenceOf(u, v, twoQ), v128.load(singleRoots + (i >> 1)), v128.load(singleRoots + (i >> 1), POLYNOMIAL_BYTES), q);
    // sum holds coefficients 0 2 4 6 of the eight, product 1 3 5 7: pair (0 1 | 4 5) with (2 3 | 6 7).
    u = v128.shuffle<u32>(sum, product, 0, 4, 2, 6);
    v = v128.shuffle<u32>(sum, product, 1, 5, 3, 7);
    const w2 = v128.load64_splat(pairRoots + (i >> 2)), s2 = v128.load64_splat(pairRoots + (i >> 2), POLYNOMIAL_BYTES);
    const low = reduceOnce(i32x4.add(u, v), twoQ);
    const high = multiplyShoup(differenceOf(u, v, twoQ), v128.shuffle<u32>(w2, w2, 0, 0, 1, 1), v128.shuffle<u32>(s2, s2, 0, 0, 1, 1), q);
    v128.store(polynomial + i, v128.shuffle<u32>(low, high, 0, 1, 4, 5));
    v128.store(polynomial + i, v128.shuffle<u32>(low, high, 2, 3, 6, 7), 16);
  }
}

function inverseStage(polynomial: usize, roots: usize, groups: usize, span: usize, q: v128, twoQ: v128): void {
  for (let i: usize = 0; i < groups; i++) {
    const root = roots + ((groups + i) << 2);
    const w = v128.load32_splat(root), shoup = v128.load32_splat(root, POLYNOMIAL_BYTES);
    const start = polynomial + ((2 * i * span) << 2);
    for (let at = start, end = start + (span << 2); at < end; at += 16) {
      const u = v128.load(at), v = v128.load(at + (span << 2));
      v128.store(at, reduceOnce(i32x4.add(u, v), twoQ));
      v128.store(at + (span << 2), multiplyShoup(differenceOf(u, v, twoQ), w, shoup, q));
    }
  }
}

/** In place, values below 2q -> coefficients below q. */
export function inverseNtt(polynomial: usize, modulus: usize): void {
  const q = prime(modulus), twoQ = i32x4.add(q, q), roots = inverseRoots(modulus);
  inverseHead(polynomial, roots, q, twoQ);
  for (let groups: usize = N / 8, span: usize = 4; span < N; groups >>= 1, span <<= 1) inverseStage(polynomial, roots, groups, span, q, twoQ);
  const w = nInverse(modulus), shoup = nInverseShoup(modulus);
  for (let at = polynomial, end = polynomial + POLYNOMIAL_BYTES; at < end; at += 16) v128.store(at, reduceOnce(multiplyShoup(v128.load(at), w, shoup, q), q));
}
