import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FheError, loadPublicSeal, maxDistance, modulusBits, readEncryptionParameters, withScale } from "@veilface/fhe";
import { distanceScale, droppablePrimes, freshCiphertextBytes } from "../../../fhe/pairwise/parameters.ts";
import type { EncryptionParameters, PairwiseParameters } from "../../../fhe/pairwise/parameters.ts";
import { sealParameters } from "../../support/hostile/pairwise-bad-uploads.ts";
import { COMPRESSIONS, SMALL, TUTORIAL, TensealMaker } from "../../support/independent/tenseal-maker.ts";

// HomomorphicEncryption.org security standard, table 1: bits of the modulus at 128 bits of classical security, ternary
// secret.
const MOST_BITS: Readonly<Record<number, number>> = {
  1024: 27,
  2048: 54,
  4096: 109,
  8192: 218,
  16384: 438,
  32768: 881,
};
const DEGREES = Object.keys(MOST_BITS).map(Number);
const HEADER_BYTES = 16;
/**
 * What a header has beside its magic: its own length, major version, compression and the object's length. Minor version
 * and reserved bytes say nothing.
 */
const HEADER_SENSE = [0, 1, 2, 3, 5, 8, 9, 10, 11, 12, 13, 14, 15];
// Where uncompressed parameters have the first of their moduli, each a header and a u64.
const MODULI_AT = HEADER_BYTES + 1 + 8 + 8;
const MODULUS_BYTES = HEADER_BYTES + 8;

const seal = await loadPublicSeal();
const read = (data: Uint8Array): EncryptionParameters => readEncryptionParameters(seal, data);
const ofPrimes = (degree: number, primes: readonly bigint[]): EncryptionParameters =>
  read(sealParameters({ degree, primes }));
const refused =
  (reason: string, says = /./) =>
  (error: unknown): boolean =>
    error instanceof FheError && error.reason === reason && says.test(error.message);

function assertInvalid(data: Uint8Array, says?: RegExp, message?: string): void {
  assert.throws(() => read(data), refused("PARAMETERS_INVALID", says), message);
}

/** The same bytes with their length in the header. */
function honest(bytes: Uint8Array): Buffer {
  const copy = Buffer.from(bytes);
  if (copy.length >= HEADER_BYTES) copy.writeBigUInt64LE(BigInt(copy.length), 8);
  return copy;
}

/** Numbers in the place of primes, of so many bits: readers leave it to SEAL whether they are prime. */
const moduli = (minLength: number, maxLength: number) =>
  fc.array(
    fc.integer({ min: 8, max: 60 }).chain((bits) => fc.bigInt(1n << BigInt(bits - 1), (1n << BigInt(bits)) - 1n)),
    { minLength, maxLength },
  );
const bitsOf = (value: bigint): number => value.toString(2).length;
const product = (values: readonly bigint[]): bigint => values.reduce((all, value) => all * value, 1n);

for (const shape of [SMALL, TUTORIAL, { degree: 16384, primeBits: [60, 40, 40, 60], scale: 2 ** 40 }]) {
  test(`SEAL's own parameters of ring degree ${shape.degree} are read as what they hold, in all three compressions`, async () => {
    using maker = await TensealMaker.create(shape);
    for (const compression of COMPRESSIONS) {
      const parameters = read(maker.encryptionParameters(compression));
      assert.deepEqual(
        [parameters.degree, parameters.primes, modulusBits(parameters)],
        [shape.degree, maker.primes, shape.primeBits],
      );
      assert.deepEqual(Buffer.from(parameters.encoded), maker.encryptionParameters("none"));
      assert.equal(freshCiphertextBytes(parameters), maker.ciphertext([1], { compression: "none" }).length);
    }
  });
}

test("the ring degree is a power of two in [1024, 32768]", () => {
  const degrees = [
    0,
    1,
    3,
    1000,
    1023,
    1025,
    4095,
    24576,
    32767,
    2 ** 40,
    2 ** 53,
    ...Array.from({ length: 24 }, (_, k) => 2 ** k),
  ];
  for (const degree of degrees) {
    const data = sealParameters({ degree, primes: [5n, 7n, 11n] });
    if (degree in MOST_BITS) assert.equal(read(data).degree, degree);
    else assertInvalid(data, degree > 2 ** 50 ? /./ : /1024.*32768/, `${degree}`);
  }
});

test("three primes are the fewest", () => {
  const primes = [101n, 103n, 107n, 109n];
  for (const count of [0, 1, 2])
    assertInvalid(sealParameters({ degree: 4096, primes: primes.slice(0, count) }), /at least 3/);
  for (const count of [3, 4]) assert.deepEqual(ofPrimes(4096, primes.slice(0, count)).primes, primes.slice(0, count));
});

test("each prime has 2 to 60 bits, wherever it stands", () => {
  const [smallest, largest] = [2n, (1n << 60n) - 1n];
  for (const place of [0, 1, 2]) {
    const withPrime = (prime: bigint): Buffer =>
      sealParameters({ degree: 8192, primes: [101n, 103n, 107n].with(place, prime) });
    for (const good of [smallest, largest]) assert.equal(read(withPrime(good)).primes[place], good);
    for (const bad of [0n, 1n, 1n << 60n, (1n << 61n) - 1n, 1n << 63n, (1n << 64n) - 1n])
      assertInvalid(withPrime(bad), new RegExp(`prime number ${place + 1} is out of range`));
  }
});

test("the primes have as many bits in sum as SEAL's table for 128 bits of security allows, and no more", () => {
  const cases = fc.record({ degree: fc.constantFrom(...DEGREES), primes: moduli(3, 16) });
  fc.assert(
    fc.property(cases, ({ degree, primes }) => {
      const secure = bitsOf(product(primes)) <= MOST_BITS[degree]!;
      const small = 113 + 16 * (primes.length - 1) * degree <= 1_900_000;
      if (secure && small) assert.deepEqual(ofPrimes(degree, primes).primes, primes);
      else assertInvalid(sealParameters({ degree, primes }), secure ? /fresh ciphertext/ : /128 bits of security/);
    }),
    { numRuns: 1000 },
  );
});

for (const [degree, sizes] of [
  [1024, [9, 9, 9]],
  [2048, [18, 18, 18]],
  [4096, [36, 36, 37]],
  [8192, [55, 54, 54, 55]],
  [16384, [55, 55, 55, 55, 55, 55, 54, 54]],
] as const) {
  test(`at ring degree ${degree} a modulus just below 2^${MOST_BITS[degree]!} is taken and one just above is not`, () => {
    const sized = (offset: bigint): bigint[] =>
      sizes.map((bits) => (1n << BigInt(bits)) + offset * (1n << BigInt(Math.max(0, bits - 30))));
    assert.equal(ofPrimes(degree, sized(-1n)).primes.length, sizes.length);
    assertInvalid(
      sealParameters({ degree, primes: sized(1n) }),
      new RegExp(`${MOST_BITS[degree]! + 1} bits in sum.*at most ${MOST_BITS[degree]!}`),
    );
  });
}

test("a fresh ciphertext has at most 1,900,000 bytes", () => {
  const primes = (count: number): bigint[] => Array.from({ length: count }, (_, i) => 1009n + BigInt(i));
  for (const [degree, most] of [
    [32768, 4],
    [16384, 8],
    [8192, 15],
  ] as const) {
    const largest = ofPrimes(degree, primes(most));
    assert.ok(freshCiphertextBytes(largest) <= 1_900_000);
    const bytes = 113 + 16 * most * degree;
    assert.ok(bytes > 1_900_000);
    assertInvalid(sealParameters({ degree, primes: primes(most + 1) }), new RegExp(`${bytes} bytes.*1900000`));
  }
});

test("schemes other than CKKS are refused, and so is a plain modulus", () => {
  for (const scheme of [0, 1, 3, 4, 255])
    assertInvalid(
      sealParameters({ scheme, degree: 4096, primes: [101n, 103n, 107n], plainModulus: 65537n }),
      /not of the scheme CKKS/,
    );
  for (const plainModulus of [1n, 65537n, (1n << 64n) - 1n])
    assertInvalid(sealParameters({ degree: 4096, primes: [101n, 103n, 107n], plainModulus }), /plain modulus/);
});

test("parameters that are cut anywhere are refused, whatever length their header claims", async () => {
  using maker = await TensealMaker.create(SMALL);
  for (const compression of COMPRESSIONS) {
    const bytes = maker.encryptionParameters(compression);
    for (let length = 0; length < bytes.length; length++) {
      assertInvalid(bytes.subarray(0, length), /./, `${compression} ${length}`);
      assertInvalid(honest(bytes.subarray(0, length)), /./, `${compression} ${length}`);
    }
  }
});

for (const compression of COMPRESSIONS) {
  test(`parameters that anything follows are refused, whatever length their header claims, with the compression ${compression}`, async () => {
    using maker = await TensealMaker.create(SMALL);
    const bytes = maker.encryptionParameters(compression);
    for (const more of [1, 8, 24, 3000]) {
      assertInvalid(Buffer.concat([bytes, Buffer.alloc(more)]), /./, `${more}`);
      assertInvalid(honest(Buffer.concat([bytes, Buffer.alloc(more)])), /./, `${more}, in its header too`);
    }
  });
}

test("any changed byte that SEAL would give a meaning is refused, but for the values of primes", () => {
  const primes = [68719403009n, 68719230977n, 137438822401n];
  const bytes = sealParameters({ degree: 4096, primes });
  const modulusAt = Array.from({ length: 4 }, (_, k) => MODULI_AT + MODULUS_BYTES * k);
  const headers = [0, ...modulusAt].flatMap((start) => HEADER_SENSE.map((at) => start + at));
  const fields = Array.from({ length: MODULI_AT - HEADER_BYTES }, (_, i) => HEADER_BYTES + i);
  const plainModulus = Array.from({ length: 8 }, (_, i) => modulusAt[3]! + HEADER_BYTES + i);
  for (const at of [...headers, ...fields, ...plainModulus]) {
    for (const flip of [1, 2, 4, 8, 16, 32, 64, 128, 255]) {
      const changed = Buffer.from(bytes);
      changed[at]! ^= flip;
      assertInvalid(changed, /./, `byte ${at} with ${flip}`);
    }
  }
});

test("counts and lengths up to 2^64 - 1 are refused without an endless loop", { timeout: 60_000 }, () => {
  const bytes = sealParameters({ degree: 4096, primes: [101n, 103n, 107n] });
  for (const at of [8, 17, 25, MODULI_AT + 8, MODULI_AT + MODULUS_BYTES + 8]) {
    for (const value of [1n << 20n, 1n << 31n, 1n << 32n, 1n << 53n, 1n << 60n, 1n << 63n, (1n << 64n) - 1n]) {
      const changed = Buffer.from(bytes);
      changed.writeBigUInt64LE(value, at);
      assertInvalid(changed, /./, `${value} at ${at}`);
    }
  }
});

test("bytes that are none are refused, with a SEAL header or without", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.constantFrom(0, 1, 2, 3), (body, compression) => {
      assertInvalid(body);
      assertInvalid(honest(Buffer.concat([Buffer.of(0x5e, 0xa1, 16, 4, 1, compression, 0, 0), Buffer.alloc(8), body])));
    }),
    { numRuns: 500 },
  );
});

// 2^10 <= scale^2 / p and scale^2 / p <= q / 32, in integers: a double below 2^900 is a whole number once it is doubled
// often enough.
function scaleFits(scale: number, { primes }: EncryptionParameters): boolean {
  let [whole, denominator] = [scale, 1n];
  for (; !Number.isInteger(whole); whole *= 2) denominator *= 2n;
  const [squared, p] = [BigInt(whole) ** 2n, primes.at(-2)!];
  return (
    squared >= 1024n * p * denominator ** 2n && 32n * squared <= product(primes.slice(0, -2)) * p * denominator ** 2n
  );
}

/** Parameters whose checked ones are not looked at: the calculations need the primes alone. */
const withPrimes = (primes: readonly bigint[]): EncryptionParameters => ({
  degree: 4096,
  primes,
  encoded: new Uint8Array(),
});

test("a scale is taken exactly where a distance keeps 2^10 of precision and room for 8", () => {
  const scales = fc.double({ min: 1, max: 200, noNaN: true }).map((log) => 2 ** log);
  fc.assert(
    fc.property(moduli(3, 6), scales, (primes, scale) => {
      const parameters = withPrimes(primes);
      // At the very edge the last bits of a double decide.
      fc.pre(scaleFits(scale * (1 - 1e-12), parameters) === scaleFits(scale * (1 + 1e-12), parameters));
      if (scaleFits(scale, parameters)) assert.equal(withScale(parameters, scale).scale, scale);
      else assert.throws(() => withScale(parameters, scale), refused("SCALE_OVERFLOW", /overflow|drown/));
    }),
    { numRuns: 2000 },
  );
});

test("the smallest and the largest scale are taken, and their neighbours beyond are not", () => {
  // Powers of two, so that both edges are doubles: 2^10 * 2^30 = (2^20)^2, and 2^35 / 32 * 2^30 = (2^30)^2.
  const parameters = withPrimes([1n << 35n, 1n << 30n, 1n << 40n]);
  for (const scale of [2 ** 20, 2 ** 30, 2 ** 20 * (1 + 2 ** -52), 2 ** 30 * (1 - 2 ** -53)])
    assert.equal(withScale(parameters, scale).scale, scale);
  assert.throws(() => withScale(parameters, 2 ** 20 * (1 - 2 ** -53)), refused("SCALE_OVERFLOW", /drown in noise/));
  assert.throws(() => withScale(parameters, 2 ** 30 * (1 + 2 ** -52)), refused("SCALE_OVERFLOW", /overflow/));
});

test("what is no scale at all is refused", () => {
  const parameters = withPrimes([1n << 35n, 1n << 30n, 1n << 40n]);
  for (const scale of [
    0,
    -0,
    -1,
    -(2 ** 25),
    NaN,
    Infinity,
    -Infinity,
    Number.MIN_VALUE,
    Number.MAX_VALUE,
    2 ** 1000,
  ]) {
    assert.throws(() => withScale(parameters, scale), refused("SCALE_OVERFLOW", /scale/), `${scale}`);
  }
});

test("primes that leave no room for any scale refuse all of them", () => {
  for (let log = 1; log < 60; log++)
    assert.throws(() => withScale(withPrimes([1n << 14n, 1n << 30n, 1n << 40n]), 2 ** log), refused("SCALE_OVERFLOW"));
});

/**
 * The largest distance with so many primes dropped, in integers but for the scale: a quarter of the primes that are
 * left, times p, over scale^2.
 */
function plainMaxDistance({ primes, scale }: PairwiseParameters, dropped: number): number {
  const left = primes.slice(0, primes.length - 2 - dropped);
  return ((Number(product(left)) / scale) * (Number(primes.at(-2)!) / scale)) / 4;
}

const scaled = fc
  .record({ primes: moduli(3, 8), log: fc.double({ min: 10, max: 70, noNaN: true }) })
  .map(({ primes, log }): PairwiseParameters => ({ ...withPrimes(primes), scale: 2 ** log }));

test("the scale of distances and the largest of them are those of plain arithmetic", () => {
  fc.assert(
    fc.property(scaled, (parameters) => {
      const { scale, primes } = parameters;
      assert.ok(Math.abs(distanceScale(parameters) / (scale * (scale / Number(primes.at(-2)!))) - 1) < 1e-12);
      for (let dropped = 0; dropped <= primes.length - 3; dropped++) {
        assert.ok(Math.abs(maxDistance(parameters, dropped) / plainMaxDistance(parameters, dropped) - 1) < 1e-11);
      }
      assert.equal(maxDistance(parameters), maxDistance(parameters, 0));
    }),
    { numRuns: 500 },
  );
});

test("as many primes may be dropped as leave room for the bound and one hundredth of it, and never all", () => {
  // Anywhere, and close to where the room for one prime less ends.
  const anywhere = fc.double({ min: -20, max: 200, noNaN: true }).map((log) => () => 2 ** log);
  const close = fc.tuple(fc.nat(5), fc.double({ min: 0.97, max: 1.03, noNaN: true })).map(
    ([dropped, part]) =>
      (parameters: PairwiseParameters) =>
        part * plainMaxDistance(parameters, dropped % (parameters.primes.length - 2)),
  );
  fc.assert(
    fc.property(scaled, fc.oneof(anywhere, close), (parameters, boundOf) => {
      const bound = boundOf(parameters);
      const choices = Array.from(
        { length: parameters.primes.length - 2 },
        (_, dropped) => plainMaxDistance(parameters, dropped) / (1.01 * bound),
      );
      fc.pre(choices.every((room) => Math.abs(room - 1) > 1e-9));
      assert.equal(
        droppablePrimes(parameters, bound),
        Math.max(
          0,
          choices.findLastIndex((room) => room >= 1),
        ),
      );
      assert.equal(droppablePrimes(parameters, undefined), 0);
    }),
    { numRuns: 1000 },
  );
});
