import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FheError } from "../../../fhe/errors.ts";
import { DEGREE as N } from "@veilface/fhe";
import { PACKED_POLYNOMIAL_BYTES, RingKernel } from "../../../fhe/ring/ring-kernel.ts";
import { largestResidues, negacyclicProduct, primeAt, PRIMES, randomResidues, randomSource } from "./ring-oracle.ts";

const kernels = [RingKernel.create([PRIMES[0]]), RingKernel.create([PRIMES[1]]), RingKernel.create(PRIMES)] as const;
const anyKernel = fc.constantFrom(...kernels);
const anySeed = fc.integer({ min: 1, max: 2 ** 31 });
const hasReason =
  (reason: string) =>
  (error: unknown): boolean =>
    error instanceof FheError && error.reason === reason;

/** The largest |c| the kernel takes: below 2^51 and below Q/2. */
function limitOf(kernel: RingKernel): number {
  return kernel.primes.length === 1 ? (kernel.primes[0]! - 1) / 2 : 2 ** 51 - 1;
}

function randomCoefficients(next: () => number, limit: number): Float64Array {
  return Float64Array.from({ length: N }, () => Math.trunc((next() / 2 ** 31 - 1) * limit));
}

function sparse(terms: readonly (readonly [number, number])[]): Float64Array {
  const coefficients = new Float64Array(N);
  for (const [index, value] of terms) coefficients[index]! += value;
  return coefficients;
}

/** Coefficientwise product of NTT forms, by BigInt. */
function pointwise(kernel: RingKernel, a: Uint32Array, b: Uint32Array): Uint32Array {
  return a.map((x, i) => Number((BigInt(x) * BigInt(b[i]!)) % primeAt(kernel.primes, i)));
}

test("decoding gives back what was encoded, up to the largest coefficients", () => {
  fc.assert(
    fc.property(anyKernel, anySeed, (kernel, seed) => {
      const limit = limitOf(kernel);
      const coefficients = randomCoefficients(randomSource(seed), limit);
      coefficients.set([
        limit,
        -limit,
        limit - 1,
        1 - limit,
        0,
        1,
        -1,
        kernel.primes[0]! >> 1,
        -(kernel.primes[0]! >> 1),
      ]);
      assert.deepEqual(
        kernel.decode(kernel.encode(coefficients)).map((c) => c + 0),
        coefficients.map((c) => c + 0),
      );
    }),
    { numRuns: 30 },
  );
});

test("multiples of the primes and their neighbours survive, where a quotient in doubles is at its least exact", () => {
  for (const prime of PRIMES) {
    const next = randomSource(prime);
    for (const offset of [-1, 0, 1]) {
      const values = Float64Array.from({ length: N }, () => prime * ((next() >>> 11) - 2 ** 20) + offset);
      const encoded = kernels[2].encode(values);
      kernels[2].checkRange(encoded);
      assert.deepEqual(
        kernels[2].decode(encoded).map((c) => c + 0),
        values.map((c) => c + 0),
      );
    }
  }
});

test("values of any size below Q/2 are decoded as the nearest doubles", () => {
  const kernel = kernels[2];
  const Q = BigInt(PRIMES[0]) * BigInt(PRIMES[1]);
  const sources = [(Q - 1n) / 2n, -(Q - 1n) / 2n, (Q - 1n) / 2n - 12_345n, 2n ** 52n + 1n, -(2n ** 55n) - 7n];
  for (const value of sources) {
    // A constant polynomial's NTT form is that constant everywhere.
    const residues = new Uint32Array(2 * N);
    PRIMES.forEach((prime, i) =>
      residues.fill(Number(((value % BigInt(prime)) + BigInt(prime)) % BigInt(prime)), i * N, (i + 1) * N),
    );
    const decoded = kernel.decode(residues);
    assert.equal(decoded[0], Number(value));
    assert.ok(decoded.subarray(1).every((c) => c === 0));
  }
});

test("the pointwise product of NTT forms is the negacyclic product of the polynomials", () => {
  const anyTerm = fc.tuple(fc.integer({ min: 0, max: N - 1 }), fc.integer({ min: -1000, max: 1000 }));
  const anySparse = fc.array(anyTerm, { maxLength: 30 }).map(sparse);
  fc.assert(
    fc.property(anyKernel, anySparse, anySeed, (kernel, a, seed) => {
      const dense = randomCoefficients(randomSource(seed), 15);
      const product = kernel.decode(pointwise(kernel, kernel.encode(a), kernel.encode(dense)));
      assert.deepEqual(Array.from(product, BigInt), negacyclicProduct(a, dense));
    }),
    { numRuns: 15 },
  );
});

test("the pointwise product of two dense polynomials is their negacyclic product", () => {
  const next = randomSource(7);
  const [a, b] = [randomCoefficients(next, 300), randomCoefficients(next, 300)];
  const product = kernels[2].decode(pointwise(kernels[2], kernels[2].encode(a), kernels[2].encode(b)));
  // 4096^2 BigInt products take seconds: check a spread of coefficients by definition instead.
  for (const k of [0, 1, 2, 1000, 2047, 2048, 4094, 4095]) {
    let expected = 0;
    for (let i = 0; i < N; i++) expected += a[i]! * (i <= k ? b[k - i]! : -b[N + k - i]!);
    assert.equal(product[k], expected);
  }
});

test("coefficients that are too many, fractional, infinite or too large are refused", () => {
  for (const kernel of kernels) {
    const limit = limitOf(kernel);
    assert.throws(() => kernel.encode(new Float64Array(N - 1)), hasReason("LAYOUT_INVALID"));
    for (const bad of [0.5, Number.NaN, Infinity])
      assert.throws(() => kernel.encode(sparse([[4095, bad]])), hasReason("EMBEDDING_INVALID"));
    for (const bad of [limit + 1, -limit - 1])
      assert.throws(() => kernel.encode(sparse([[17, bad]])), hasReason("SCALE_OVERFLOW"));
  }
});

test("residues that are not one plaintext below the primes are not decoded", () => {
  const kernel = kernels[2];
  assert.throws(() => kernel.decode(new Uint32Array(N)), hasReason("CIPHERTEXT_MALFORMED"));
  assert.throws(() => kernel.decode(new Uint32Array(4 * N)), hasReason("CIPHERTEXT_MALFORMED"));
  const residues = new Uint32Array(2 * N);
  residues[N - 1] = PRIMES[0];
  assert.throws(() => kernel.decode(residues), hasReason("CIPHERTEXT_MALFORMED"));
});

/** The documented bit order, one bit at a time. */
function packByBits(residues: Uint32Array): Uint8Array {
  const packed = new Uint8Array((residues.length / N) * PACKED_POLYNOMIAL_BYTES);
  residues.forEach((residue, i) => {
    const first = Math.floor(i / N) * PACKED_POLYNOMIAL_BYTES * 8 + (i % N) * 30;
    for (let bit = 0; bit < 30; bit++)
      if ((residue >>> bit) & 1) packed[(first + bit) >> 3]! |= 1 << ((first + bit) & 7);
  });
  return packed;
}

test("packing puts bit b of residue i at bit 30 i + b, and unpacking takes it back", () => {
  assert.equal(PACKED_POLYNOMIAL_BYTES, 15_360);
  fc.assert(
    fc.property(anyKernel, fc.integer({ min: 1, max: 3 }), anySeed, (kernel, components, seed) => {
      const residues = randomResidues(kernel.primes, components, randomSource(seed));
      const packed = kernel.pack(residues);
      assert.deepEqual(packed, packByBits(residues));
      assert.deepEqual(kernel.unpack(packed), residues);
    }),
    { numRuns: 20 },
  );
});

test("the largest residues survive packing, and so does a single polynomial of two primes", () => {
  for (const kernel of kernels) {
    const residues = largestResidues(kernel.primes, 3);
    assert.deepEqual(kernel.unpack(kernel.pack(residues)), residues);
    assert.deepEqual(kernel.unpack(kernel.pack(residues.subarray(0, N))), residues.subarray(0, N));
  }
});

test("a residue equal to its prime is refused wherever it stands", () => {
  fc.assert(
    fc.property(
      anyKernel,
      fc.integer({ min: 1, max: 3 }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (kernel, components, place) => {
        const residues = largestResidues(kernel.primes, components);
        const index = Math.floor(place * residues.length);
        kernel.checkRange(residues);
        residues[index]! += 1;
        assert.throws(() => {
          kernel.checkRange(residues);
        }, hasReason("CIPHERTEXT_MALFORMED"));
        assert.throws(() => kernel.pack(residues), hasReason("CIPHERTEXT_MALFORMED"));
        assert.throws(() => kernel.unpack(packByBits(residues)), hasReason("CIPHERTEXT_MALFORMED"));
      },
    ),
    { numRuns: 20 },
  );
  const high = new Uint32Array(N).fill(2 ** 32 - 1, 5, 6);
  assert.throws(() => {
    kernels[0].checkRange(high);
  }, hasReason("CIPHERTEXT_MALFORMED"));
});

test("lengths that are not whole polynomials are refused", () => {
  for (const length of [0, 1, PACKED_POLYNOMIAL_BYTES - 1, PACKED_POLYNOMIAL_BYTES + 1]) {
    assert.throws(() => kernels[0].unpack(new Uint8Array(length)), hasReason("CIPHERTEXT_MALFORMED"));
  }
  for (const length of [0, 1, N - 1, N + 4]) {
    assert.throws(() => kernels[0].pack(new Uint32Array(length)), hasReason("CIPHERTEXT_MALFORMED"));
    assert.throws(() => {
      kernels[0].checkRange(new Uint32Array(length));
    }, hasReason("CIPHERTEXT_MALFORMED"));
  }
  assert.throws(() => kernels[2].multiplyByMonomial(new Uint32Array(N), 0), hasReason("CIPHERTEXT_MALFORMED"));
});

function shifted(coefficients: Float64Array, exponent: number): Float64Array {
  const result = new Float64Array(N);
  coefficients.forEach((c, i) => {
    const place = (i + exponent) % (2 * N);
    result[place % N] = place < N ? c : -c;
  });
  return result.map((c) => c + 0);
}

test("multiplying by X^e moves coefficients up by e, with a change of sign past the end", () => {
  const anyExponent = fc.oneof(
    fc.constantFrom(0, 1, 128, N - 1, N, N + 1, 2 * N - 1),
    fc.integer({ min: 0, max: 2 * N - 1 }),
  );
  fc.assert(
    fc.property(anyKernel, anyExponent, anySeed, (kernel, exponent, seed) => {
      const coefficients = randomCoefficients(randomSource(seed), limitOf(kernel));
      const encoded = kernel.encode(coefficients);
      const twoComponents = new Uint32Array(2 * encoded.length);
      twoComponents.set(encoded);
      twoComponents.set(encoded, encoded.length);
      const product = kernel.multiplyByMonomial(twoComponents, exponent);
      for (const component of [product.subarray(0, encoded.length), product.subarray(encoded.length)]) {
        assert.deepEqual(
          kernel.decode(component).map((c) => c + 0),
          shifted(coefficients, exponent),
        );
      }
    }),
    { numRuns: 30 },
  );
  for (const exponent of [-1, 0.5, 2 * N, Number.NaN])
    assert.throws(() => kernels[0].multiplyByMonomial(new Uint32Array(N), exponent), hasReason("LAYOUT_INVALID"));
});

test("a sum is coefficientwise modulo each prime, over many parts, as words or as unaligned bytes", () => {
  fc.assert(
    fc.property(
      anyKernel,
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 1, max: 40 }),
      anySeed,
      (kernel, components, count, seed) => {
        const next = randomSource(seed);
        const parts = Array.from({ length: count }, (_, i) =>
          i % 4 === 3 ? largestResidues(kernel.primes, components) : randomResidues(kernel.primes, components, next),
        );
        const expected = Array.from(parts[0]!, (_, i) =>
          Number(parts.reduce((sum, part) => sum + BigInt(part[i]!), 0n) % primeAt(kernel.primes, i)),
        );
        assert.deepEqual(Array.from(kernel.sum(parts)), expected);
        assert.deepEqual(Array.from(kernel.sum(parts.map(unaligned))), expected);
      },
    ),
    { numRuns: 5 },
  );
});

function unaligned(words: Uint32Array): Uint8Array {
  const bytes = new Uint8Array(words.byteLength + 1);
  bytes.set(new Uint8Array(words.buffer, words.byteOffset, words.byteLength), 1);
  return bytes.subarray(1);
}

test("sums of nothing, of unequal parts and of more than three components are refused", () => {
  const kernel = kernels[2];
  assert.throws(() => kernel.sum([]), hasReason("LAYOUT_INVALID"));
  for (const parts of [
    [new Uint32Array(2 * N), new Uint32Array(4 * N)],
    [new Uint32Array(0)],
    [new Uint32Array(N)],
    [new Uint32Array(8 * N)],
  ]) {
    assert.throws(() => kernel.sum(parts), hasReason("CIPHERTEXT_MALFORMED"));
  }
});

test("moduli that are not NTT primes between 2^29 and 2^30 are refused", () => {
  const [first, second] = PRIMES;
  const composite = 2 ** 30 - 2 * N + 1;
  for (const primes of [
    [],
    [first, first],
    [first, second, 1_073_651_713],
    [composite],
    [first + 2],
    [12_289],
    [2 ** 31 - 1],
    [first + 0.5],
  ]) {
    assert.throws(() => RingKernel.create(primes), hasReason("PARAMETERS_INVALID"));
  }
});
