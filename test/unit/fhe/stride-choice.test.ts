import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  PARAMETER_SET_NAMES,
  chooseStride,
  layoutOf,
  parameterSet,
  quickestStride,
  searchSeconds,
} from "@veilface/fhe";

const set = parameterSet("PACKED_N4096_Q60");

void test("no stride makes a search cheaper by the model than the chosen one", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...PARAMETER_SET_NAMES),
      fc.integer({ min: 1, max: 600 }),
      fc.integer({ min: 0, max: 2e6 }),
      (name, dimension, templates) => {
        const chosen = chooseStride(parameterSet(name), dimension, templates);
        const searched = { set: parameterSet(name), dimension, templates };
        const seconds = searchSeconds(searched, chosen);
        for (let stride = 1; stride <= dimension; stride++) assert.ok(searchSeconds(searched, stride) >= seconds);
      },
    ),
    { numRuns: 50 },
  );
});

void test("few templates make one ciphertext of a probe, a million make full blocks", () => {
  assert.equal(chooseStride(set, 128, 1), 128);
  assert.equal(chooseStride(set, 128, 1000), 16);
  assert.equal(chooseStride(set, 128, 1_000_000), 1);
});

void test("the model counts what a search sends and receives", () => {
  const free = { encryptSeconds: 0, decryptSeconds: 0, bytesPerSecond: 1 };
  const { pieces, slots } = layoutOf(512, 130);
  assert.equal(
    searchSeconds({ set, dimension: 512, templates: 10 * slots }, 130, free),
    2 * (pieces * 2 * 15360 + 10 * 3 * 15360),
  );
});

void test("dear decryption makes blocks larger", () => {
  const usual = { encryptSeconds: 0.0004, decryptSeconds: 0.0003, bytesPerSecond: Infinity };
  const searched = { set, dimension: 128, templates: 10_000 };
  assert.ok(quickestStride(searched, { ...usual, decryptSeconds: 0.01 }) < quickestStride(searched, usual));
});
