import assert from "node:assert/strict";
import { after, test } from "node:test";
import fc from "fast-check";
import {
  FheError,
  PairwiseEvaluator,
  checkGaloisKeys,
  checkRelinKeys,
  loadPublicSeal,
  maxDistance,
  readEncryptionParameters,
  withScale,
} from "@veilface/fhe";
import type { PairwiseOperation, PairwiseTask } from "@veilface/fhe";
import { droppablePrimes } from "../../../fhe/pairwise/parameters.ts";
import { TensealMaker, scaleOf, stepsUpTo } from "../../support/independent/tenseal-maker.ts";
import type { CkksParameters, EvaluationKeys } from "../../support/independent/tenseal-maker.ts";

// The prime that rescaling drops is 2^13 times smaller than the reserved one, so that keys are switched with little
// noise.
const SHALLOW: CkksParameters = { degree: 4096, primeBits: [36, 30, 43], scale: 2 ** 30 };
// Two primes that may be dropped: distances up to 2^66, 2^36 and 2^6, at a scale of 2^32.
const DEEP: CkksParameters = { degree: 8192, primeBits: [40, 30, 30, 40, 60], scale: 2 ** 36 };
// Where a Ciphertext says how many primes it has.
const PRIMES_AT = 65;
const OPERATIONS: readonly PairwiseOperation[] = ["SQUARED_DISTANCE", "INNER_PRODUCT"];

const seal = await loadPublicSeal();

/** A key, and a server's half of it with all rotations. */
async function pairOf(parameters: CkksParameters) {
  const maker = await TensealMaker.create(parameters);
  const keys = maker.makeKeys(stepsUpTo(parameters.degree / 4));
  const evaluator = evaluatorOf(maker, keys);
  after(() => {
    evaluator[Symbol.dispose]();
    maker[Symbol.dispose]();
  });
  return { maker, keys, evaluator };
}

function evaluatorOf(maker: TensealMaker, keys: EvaluationKeys, seeded = false): PairwiseEvaluator {
  const evaluator = new PairwiseEvaluator(
    seal,
    withScale(readEncryptionParameters(seal, maker.encryptionParameters()), maker.parameters.scale),
  );
  const { levels } = evaluator;
  evaluator.loadKeys({
    relinKeys: checkRelinKeys(levels, keys.relinKeys({ seeded, compression: "none" })).bytes,
    galoisKeys: checkGaloisKeys(levels, keys.galoisKeys({ seeded, compression: "none" })).bytes,
  });
  return evaluator;
}

const shallow = await pairOf(SHALLOW);
const deep = await pairOf(DEEP);

/** Two vectors compared: encrypted bytes. */
function compare(
  { maker, evaluator }: Pick<typeof shallow, "maker" | "evaluator">,
  task: PairwiseTask,
  x: readonly number[],
  y: readonly number[],
  fill: "repeated" | "zeros" | "others" = "repeated",
): Uint8Array {
  using first = evaluator.open(maker.ciphertext(x, { fill, symmetric: fill === "others" }));
  using second = evaluator.open(maker.ciphertext(y, { fill, seeded: fill === "zeros" }));
  return evaluator.compare(task, first, second);
}

function plain(operation: PairwiseOperation, x: readonly number[], y: readonly number[]): number {
  return x.reduce((sum, a, i) => sum + (operation === "INNER_PRODUCT" ? a * y[i]! : (a - y[i]!) ** 2), 0);
}

/** A vector of so many random components and a norm below 1. */
const vectorOf = (dimension: number): number[] =>
  Array.from({ length: dimension }, () => (2 * Math.random() - 1) / Math.sqrt(dimension));

const dimensions = (slots: number) =>
  fc.oneof(
    fc.integer({ min: 1, max: 300 }),
    fc.integer({ min: 1, max: slots }),
    fc.constantFrom(1, 2, slots - 1, slots),
  );

// (m), over 8 keys and 600 comparisons each: 1.3e-6 + 1e-6 and 0.2e-6 + 0.5e-6, the second times the root of the
// dimension; here seven times that.
for (const [name, pair, numRuns, fixed, perRoot] of [
  ["three", shallow, 60, 9e-6, 7e-6],
  ["five", deep, 20, 1.4e-6, 3.5e-6],
] as const) {
  test(`encrypted distances and inner products under a context of ${name} primes are the plain ones to ${perRoot} times the root of the dimension`, () => {
    const cases = fc.tuple(
      dimensions(pair.maker.slots),
      fc.constantFrom(...OPERATIONS),
      fc.constantFrom("repeated", "zeros", "others"),
      fc.constantFrom(undefined, 4),
    );
    fc.assert(
      fc.property(cases, ([dimension, operation, fill, bound]) => {
        const [x, y] = [vectorOf(dimension), vectorOf(dimension)];
        const error =
          pair.maker.decrypt("SEAL", compare(pair, { operation, dimension, bound }, x, y, fill)) -
          plain(operation, x, y);
        assert.ok(Math.abs(error) < fixed + perRoot * Math.sqrt(dimension), `dimension ${dimension}: off by ${error}`);
      }),
      { numRuns },
    );
  });
}

test("a result has the primes that its bound leaves, and the scale of the formula", () => {
  const { parameters } = deep.evaluator.levels;
  const [p, scale] = [Number(deep.maker.primes.at(-2)), DEEP.scale];
  assert.ok(Math.abs(deep.evaluator.resultScale / (scale ** 2 / p) - 1) < 1e-15);
  for (const [bound, dropped] of [
    [undefined, 0],
    [maxDistance(parameters), 0],
    [2 ** 40, 0],
    [2 ** 35, 1],
    [2 ** 8, 1],
    [50, 2],
    [1e-9, 2],
  ] as const) {
    for (const operation of OPERATIONS) {
      const bytes = Buffer.from(compare(deep, { operation, dimension: 3, bound }, [1, 2, 3], [4, 5, 6.5]));
      assert.equal(Number(bytes.readBigUInt64LE(PRIMES_AT)), 3 - dropped, `bound ${bound}`);
      assert.equal(droppablePrimes(parameters, bound), dropped);
      assert.ok(Math.abs(scaleOf(bytes) / deep.evaluator.resultScale - 1) < 1e-15);
      assert.ok(Math.abs(deep.maker.decrypt("SEAL", bytes) - plain(operation, [1, 2, 3], [4, 5, 6.5])) < 1e-4);
    }
  }
});

test("keys with seeds compare as the same keys without", () => {
  using seeded = evaluatorOf(shallow.maker, shallow.keys, true);
  const [x, y] = [vectorOf(20), vectorOf(20)];
  const ciphertexts = [x, y].map((vector) => shallow.maker.ciphertext(vector));
  const results = [shallow.evaluator, seeded].map((evaluator) => {
    using first = evaluator.open(ciphertexts[0]!);
    using second = evaluator.open(ciphertexts[1]!);
    return Buffer.from(
      evaluator.compare({ operation: "SQUARED_DISTANCE", dimension: 20, bound: undefined }, first, second),
    );
  });
  assert.deepEqual(results[0], results[1]);
});

test("comparing leaves the two ciphertexts as they were", () => {
  const { evaluator, maker } = shallow;
  using first = evaluator.open(maker.ciphertext([1, 2, 3]));
  using second = evaluator.open(maker.ciphertext([3, 2, 2]));
  const before = [first, second].map((ciphertext) => Buffer.from(evaluator.save(ciphertext)));
  for (const operation of OPERATIONS) {
    for (const dimension of [1, 2, 3]) evaluator.compare({ operation, dimension, bound: undefined }, first, second);
  }
  assert.deepEqual(
    [first, second].map((ciphertext) => Buffer.from(evaluator.save(ciphertext))),
    before,
  );
});

const transparent = { name: "FheError", reason: "CIPHERTEXT_TRANSPARENT", message: /hides nothing/ };

test("the difference of a ciphertext and itself, which hides nothing, is refused and its square is not", () => {
  const { evaluator, maker } = shallow;
  const bytes = maker.ciphertext([1, 2, 3]);
  using first = evaluator.open(bytes);
  using again = evaluator.open(bytes);
  const task = { dimension: 3, bound: undefined };
  for (const other of [first, again]) {
    assert.throws(() => evaluator.compare({ ...task, operation: "SQUARED_DISTANCE" }, first, other), transparent);
    const result = maker.decrypt("SEAL", evaluator.compare({ ...task, operation: "INNER_PRODUCT" }, first, other));
    assert.ok(Math.abs(result - 14) < 1e-3);
  }
});

test("the difference of ciphertexts of one seed, which hides nothing either, is refused", () => {
  const { evaluator, maker } = shallow;
  const bytes = maker.ciphertext([1, 2, 3], { seeded: true, compression: "none" });
  using first = evaluator.open(bytes);
  // Another first component.
  bytes.writeBigUInt64LE(1n, 113);
  using second = evaluator.open(bytes);
  assert.throws(
    () => evaluator.compare({ operation: "SQUARED_DISTANCE", dimension: 3, bound: undefined }, first, second),
    transparent,
  );
});

test("keys that SEAL refuses are refused in our words", () => {
  const { maker, keys } = shallow;
  using evaluator = new PairwiseEvaluator(seal, shallow.evaluator.levels.parameters);
  const { levels } = evaluator;
  const [relin, galois] = [keys.relinKeys({ compression: "none" }), keys.galoisKeys({ compression: "none" })];
  const good = { relinKeys: checkRelinKeys(levels, relin).bytes, galoisKeys: checkGaloisKeys(levels, galois).bytes };
  const refused = { name: "FheError", reason: "KEYS_MALFORMED", message: /below its prime/ };
  maker.primes.forEach((prime, k) => {
    const [badRelin, badGalois] = [relin, galois].map((bytes) => {
      const bad = Buffer.from(bytes);
      bad.writeBigUInt64LE(prime, bad.length - 8 * SHALLOW.degree * (maker.primes.length - k));
      return bad;
    });
    assert.throws(() => {
      evaluator.loadKeys({ ...good, relinKeys: checkRelinKeys(levels, badRelin!).bytes });
    }, refused);
    // The last key is of a rotation that is used.
    assert.throws(() => {
      evaluator.loadKeys({ ...good, galoisKeys: checkGaloisKeys(levels, badGalois!).bytes });
    }, refused);
  });
  evaluator.loadKeys(good);
});

test("a comparison whose rotation key is missing fails with a reason", async () => {
  using maker = await TensealMaker.create(SHALLOW);
  using evaluator = evaluatorOf(maker, maker.makeKeys([1, 2]));
  using first = evaluator.open(maker.ciphertext([1, 2, 3, 4, 5]));
  using second = evaluator.open(maker.ciphertext([1, 2, 3, 4, 6]));
  const result = (dimension: number): number =>
    maker.decrypt(
      "SEAL",
      evaluator.compare({ operation: "SQUARED_DISTANCE", dimension, bound: undefined }, first, second),
    );
  for (const dimension of [1, 2, 3, 4]) assert.ok(Math.abs(result(dimension)) < 1e-3);
  for (const dimension of [5, 8, 100])
    assert.throws(
      () => result(dimension),
      (error) => error instanceof FheError && error.reason === "SEAL_FAILED",
    );
});

test("parameters that SEAL refuses are refused in our words", () => {
  const { parameters } = shallow.evaluator.levels;
  const distinct = (prime: bigint, place: number): readonly bigint[] => parameters.primes.with(place, prime);
  // Not prime, twice the same, and not 1 modulo 2N.
  for (const primes of [
    distinct(parameters.primes[0]! + 2n, 0),
    distinct(parameters.primes[1]!, 0),
    distinct(1073741789n, 1),
  ]) {
    assert.throws(() => new PairwiseEvaluator(seal, { ...parameters, primes }), {
      name: "FheError",
      reason: "PARAMETERS_INVALID",
      message: /distinct primes/,
    });
  }
});
