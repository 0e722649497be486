import assert from "node:assert/strict";
import { after, test } from "node:test";
import {
  PairwiseEvaluator,
  checkGaloisKeys,
  checkRelinKeys,
  loadPublicSeal,
  maxDistance,
  readEncryptionParameters,
  withScale,
} from "@veilface/fhe";
import type { PairwiseOperation } from "@veilface/fhe";
import { droppablePrimes } from "../../../fhe/pairwise/parameters.ts";
import { TensealMaker, stepsUpTo } from "../../support/independent/tenseal-maker.ts";
import type { CkksParameters, VectorForm } from "../../support/independent/tenseal-maker.ts";

// Room for distances up to 16, at a scale of 2^30.
const NARROW: CkksParameters = { degree: 4096, primeBits: [36, 30, 43], scale: 2 ** 30 };
// Two primes that may be dropped: distances up to 2^66, 2^36 and 2^6, at a scale of 2^32.
const DEEP: CkksParameters = { degree: 8192, primeBits: [40, 30, 30, 40, 60], scale: 2 ** 36 };
// Of the result, or of 1 where it is smaller. (m): for unit vectors 6e-6 at most at dimension 1 and 1.2e-4 at dimension
// 2048, where results here are 16.
const TOLERANCE = 1e-4;

/** A key, and a server's half of it with all rotations. */
async function pairOf(parameters: CkksParameters) {
  const maker = await TensealMaker.create(parameters);
  const seal = await loadPublicSeal();
  const evaluator = new PairwiseEvaluator(
    seal,
    withScale(readEncryptionParameters(seal, maker.encryptionParameters()), parameters.scale),
  );
  const keys = maker.makeKeys(stepsUpTo(parameters.degree / 4));
  const [relinKeys, galoisKeys] = [
    checkRelinKeys(evaluator.levels, keys.relinKeys({ compression: "none" })).bytes,
    checkGaloisKeys(evaluator.levels, keys.galoisKeys({ compression: "none" })).bytes,
  ];
  evaluator.loadKeys({ relinKeys, galoisKeys });
  after(() => {
    evaluator[Symbol.dispose]();
    maker[Symbol.dispose]();
  });
  /** The decrypted result. */
  const compare = (
    operation: PairwiseOperation,
    x: readonly number[],
    y: readonly number[],
    bound: number | undefined,
    form: VectorForm = {},
  ): number => {
    using first = evaluator.open(maker.ciphertext(x, form));
    using second = evaluator.open(maker.ciphertext(y, form));
    return maker.decrypt("SEAL", evaluator.compare({ operation, dimension: x.length, bound }, first, second));
  };
  return { parameters: evaluator.levels.parameters, slots: maker.slots, compare };
}

const narrow = await pairOf(NARROW);
const deep = await pairOf(DEEP);

function assertNear(actual: number, expected: number, message?: string): void {
  assert.ok(
    Math.abs(actual - expected) <= TOLERANCE * Math.max(1, Math.abs(expected)),
    `${message ?? ""} ${actual}, expected ${expected}`,
  );
}

// One component, repeated in every slot: a constant polynomial, which wraps around first of all, and at half the
// modulus: at twice the largest distance.
for (const [name, { parameters, compare }, dropped] of [
  ["no primes to drop", narrow, 0],
  ["none of two dropped", deep, 0],
  ["one of two dropped", deep, 1],
  ["both dropped", deep, 2],
] as const) {
  const most = maxDistance(parameters, dropped);
  // A bound that lets as many go as wanted, whatever the values are.
  const bound = dropped === 0 ? undefined : most / 1.02;

  const half = 2 * most;

  test(`a squared distance up to the largest decrypts right and one just above twice that wraps around, with ${name}`, () => {
    assert.equal(droppablePrimes(parameters, bound), dropped);
    for (const part of [0.25, 0.5, 0.999])
      assertNear(compare("SQUARED_DISTANCE", [Math.sqrt(part * half)], [0], bound), part * half);
    for (const part of [1.001, 1.1])
      assertNear(compare("SQUARED_DISTANCE", [0], [Math.sqrt(part * half)], bound), (part - 2) * half);
  });

  test(`an inner product up to the largest, of either sign, decrypts right and one just outside twice that wraps around, with ${name}`, () => {
    const root = Math.sqrt(half);
    for (const part of [0.5, -0.5, 0.999, -0.999])
      assertNear(compare("INNER_PRODUCT", [root], [part * root], bound), part * half);
    for (const part of [1.001, -1.001])
      assertNear(compare("INNER_PRODUCT", [root], [part * root], bound), (part - 2 * Math.sign(part)) * half);
  });
}

test("the bound decides what is dropped, and every bound up to the largest distance decrypts right", () => {
  const { parameters, compare } = deep;
  const seen = new Set<number>();
  for (let log = -3; 2 ** log < maxDistance(parameters); log += 5) {
    seen.add(droppablePrimes(parameters, 2 ** log));
    assertNear(compare("SQUARED_DISTANCE", [Math.sqrt(2 ** log)], [0], 2 ** log), 2 ** log);
  }
  assert.deepEqual(seen, new Set([2, 1, 0]));
});

// What is in the slots past a vector must not matter: TenSEAL repeats it, and where its length does not divide the
// slots, a window at the seam holds its first components twice.
for (const fill of ["zeros", "repeated"] as const) {
  test(`a squared distance just below the largest decrypts right at any dimension where the slots past the vector hold it ${fill}`, () => {
    const { parameters, slots, compare } = narrow;
    const distance = 0.98 * maxDistance(parameters);
    const wrong = [1, 2, 100, 128, 130, 600, 1000, 1024, 1100, 1500, slots - 1, slots].filter((dimension) => {
      const x = Array.from({ length: dimension }, (_, i) => (i === 0 ? Math.sqrt(distance) : 0));
      return (
        Math.abs(
          compare(
            "SQUARED_DISTANCE",
            x,
            x.map(() => 0),
            undefined,
            { fill },
          ) - distance,
        ) >
        TOLERANCE * distance
      );
    });
    assert.deepEqual(wrong, [], "dimensions at which it wraps around");
  });
}
