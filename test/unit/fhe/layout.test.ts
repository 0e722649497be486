import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  DEGREE,
  FheError,
  PARAMETER_SET_NAMES,
  emptyPolynomials,
  encodeProbe,
  expectedError,
  layoutOf,
  parameterSet,
  placeTemplate,
  readScores,
  scalesOf,
  scoreIndex,
} from "@veilface/fhe";
import type { Layout, Scales } from "@veilface/fhe";

/** The product modulo X^N + 1, one coefficient, from the definition. */
function productCoefficient(a: Float64Array, b: Float64Array, k: number): bigint {
  let sum = 0n;
  for (let j = 0; j < b.length; j++) {
    if (b[j] === 0) continue;
    const i = k - j;
    const term = BigInt(a[(i + DEGREE) % DEGREE]!) * BigInt(b[j]!);
    sum += i < 0 ? -term : term;
  }
  return sum;
}

function unitVector(seed: number, dimension: number): Float64Array {
  const raw = Float64Array.from(
    { length: dimension },
    (_, k) => Math.sin(seed * 12.9898 + k * 78.233) * 1.7 + Math.cos(k * seed),
  );
  const norm = Math.hypot(...raw);
  return raw.map((x) => x / norm);
}

const layouts = fc
  .integer({ min: 1, max: 300 })
  .chain((dimension) => fc.integer({ min: 1, max: dimension }).map((stride) => layoutOf(dimension, stride)));

void test("the coefficient at slot * s + s - 1 of the summed products is the inner product, for any stride", () => {
  fc.assert(
    fc.property(layouts, fc.nat(), fc.integer({ min: 1, max: 1e6 }), (layout, anySlot, seed) => {
      const scales = scalesOf(parameterSet("PACKED_N4096_Q60"), layout);
      const slots = [...new Set([0, anySlot % layout.slots, layout.slots - 1])];
      const templates = emptyPolynomials(layout);
      for (const slot of slots)
        placeTemplate({ layout, scales, polynomials: templates }, slot, unitVector(seed + slot, layout.dimension));
      const probe = unitVector(seed + 7, layout.dimension);
      const pieces = encodeProbe(layout, scales, probe);
      for (const slot of slots) {
        const sum = pieces.reduce(
          (total, piece, g) => total + productCoefficient(templates[g]!, piece, scoreIndex(layout, slot)),
          0n,
        );
        const expected = unitVector(seed + slot, layout.dimension).reduce((total, x, k) => total + x * probe[k]!, 0);
        assert.ok(Math.abs(Number(sum) / (scales.template * scales.probe) - expected) < 1e-6);
      }
    }),
    { numRuns: 60 },
  );
});

void test("every component of every slot has a coefficient of its own", () => {
  fc.assert(
    fc.property(layouts, (layout) => {
      const ones: Scales = { template: 1, probe: 1 };
      const polynomials = emptyPolynomials(layout);
      const vector = new Float64Array(layout.dimension);
      vector[0] = 1;
      for (let slot = 0; slot < layout.slots; slot++)
        placeTemplate({ layout, scales: ones, polynomials }, slot, vector);
      assert.equal(
        polynomials[0]!.reduce((sum, x) => sum + x, 0),
        layout.slots,
      );
      assert.ok(
        layout.slots * layout.stride <= DEGREE &&
          layout.pieces * layout.stride >= layout.dimension &&
          (layout.pieces - 1) * layout.stride < layout.dimension,
      );
    }),
  );
});

void test("scores are read from where the product puts them", () => {
  const layout = layoutOf(512, 130);
  const scales: Scales = { template: 8, probe: 4 };
  const coefficients = new Float64Array(DEGREE);
  for (let slot = 0; slot < layout.slots; slot++) coefficients[slot * 130 + 129] = 32 * slot;
  assert.deepEqual(
    [...readScores(layout, scales, coefficients)],
    Array.from({ length: layout.slots }, (_, slot) => slot),
  );
});

// Below its value at the derived scales the error cannot go: they are the least of a sum whose factors' product is
// fixed.
void test("no other split of the scales has a smaller error, and the score of unit vectors stays below q / 2", () => {
  for (const name of PARAMETER_SET_NAMES) {
    const set = parameterSet(name);
    const q = set.dataPrimes.reduce((product, prime) => product * prime, 1);
    for (const layout of [layoutOf(128, 1), layoutOf(128, 16), layoutOf(128, 128), layoutOf(512, 130)]) {
      const { template, probe } = scalesOf(set, layout);
      assert.ok(template * probe < q / 2 && template * probe > q / 2.2);
      for (const factor of [0.5, 0.9, 1.1, 2])
        assert.ok(noise(layout, template / factor, probe * factor) > noise(layout, template, probe));
      assert.ok(Math.abs(expectedError(set, layout) / noise(layout, template, probe) - 1) < 1e-9);
    }
  }
});

function noise(layout: Layout, template: number, probe: number): number {
  const summed = layout.stride === layout.dimension ? layout.slots : 1;
  return Math.sqrt((10.5 * layout.slots) / probe ** 2 + (10.5 * summed) / template ** 2);
}

void test("strides, slots and vectors that do not fit are refused with a reason", () => {
  for (const [dimension, stride] of [
    [0, 1],
    [128, 0],
    [128, 129],
    [128, 1.5],
    [4097, 1],
    [NaN, 1],
  ] as const) {
    assert.throws(
      () => layoutOf(dimension, stride),
      (error) => error instanceof FheError && error.reason === "LAYOUT_INVALID",
    );
  }
  const layout = layoutOf(4, 2);
  const scales: Scales = { template: 1, probe: 1 };
  assert.throws(
    () => {
      placeTemplate({ layout, scales, polynomials: emptyPolynomials(layout) }, 2048, new Float64Array(4));
    },
    { reason: "LAYOUT_INVALID" },
  );
  assert.throws(() => encodeProbe(layout, scales, new Float64Array(3)), { reason: "EMBEDDING_INVALID" });
  assert.throws(() => encodeProbe(layout, scales, Float64Array.of(1, 1, 1, 1)), { reason: "EMBEDDING_INVALID" });
  assert.throws(() => encodeProbe(layout, scales, Float64Array.of(NaN, 0, 0, 0)), { reason: "EMBEDDING_INVALID" });
  assert.throws(() => parameterSet("PACKED_N1024"), { reason: "PARAMETERS_INVALID" });
});
