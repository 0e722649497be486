import assert from "node:assert/strict";
import { after, test } from "node:test";
import fc from "fast-check";
import type { Ciphertext } from "node-seal";
import {
  PairwiseEvaluator,
  checkRotationSteps,
  loadPublicSeal,
  maxDimension,
  readEncryptionParameters,
  withScale,
} from "@veilface/fhe";
import type { PairwiseOperation } from "@veilface/fhe";
import { allRotationSteps, galoisKeyIndex, rotationSteps } from "../../../fhe/pairwise/rotations.ts";
import { SMALL, TensealMaker } from "../../support/independent/tenseal-maker.ts";

const SLOTS = SMALL.degree / 2;

/** A ciphertext that is a plain vector of slots. Those that were not freed are counted. */
class PlainSlots {
  static alive = 0;
  slots: Float64Array;

  constructor(slots = new Float64Array(SLOTS)) {
    this.slots = slots;
    PlainSlots.alive++;
  }

  copy(): PlainSlots {
    return new PlainSlots(this.slots.slice());
  }

  assign(other: PlainSlots): void {
    this.slots = other.slots.slice();
  }

  isTransparent(): boolean {
    return false;
  }

  saveToArray(): Uint8Array {
    return new Uint8Array(this.slots.slice().buffer);
  }

  delete(): void {
    PlainSlots.alive--;
  }

  [Symbol.dispose](): void {
    this.delete();
  }
}

/** Steps of the rotations since this was emptied. */
const rotations: number[] = [];

/** SEAL's Evaluator on plain slots, without what changes no slot. */
class PlainEvaluator {
  sub(a: PlainSlots, b: PlainSlots, result: PlainSlots): void {
    result.slots = a.slots.map((slot, i) => slot - b.slots[i]!);
  }

  squareInplace(a: PlainSlots): void {
    a.slots = a.slots.map((slot) => slot * slot);
  }

  multiply(a: PlainSlots, b: PlainSlots, result: PlainSlots): void {
    result.slots = a.slots.map((slot, i) => slot * b.slots[i]!);
  }

  add(a: PlainSlots, b: PlainSlots, result: PlainSlots): void {
    result.slots = a.slots.map((slot, i) => slot + b.slots[i]!);
  }

  addInplace(a: PlainSlots, b: PlainSlots): void {
    this.add(a, b, a);
  }

  rotateVector(a: PlainSlots, step: number, _keys: unknown, result: PlainSlots): void {
    rotations.push(step);
    result.slots = a.slots.map((_, i) => a.slots[(i + step) % SLOTS]!);
  }

  relinearizeInplace(): void {
    /* Slots stay. */
  }
  rescaleToNextInplace(): void {
    /* Slots stay. */
  }
  [Symbol.dispose](): void {
    /* Owns nothing. */
  }
}

const seal = await loadPublicSeal();
const maker = await TensealMaker.create(SMALL);
const plainSeal = new Proxy(seal, {
  get: (target, name) =>
    name === "Ciphertext" ? PlainSlots : name === "Evaluator" ? PlainEvaluator : (Reflect.get(target, name) as unknown),
});
const evaluator = new PairwiseEvaluator(
  plainSeal,
  withScale(readEncryptionParameters(seal, maker.encryptionParameters()), SMALL.scale),
);
after(() => {
  for (const handle of [evaluator, maker]) handle[Symbol.dispose]();
});

/** What the real evaluator, on plain slots, puts into slot 0. */
function slot0(operation: PairwiseOperation, dimension: number, x: PlainSlots, y: PlainSlots): number {
  const alive = PlainSlots.alive;
  const bytes = evaluator.compare(
    { operation, dimension, bound: undefined },
    x as unknown as Ciphertext,
    y as unknown as Ciphertext,
  );
  assert.equal(PlainSlots.alive, alive, "the ciphertexts that it made are freed");
  return new Float64Array(bytes.buffer)[0]!;
}

/** Integers, so that sums are exact: -20 to 20 without 0, so that each counts. */
const component = (i: number, seed: number): number => (((i + seed) * 7919) % 20) + 1 - ((i + seed) % 3 === 0 ? 21 : 0);
/** Which component of a vector a slot holds; undefined for a zero. */
const CONTENTS: Readonly<Record<string, (slot: number, dimension: number) => number | undefined>> = {
  "the vector again and again": (slot, dimension) => slot % dimension,
  zeros: (slot, dimension) => (slot < dimension ? slot : undefined),
  "other numbers": (slot) => slot,
};
const DIMENSIONS = [
  ...Array.from({ length: 300 }, (_, i) => i + 1),
  511,
  512,
  513,
  1000,
  1023,
  1024,
  1025,
  1536,
  2047,
  2048,
];

for (const [name, content] of Object.entries(CONTENTS)) {
  test(`exactly the first slots are summed at every dimension, where the slots past them hold ${name}`, () => {
    for (const dimension of DIMENSIONS) {
      const [x, y] = [0, 11].map(
        (seed) =>
          new PlainSlots(
            Float64Array.from({ length: SLOTS }, (_, i) => {
              const index = content(i, dimension);
              return index === undefined ? 0 : component(index, seed);
            }),
          ),
      ) as [PlainSlots, PlainSlots];
      const sum = (term: (i: number) => number): number =>
        Array.from({ length: dimension }, (_, i) => term(i)).reduce((a, b) => a + b);
      assert.equal(
        slot0("SQUARED_DISTANCE", dimension, x, y),
        sum((i) => (component(i, 0) - component(i, 11)) ** 2),
        `${dimension}`,
      );
      assert.equal(
        slot0("INNER_PRODUCT", dimension, x, y),
        sum((i) => component(i, 0) * component(i, 11)),
        `${dimension}`,
      );
    }
  });
}

test("the steps named for a dimension are exactly the rotations that it takes", () => {
  for (const dimension of DIMENSIONS) {
    rotations.length = 0;
    const [x, y] = [new PlainSlots(new Float64Array(SLOTS).fill(1)), new PlainSlots(new Float64Array(SLOTS).fill(3))];
    assert.equal(slot0("SQUARED_DISTANCE", dimension, x, y), 4 * dimension);
    assert.deepEqual(
      [...new Set(rotations)].sort((a, b) => a - b),
      rotationSteps(dimension),
      `${dimension}`,
    );
    // Doubling takes floor(log2 d), and each bit but the lowest one more.
    assert.equal(
      rotations.length,
      dimension.toString(2).length - 1 + dimension.toString(2).replaceAll("0", "").length - 1,
    );
  }
});

test("the steps of a dimension are the powers of two below it, and those of a context are those of all its slots", () => {
  for (const dimension of [...DIMENSIONS, 16384])
    assert.deepEqual(
      rotationSteps(dimension),
      Array.from({ length: 15 }, (_, k) => 2 ** k).filter((step) => step < dimension),
    );
  for (const degree of [1024, 2048, 4096, 8192, 16384, 32768])
    assert.deepEqual(allRotationSteps(degree), rotationSteps(degree / 2));
});

const someSteps = fc.record({
  degree: fc.constantFrom(1024, 4096, 32768),
  steps: fc.subarray(Array.from({ length: 14 }, (_, k) => 2 ** k)),
});

test("the largest dimension is the last one whose steps, and those of all below, are there", () => {
  fc.assert(
    fc.property(someSteps, ({ degree, steps }) => {
      const served = Array.from({ length: degree / 2 }, (_, i) => i + 1).filter((dimension) =>
        rotationSteps(dimension).every((step) => steps.includes(step)),
      );
      // Fewer steps serve fewer dimensions, without gaps.
      assert.deepEqual([maxDimension(steps, degree), served.length], [served.at(-1), served.at(-1)]);
    }),
  );
});

test("a dimension whose steps are missing is refused, and they are named", () => {
  fc.assert(
    fc.property(someSteps, fc.integer({ min: 1, max: 16384 }), ({ steps }, dimension) => {
      const missing = Array.from({ length: 14 }, (_, k) => 2 ** k).filter(
        (step) => step < dimension && !steps.includes(step),
      );
      if (missing.length === 0) checkRotationSteps(steps, dimension);
      else
        assert.throws(
          () => {
            checkRotationSteps(steps, dimension);
          },
          {
            name: "FheError",
            reason: "ROTATION_KEYS_MISSING",
            message: new RegExp(`left by ${missing.join(", ")}, which vectors of ${dimension} components need`),
          },
        );
    }),
  );
});

/**
 * The indices that hold keys in whole SEAL GaloisKeys: header 16, parms_id 32, count 8, then a count of parts and the
 * parts of each.
 */
function indicesOf(bytes: Buffer): number[] {
  const indices: number[] = [];
  const entries = Number(bytes.readBigUInt64LE(48));
  for (let [index, at] = [0, 56]; index < entries; index++) {
    const parts = Number(bytes.readBigUInt64LE(at));
    if (parts > 0) indices.push(index);
    at += 8;
    for (let part = 0; part < parts; part++) at += Number(bytes.readBigUInt64LE(at + 8));
  }
  return indices;
}

for (const shape of [SMALL, { degree: 8192, primeBits: [40, 40, 40], scale: 2 ** 35 }]) {
  test(`SEAL itself keeps the key of each step where it is looked for, at ring degree ${shape.degree}`, async () => {
    using owner = await TensealMaker.create(shape);
    for (const step of [...allRotationSteps(shape.degree), 3, 5, 100]) {
      assert.deepEqual(
        indicesOf(owner.makeKeys([step]).galoisKeys({ compression: "none" })),
        [galoisKeyIndex(step, shape.degree)],
        `step ${step}`,
      );
    }
  });
}
