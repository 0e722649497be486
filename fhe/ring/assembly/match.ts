// Three-component products of tiles with a probe, summed over the pieces. Layout of both: [tile][piece][component 0 |
// 1][TILE].
import { fold, foldHigh, foldLow, foldShoup, highWords, lowMask, montgomery, montgomeryReduce, multiplyShoup, prime, reduceOnce, subtract } from "./modulus";

/** Coefficients in a tile: one vector, so that a scan reads both the tiles and the probe once, in order. */
export const TILE: usize = 4;
const PIECE: usize = 32;
// A folded sum takes 16 more products of residues: 16 (q-1)^2 + 2^32 (2^32 mod q + 1) <= 2^64 for every q < 2^30. The
// products of sums, (t0 + t1)(p0 + p1) <= 4 (q-1)^2, are folded every 4 pieces and the others every 16.
const BATCH_BYTES: usize = 4 * PIECE;
const BATCHES_MASK: u32 = 3;

/** In place: residues below q -> residues * 2^32 mod q, which the Montgomery reduction of the sums takes out again. */
export function toMontgomery(residues: usize, bytes: usize, modulus: usize): void {
  const q = prime(modulus), w = fold(modulus), shoup = foldShoup(modulus);
  for (let at = residues, end = residues + bytes; at < end; at += 16) v128.store(at, reduceOnce(multiplyShoup(v128.load(at), w, shoup, q), q));
}

/**
 * count tiles of one prime against the same tiles of a probe in Montgomery form. Sums below q go to
 * out[component][coefficient], components componentBytes apart. The middle one is Karatsuba's: (t0 + t1)(p0 + p1) - t0
 * p0 - t1 p1, three products for four.
 */
export function multiplyTiles(tiles: usize, probe: usize, count: usize, pieces: usize, out: usize, componentBytes: usize, modulus: usize): void {
  const q = prime(modulus), qInverse = montgomery(modulus), f = fold(modulus), mask = lowMask(modulus), tileBytes = pieces * PIECE;
  let t = tiles, p = probe, to = out;
  for (let tile: usize = 0; tile < count; tile++, to += 16) {
    const end = t + tileBytes;
    let low0 = i64x2.splat(0), high0 = low0, low1 = low0, high1 = low0, low2 = low0, high2 = low0, words = low0, batches: u32 = 0;
    while (t < end) {
      const batchEnd = min(end, t + BATCH_BYTES);
      do {
        const t0 = v128.load(t), t1 = v128.load(t, 16), p0 = v128.load(p), p1 = v128.load(p, 16);
        const ts = i32x4.add(t0, t1), ps = i32x4.add(p0, p1);
        low0 = i64x2.add(low0, i64x2.extmul_low_i32x4_u(t0, p0));
        high0 = i64x2.add(high0, i64x2.extmul_high_i32x4_u(t0, p0));
        low1 = i64x2.add(low1, i64x2.extmul_low_i32x4_u(ts, ps));
        high1 = i64x2.add(high1, i64x2.extmul_high_i32x4_u(ts, ps));
        low2 = i64x2.add(low2, i64x2.extmul_low_i32x4_u(t1, p1));
        high2 = i64x2.add(high2, i64x2.extmul_high_i32x4_u(t1, p1));
        t += PIECE;
        p += PIECE;
      } while (t < batchEnd);
      words = highWords(low1, high1);
      low1 = foldLow(low1, words, f, mask); high1 = foldHigh(high1, words, f, mask);
      // At the end in any case: the reduction needs folded sums.
      if ((++batches & BATCHES_MASK) === 0 || t >= end) {
        words = highWords(low0, high0);
        low0 = foldLow(low0, words, f, mask); high0 = foldHigh(high0, words, f, mask);
        words = highWords(low2, high2);
        low2 = foldLow(low2, words, f, mask); high2 = foldHigh(high2, words, f, mask);
      }
    }
    const c0 = montgomeryReduce(low0, high0, q, qInverse), c2 = montgomeryReduce(low2, high2, q, qInverse);
    v128.store(to, c0);
    v128.store(to + componentBytes, subtract(subtract(montgomeryReduce(low1, high1, q, qInverse), c0, q), c2, q));
    v128.store(to + 2 * componentBytes, c2);
  }
}
