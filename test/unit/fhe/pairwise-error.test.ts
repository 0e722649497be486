// The error that is predicted of distances, held to the error that they have: SEAL itself encrypts, computes and
// decrypts.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  PairwiseEvaluator,
  checkGaloisKeys,
  checkRelinKeys,
  expectedPairwiseError,
  loadPublicSeal,
  readEncryptionParameters,
  withScale,
} from "@veilface/fhe";
import type { PairwiseOperation, PairwiseParameters, PairwiseTask } from "@veilface/fhe";
import { rescalesFirst } from "../../../fhe/pairwise/expected-error.ts";
import { randomEmbedding } from "../../support/independent/independent-encoding.ts";
import { TensealMaker, stepsUpTo } from "../../support/independent/tenseal-maker.ts";
import type { CkksParameters } from "../../support/independent/tenseal-maker.ts";

const DIMENSION = 128;
const seal = await loadPublicSeal();

interface Case {
  readonly degree: number;
  readonly primeBits: readonly number[];
  /** Of the scale, in bits. */
  readonly bits: number;
  /** Median error of a comparison that rescales first, as TenSEAL does. (m) */
  readonly before: number;
}

/** Good ones, in which nothing needs to be done about noise. */
const GOOD: readonly Case[] = [
  { degree: 8192, primeBits: [60, 40, 40, 60], bits: 40, before: 1e-6 },
  { degree: 4096, primeBits: [35, 34, 40], bits: 31.5, before: 2e-5 },
  { degree: 4096, primeBits: [36, 30, 43], bits: 30, before: 1e-5 },
  { degree: 8192, primeBits: [40, 30, 30, 40, 60], bits: 36, before: 4e-6 },
  { degree: 16384, primeBits: [60, 40, 40, 60], bits: 40, before: 2e-6 },
];
/** Those in which distances drowned. */
const NOISY: readonly Case[] = [
  { degree: 8192, primeBits: [60, 40, 40, 40], bits: 40, before: 0.36 },
  { degree: 8192, primeBits: [40, 21, 21, 21, 40], bits: 21, before: 0.39 },
  { degree: 4096, primeBits: [40, 20, 40], bits: 20, before: 0.73 },
  { degree: 8192, primeBits: [60, 50, 60], bits: 31, before: 360 },
  { degree: 8192, primeBits: [60, 30, 30, 30], bits: 30, before: 7e5 },
];
const HOPELESS: Case = { degree: 4096, primeBits: [40, 20, 20, 20], bits: 20, before: 6e5 };

const OPERATIONS: readonly PairwiseOperation[] = ["SQUARED_DISTANCE", "INNER_PRODUCT"];
/** Sets of keys, each with an error of its own that all its comparisons share. */
const KEYINGS = 3;
const shapeOf = ({ degree, primeBits, bits }: Case): CkksParameters => ({ degree, primeBits, scale: 2 ** bits });
const nameOf = ({ degree, primeBits, bits }: Case): string => `N = ${degree} [${primeBits.join(", ")}] 2^${bits}`;

function checked(maker: TensealMaker): PairwiseParameters {
  return withScale(readEncryptionParameters(seal, maker.encryptionParameters()), maker.parameters.scale);
}

/** Errors of comparisons under one set of keys. */
function errorsOf(maker: TensealMaker): number[] {
  using keys = maker.makeKeys(stepsUpTo(DIMENSION / 2));
  using evaluator = new PairwiseEvaluator(seal, checked(maker));
  const { levels } = evaluator;
  const [relin, galois] = [keys.relinKeys({ compression: "none" }), keys.galoisKeys({ compression: "none" })];
  evaluator.loadKeys({
    relinKeys: checkRelinKeys(levels, relin).bytes,
    galoisKeys: checkGaloisKeys(levels, galois).bytes,
  });
  return OPERATIONS.flatMap((operation) =>
    [undefined, 4].map((bound) => errorOf(maker, evaluator, { operation, bound })),
  );
}

function errorOf(maker: TensealMaker, evaluator: PairwiseEvaluator, task: Omit<PairwiseTask, "dimension">): number {
  const [x, y] = [randomEmbedding(DIMENSION), randomEmbedding(DIMENSION)];
  using first = evaluator.open(maker.ciphertext(x, { compression: "none" }));
  using second = evaluator.open(maker.ciphertext(y, { compression: "none" }));
  const found = maker.decrypt("SEAL", evaluator.compare({ ...task, dimension: DIMENSION }, first, second));
  return found - x.reduce((sum, a, k) => sum + (task.operation === "INNER_PRODUCT" ? a * y[k]! : (a - y[k]!) ** 2), 0);
}

for (const each of [...GOOD, ...NOISY, HOPELESS]) {
  test(`measured errors are as predicted, and distances do not drown if they need not: ${nameOf(each)}`, async () => {
    using maker = await TensealMaker.create(shapeOf(each));
    const expected = expectedPairwiseError(checked(maker), DIMENSION);
    const errors = Array.from({ length: KEYINGS }, () => errorsOf(maker)).flat();
    const rms = Math.hypot(...errors) / Math.sqrt(errors.length);
    // Normal, with half of what is expected as its deviation: all within 5 sigma, and not all of them within sigma /
    // 25.
    assert.ok(Math.max(...errors.map(Math.abs)) <= 2.5 * expected, `${errors.join(" ")}: predicted ${expected}`);
    assert.ok(rms >= 0.02 * expected, `${rms}: predicted ${expected}`);
    if (each !== HOPELESS) assert.ok(rms < 1e-2, `${rms}`);
  });
}

/** The parameters with powers of two for primes. */
const plain = ({ degree, primeBits, bits }: Case): PairwiseParameters => ({
  degree,
  primes: primeBits.map((size) => 1n << BigInt(size)),
  scale: 2 ** bits,
  encoded: new Uint8Array(),
});

test("contexts whose noise is small keep the quick order of steps, and those that drowned are expected to be right", () => {
  for (const each of GOOD) assert.equal(rescalesFirst(plain(each)), true, nameOf(each));
  for (const each of NOISY) {
    assert.equal(rescalesFirst(plain(each)), false, nameOf(each));
    assert.ok(expectedPairwiseError(plain(each), each.degree / 2) < Math.min(1e-2, each.before / 30), nameOf(each));
  }
  assert.ok(expectedPairwiseError(plain(HOPELESS), 64) > 0.5);
});

test("the predicted error grows with the dimension", () => {
  for (const each of [...GOOD, ...NOISY, HOPELESS]) {
    const errors = Array.from({ length: Math.log2(each.degree) }, (_, k) => expectedPairwiseError(plain(each), 2 ** k));
    assert.deepEqual(
      errors,
      errors.toSorted((a, b) => a - b),
    );
    assert.ok(errors[0]! > 0);
  }
});
