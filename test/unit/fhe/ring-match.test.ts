import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FheError } from "../../../fhe/errors.ts";
import { DEGREE as N } from "@veilface/fhe";
import { inverse } from "../../../fhe/ring/modulus.ts";
import { RingKernel } from "../../../fhe/ring/ring-kernel.ts";
import { fromTiles, tileBytes, toTiles } from "../../../fhe/ring/tiles.ts";
import { largestResidues, primeAt, PRIMES, productAt, randomResidues, randomSource } from "./ring-oracle.ts";

// The first NTT prime above 2^29, where 2^32 mod q is largest relative to q.
const SMALLEST_PRIME = 536_903_681;
// Enough coefficients to meet both primes, every place in a tile and both ends of a polynomial, few enough for BigInt.
const SAMPLED = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 2047, 2048, 4079, 4080, 4095];

function assertProducts(
  primes: readonly number[],
  template: readonly Uint32Array[],
  probe: readonly Uint32Array[],
  products: Uint32Array,
): void {
  const component = primes.length * N;
  assert.equal(products.length, 3 * component);
  for (let prime = 0; prime < primes.length; prime++) {
    for (const coefficient of SAMPLED) {
      const index = prime * N + coefficient;
      const expected = productAt(template, probe, index, primeAt(primes, index));
      const got = [0, 1, 2].map((c) => BigInt(products[c * component + index]!));
      assert.deepEqual(got, expected, `prime ${prime}, coefficient ${coefficient}, ${template.length} pieces`);
    }
  }
}

/** What the kernel, which keeps probes times 2^32, turns into q - 1: the worst case of its own sums. */
function largestInMontgomeryForm(primes: readonly number[]): (residues: Uint32Array) => Uint32Array {
  const worst = primes.map((prime) => Number(BigInt(prime) - inverse(2n ** 32n, BigInt(prime))));
  return (residues) => residues.map((_, i) => worst[Math.floor(i / N) % primes.length]!);
}

function bytesOf(words: Uint32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}

const hasReason =
  (reason: string) =>
  (error: unknown): boolean =>
    error instanceof FheError && error.reason === reason;

for (const pieces of [1, 2, 7, 8, 9, 16, 17, 129, 513]) {
  test(`the largest residues in ${pieces} pieces give the products of exact arithmetic`, () => {
    for (const primes of [[PRIMES[0]], [PRIMES[1]], [SMALLEST_PRIME], PRIMES]) {
      const kernel = RingKernel.create(primes, { probes: 1, pieces });
      const largest = Array.from({ length: pieces }, () => largestResidues(primes, 2));
      const tiles = toTiles(largest);
      for (const probe of [largest, largest.map(largestInMontgomeryForm(primes))]) {
        kernel.loadProbes([toTiles(probe)]);
        const [products] = kernel.matchBlock([tiles]);
        assertProducts(primes, largest, probe, products!);
      }
    }
  });
}

test("every coefficient of the products of random residues is that of exact arithmetic", () => {
  const kernel = RingKernel.create(PRIMES, { probes: 1, pieces: 3 });
  const next = randomSource(1);
  const [template, probe] = [0, 1].map(() => Array.from({ length: 3 }, () => randomResidues(PRIMES, 2, next)));
  kernel.loadProbes([toTiles(probe!)]);
  const [products] = kernel.matchBlock([toTiles(template!)]);
  const component = PRIMES.length * N;
  for (let i = 0; i < component; i++) {
    const expected = productAt(template!, probe!, i, primeAt(PRIMES, i));
    const got = [products![i], products![component + i], products![2 * component + i]].map((x) => BigInt(x!));
    assert.deepEqual(got, expected, `coefficient ${i}`);
  }
});

test("several probes meet a block in one pass, whatever the chunks it comes in", () => {
  const property = fc.property(
    fc.integer({ min: 1, max: 40 }),
    fc.integer({ min: 1, max: 3 }),
    fc.constantFrom<readonly number[]>([PRIMES[0]], PRIMES),
    fc.integer({ min: 1, max: 2 ** 31 }),
    fc.integer({ min: 1, max: 2100 }),
    (pieces, probeCount, primes, seed, tilesPerChunk) => {
      const next = randomSource(seed);
      const ciphertexts = (): Uint32Array[] => Array.from({ length: pieces }, () => randomResidues(primes, 2, next));
      const template = ciphertexts();
      const probes = Array.from({ length: probeCount }, ciphertexts);
      const kernel = RingKernel.create(primes, { probes: 3, pieces: 3 * 40 });
      kernel.loadProbes(probes.map(toTiles));
      const products = kernel.matchBlock(chunksOf(bytesOf(toTiles(template)), tilesPerChunk * tileBytes(pieces)));
      assert.equal(products.length, probeCount);
      products.forEach((product, i) => {
        assertProducts(primes, template, probes[i]!, product);
      });
    },
  );
  fc.assert(property, { numRuns: 15 });
});

/** Chunks in one buffer that is reused, one byte off alignment, as a store may hand them out. */
function* chunksOf(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  const buffer = new Uint8Array(size + 1);
  for (let at = 0; at < bytes.length; at += size) {
    const length = Math.min(size, bytes.length - at);
    buffer.set(bytes.subarray(at, at + length), 1);
    yield buffer.subarray(1, 1 + length);
  }
}

test("tiles put coefficient 4 tile + i of component c of piece g at [prime][tile][g][c][i], and fromTiles takes them back", () => {
  const property = fc.property(
    fc.integer({ min: 1, max: 5 }),
    fc.constantFrom<readonly number[]>([PRIMES[0]], PRIMES),
    fc.integer({ min: 1, max: 2 ** 31 }),
    (pieces, primes, seed) => {
      const next = randomSource(seed);
      const ciphertexts = Array.from({ length: pieces }, () => randomResidues(primes, 2, next));
      const tiles = toTiles(ciphertexts);
      assert.deepEqual(fromTiles(tiles, pieces), ciphertexts);
      for (let i = 0; i < tiles.length; i += 97) {
        const [inTile, component, piece, tile] = [
          i % 4,
          Math.floor(i / 4) % 2,
          Math.floor(i / 8) % pieces,
          Math.floor(i / (8 * pieces)),
        ];
        assert.equal(tiles[i], ciphertexts[piece]![component * primes.length * N + tile * 4 + inTile]);
      }
    },
  );
  fc.assert(property, { numRuns: 20 });
});

test("probes that do not fit, blocks that are cut short or too long, and kernels without room are refused", () => {
  const kernel = RingKernel.create([PRIMES[0]], { probes: 1, pieces: 2 });
  const ciphertext = largestResidues([PRIMES[0]], 2);
  const tiles = toTiles([ciphertext, ciphertext]);
  assert.throws(() => kernel.matchBlock([tiles]), hasReason("LAYOUT_INVALID"));
  assert.throws(() => {
    kernel.loadProbes([]);
  }, hasReason("LAYOUT_INVALID"));
  assert.throws(() => {
    kernel.loadProbes([tiles, tiles]);
  }, hasReason("LAYOUT_INVALID"));
  assert.throws(() => {
    kernel.loadProbes([tiles.subarray(16)]);
  }, hasReason("LAYOUT_INVALID"));
  kernel.loadProbes([tiles]);
  for (const chunks of [
    [],
    [tiles.subarray(16)],
    [tiles.subarray(1)],
    [tiles, tiles.subarray(0, 16)],
    [bytesOf(tiles).subarray(0, 100)],
  ]) {
    assert.throws(() => kernel.matchBlock(chunks), hasReason("LAYOUT_INVALID"));
  }
  assert.equal(kernel.matchBlock([tiles]).length, 1);
  assert.throws(() => {
    RingKernel.create([PRIMES[0]]).loadProbes([tiles]);
  }, hasReason("LAYOUT_INVALID"));
  for (const room of [
    { probes: 0, pieces: 1 },
    { probes: 2, pieces: 1 },
    { probes: 1, pieces: 1.5 },
    { probes: 1, pieces: 2 ** 20 },
  ]) {
    assert.throws(() => RingKernel.create([PRIMES[0]], room), hasReason("PARAMETERS_INVALID"));
  }
});

test("ciphertexts of different or odd sizes do not make tiles", () => {
  const ciphertext = largestResidues(PRIMES, 2);
  for (const pieces of [
    [],
    [ciphertext, ciphertext.subarray(N)],
    [ciphertext.subarray(1)],
    [ciphertext.subarray(0, N)],
  ]) {
    assert.throws(() => toTiles(pieces), hasReason("LAYOUT_INVALID"));
  }
  for (const pieces of [0, -1, 1.5, 3]) assert.throws(() => fromTiles(ciphertext, pieces), hasReason("LAYOUT_INVALID"));
});
