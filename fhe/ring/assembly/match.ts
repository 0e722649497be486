// Three-component products of tiles with a probe, summed over the pieces. Layout of both: [tile][piece][component 0 | 1][TILE].
import { fold, foldShoup, foldSum, montgomery, montgomeryReduce, multiplyShoup, prime, reduceOnce } from "./modulus";

/** Coefficients in a tile. */
export const TILE: usize = 16;
const HALF: usize = TILE << 2;
const PIECE: usize = HALF << 1;
// Middle terms take two products a piece, and at most 16 products of 60 bits fit between folds.
const PIECES_PER_FOLD: usize = 8;

/** In place: residues below q -> residues * 2^32 mod q, which the Montgomery reduction of the sums takes out again. */
export function toMontgomery(residues: usize, bytes: usize, modulus: usize): void {
  const q = prime(modulus), w = fold(modulus), shoup = foldShoup(modulus);
  for (let at = residues, end = residues + bytes; at < end; at += 16) v128.store(at, reduceOnce(multiplyShoup(v128.load(at), w, shoup, q), q));
}

/**
 * count tiles of one prime against the same tiles of a probe in Montgomery form. Sums below q go to out[component][coefficient],
 * components componentBytes apart.
 */
export function multiplyTiles(tiles: usize, probe: usize, count: usize, pieces: usize, out: usize, componentBytes: usize, modulus: usize): void {
  const q = prime(modulus), qInverse = montgomery(modulus), f = fold(modulus), tileBytes = pieces * PIECE;
  for (let tile: usize = 0; tile < count; tile++) {
    for (let i: usize = 0; i < HALF; i += 16) {
      let t = tiles + tile * tileBytes + i, p = probe + tile * tileBytes + i;
      const end = t + tileBytes;
      let low0 = i64x2.splat(0), high0 = low0, low1 = low0, high1 = low0, low2 = low0, high2 = low0;
      while (t < end) {
        const batchEnd = min(end, t + PIECES_PER_FOLD * PIECE);
        do {
          const t0 = v128.load(t), t1 = v128.load(t, HALF), p0 = v128.load(p), p1 = v128.load(p, HALF);
          low0 = i64x2.add(low0, i64x2.extmul_low_i32x4_u(t0, p0));
          high0 = i64x2.add(high0, i64x2.extmul_high_i32x4_u(t0, p0));
          low1 = i64x2.add(i64x2.add(low1, i64x2.extmul_low_i32x4_u(t0, p1)), i64x2.extmul_low_i32x4_u(t1, p0));
          high1 = i64x2.add(i64x2.add(high1, i64x2.extmul_high_i32x4_u(t0, p1)), i64x2.extmul_high_i32x4_u(t1, p0));
          low2 = i64x2.add(low2, i64x2.extmul_low_i32x4_u(t1, p1));
          high2 = i64x2.add(high2, i64x2.extmul_high_i32x4_u(t1, p1));
          t += PIECE;
          p += PIECE;
        } while (t < batchEnd);
        low0 = foldSum(low0, f); high0 = foldSum(high0, f);
        low1 = foldSum(low1, f); high1 = foldSum(high1, f);
        low2 = foldSum(low2, f); high2 = foldSum(high2, f);
      }
      const to = out + tile * HALF + i;
      v128.store(to, montgomeryReduce(low0, high0, q, qInverse));
      v128.store(to + componentBytes, montgomeryReduce(low1, high1, q, qInverse));
      v128.store(to + 2 * componentBytes, montgomeryReduce(low2, high2, q, qInverse));
    }
  }
}
