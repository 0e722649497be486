import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  distanceFromScore,
  encodeProbeEmbedding,
  encodeTemplateEmbedding,
  encodedDimension,
  packedContextId,
  plainDistance,
} from "@veilface/fhe";
import type { EmbeddingSpace } from "@veilface/fhe";

const component = fc.double({ min: -1, max: 1, noNaN: true });
const pair = fc
  .integer({ min: 2, max: 64 })
  .chain((dimension) =>
    fc.tuple(
      fc.array(component, { minLength: dimension, maxLength: dimension }),
      fc.array(component, { minLength: dimension, maxLength: dimension }),
    ),
  );

function inner(a: Float64Array, b: Float64Array): number {
  return a.reduce((sum, x, k) => sum + x * b[k]!, 0);
}

void test("the inner product of the encoded vectors gives the Euclidean distance, for any bound over the norms", () => {
  fc.assert(
    fc.property(pair, fc.double({ min: 1, max: 10, noNaN: true }), ([a, b], slack) => {
      const space: EmbeddingSpace = {
        dimension: a.length,
        metric: "euclidean",
        normBound: slack * Math.sqrt(a.length),
      };
      const template = encodeTemplateEmbedding(space, a);
      const probe = encodeProbeEmbedding(space, b);
      const expected = Math.sqrt(a.reduce((sum, x, k) => sum + (x - b[k]!) ** 2, 0));
      const actual = distanceFromScore(space, inner(template.vector, probe.vector), probe.squaredNorm);
      assert.ok(Math.abs(actual ** 2 - expected ** 2) < 1e-10 * space.normBound ** 2);
      assert.ok(Math.abs(plainDistance(space, a, b) - expected) < 1e-9);
      assert.equal(template.vector.length, encodedDimension(space));
      assert.ok(Math.hypot(...template.vector) <= 1 + 1e-12 && Math.hypot(...probe.vector) <= Math.sqrt(1.25) + 1e-12);
    }),
  );
});

void test("the inner product of the encoded vectors gives the cosine distance, whatever the lengths", () => {
  fc.assert(
    fc.property(pair, ([a, b]) => {
      fc.pre(Math.hypot(...a) > 1e-3 && Math.hypot(...b) > 1e-3);
      const space: EmbeddingSpace = { dimension: a.length, metric: "cosine", normBound: 1 };
      const score = inner(encodeTemplateEmbedding(space, a).vector, encodeProbeEmbedding(space, b).vector);
      const expected = 1 - a.reduce((sum, x, k) => sum + x * b[k]!, 0) / (Math.hypot(...a) * Math.hypot(...b));
      assert.ok(Math.abs(distanceFromScore(space, score, 1) - expected) < 1e-9);
      assert.ok(Math.abs(plainDistance(space, a, b) - expected) < 1e-9);
    }),
  );
});

void test("a unit vector that rounding made a little longer than 1 is within a norm bound of 1", () => {
  const space: EmbeddingSpace = { dimension: 2, metric: "euclidean", normBound: 1 };
  assert.ok(Math.abs(plainDistance(space, [1 + 2 ** -52, 0], [0, 1]) - Math.SQRT2) < 1e-12);
});

void test("embeddings that cannot be compared are refused", () => {
  const euclidean: EmbeddingSpace = { dimension: 3, metric: "euclidean", normBound: 1 };
  const cosine: EmbeddingSpace = { dimension: 3, metric: "cosine", normBound: 1 };
  for (const [space, embedding] of [
    [euclidean, [1, 0]],
    [euclidean, [1.00001, 0, 0]],
    [euclidean, [NaN, 0, 0]],
    [cosine, [0, 0, 0]],
    [cosine, [Infinity, 0, 0]],
  ] as const) {
    assert.throws(() => encodeTemplateEmbedding(space, embedding), { reason: "EMBEDDING_INVALID" });
    assert.throws(() => encodeProbeEmbedding(space, embedding), { reason: "EMBEDDING_INVALID" });
  }
});

// Fixed forever: stored contexts are found by it. The expected value: printf 'veilface.v1 packed PACKED_N4096_Q60
// %064d\n' 0 | sha256sum
void test("a context's id is the SHA-256 of its written-out content", () => {
  assert.equal(
    packedContextId("PACKED_N4096_Q60", new Uint8Array(32)),
    "0f3438ea8a7829c40553509520196b53404e314225e188ad836c9e33a9004a47",
  );
  assert.notEqual(
    packedContextId("PACKED_N4096_Q30", new Uint8Array(32)),
    packedContextId("PACKED_N4096_Q60", new Uint8Array(32)),
  );
  assert.throws(() => packedContextId("PACKED_N4096_Q60", new Uint8Array(31)), { reason: "PARAMETERS_INVALID" });
});
