// Plain BigInt arithmetic that the kernel is held to, and generators of residues.
import { DEGREE as N } from "@veilface/fhe";

/** The data primes SEAL picks for bits 30 + 30 + 20 at N = 4096, in its order. */
export const PRIMES = [1_073_668_097, 1_073_692_673] as const;

/** The product of two polynomials mod X^N + 1, by the schoolbook, skipping zeros. */
export function negacyclicProduct(a: Float64Array, b: Float64Array): bigint[] {
  const product = new Array<bigint>(N).fill(0n);
  const nonZero = Array.from(b.entries()).filter(([, value]) => value !== 0);
  a.forEach((x, i) => {
    if (x === 0) return;
    for (const [j, y] of nonZero) {
      const term = BigInt(x) * BigInt(y);
      if (i + j < N) product[i + j]! += term;
      else product[i + j - N]! -= term;
    }
  });
  return product;
}

/** A small deterministic generator (xorshift32): whole arrays from one seed that fast-check can shrink and print. */
export function randomSource(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** Whole components of uniform residues. */
export function randomResidues(
  primes: readonly number[],
  components: number,
  next: () => number,
): Uint32Array<ArrayBuffer> {
  return residuesFrom(primes, components, (prime) => next() % prime);
}

/** Every residue the largest there is, q - 1. */
export function largestResidues(primes: readonly number[], components: number): Uint32Array<ArrayBuffer> {
  return residuesFrom(primes, components, (prime) => prime - 1);
}

function residuesFrom(
  primes: readonly number[],
  components: number,
  residue: (prime: number) => number,
): Uint32Array<ArrayBuffer> {
  const residues = new Uint32Array(components * primes.length * N);
  for (let i = 0; i < residues.length; i++) residues[i] = residue(primes[Math.floor(i / N) % primes.length]!);
  return residues;
}

/** The prime of a residue by its place in [component][prime][coefficient]. */
export function primeAt(primes: readonly number[], index: number): bigint {
  return BigInt(primes[Math.floor(index / N) % primes.length]!);
}

/**
 * The three-component product summed over the pieces, at one coefficient of one component; index as in
 * [prime][coefficient].
 */
export function productAt(
  template: readonly Uint32Array[],
  probe: readonly Uint32Array[],
  index: number,
  prime: bigint,
): [bigint, bigint, bigint] {
  const sums: [bigint, bigint, bigint] = [0n, 0n, 0n];
  template.forEach((t, piece) => {
    const p = probe[piece]!;
    const half = t.length / 2;
    const [t0, t1, p0, p1] = [t[index]!, t[index + half]!, p[index]!, p[index + half]!].map(BigInt) as [
      bigint,
      bigint,
      bigint,
      bigint,
    ];
    sums[0] += t0 * p0;
    sums[1] += t0 * p1 + t1 * p0;
    sums[2] += t1 * p1;
  });
  return [sums[0] % prime, sums[1] % prime, sums[2] % prime];
}
