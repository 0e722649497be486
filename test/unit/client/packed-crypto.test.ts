import assert from "node:assert/strict";
import { after, test } from "node:test";
import { RingKernel, encodedDimension } from "@veilface/fhe";
import type { EmbeddingSpace } from "@veilface/fhe";
import fc from "fast-check";
import { ClientError } from "../../../client/errors.ts";
import { KeyHolder } from "../../../client/keys/key-holder.ts";
import { PackedCrypto } from "../../../client/keys/packed-crypto.ts";
import type { EncryptedProbe } from "../../../client/keys/packed-crypto.ts";
import { toTiles } from "../../../fhe/ring/tiles.ts";
import { ciphersOf } from "../../../client/keys/key-holder.ts";

const holder = await KeyHolder.create();
after(() => {
  holder[Symbol.dispose]();
});

/** What the matching server does with a block. */
function matchBlock(block: readonly Uint8Array[], probe: EncryptedProbe, stride: number): Uint8Array {
  const pieces = probe.pieces.filter((piece) => piece.stride === stride);
  assert.deepEqual(
    pieces.map(({ piece }) => piece),
    Array.from(block, (_, i) => i),
  );
  const kernel = RingKernel.create(ciphersOf(holder).parameterSet.dataPrimes, { probes: 1, pieces: block.length });
  kernel.loadProbes([toTiles(pieces.map(({ data }) => kernel.unpack(data)))]);
  return kernel.pack(kernel.matchBlock([toTiles(block.map((data) => kernel.unpack(data)))])[0]!);
}

const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, x, i) => sum + x * b[i]!, 0);

/** The distance by its definition. */
function definedDistance(space: EmbeddingSpace, a: readonly number[], b: readonly number[]): number {
  if (space.metric === "cosine") return 1 - dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
  return Math.hypot(...a.map((x, i) => x - b[i]!));
}

interface Example {
  readonly space: EmbeddingSpace;
  readonly stride: number;
  readonly templates: readonly (readonly number[])[];
  readonly probe: readonly number[];
}

const example: fc.Arbitrary<Example> = fc
  .record({
    dimension: fc.integer({ min: 2, max: 40 }),
    metric: fc.constantFrom("cosine" as const, "euclidean" as const),
    normBound: fc.double({ min: 0.5, max: 20, noNaN: true }),
  })
  .chain(({ dimension, metric, normBound }) => {
    const space = { dimension, metric, normBound: metric === "cosine" ? 1 : normBound };
    // Below the bound whatever the components, and away from zero, which has no direction.
    const largest = normBound / Math.sqrt(dimension);
    const embedding = fc
      .array(fc.double({ min: -largest, max: largest, noNaN: true }), { minLength: dimension, maxLength: dimension })
      .filter((x) => Math.hypot(...x) > normBound / 100);
    return fc.record({
      space: fc.constant(space),
      stride: fc.integer({ min: 1, max: encodedDimension(space) }),
      templates: fc.array(embedding, { minLength: 1, maxLength: 5 }),
      probe: embedding,
    });
  });

test("the distances of a block of any space and stride are those of the plain embeddings", () => {
  fc.assert(
    fc.property(example, ({ space, stride, templates, probe }) => {
      const crypto = new PackedCrypto(holder, space);
      const encrypted = crypto.encryptProbe(probe, [stride]);
      const product = matchBlock(crypto.encryptBlock(stride, templates), encrypted, stride);
      const distances = crypto.decryptDistances(
        stride,
        { encoding: "PACKED_RESIDUES", data: product },
        encrypted.squaredNorm,
      );
      templates.forEach((template, slot) => {
        const plain = definedDistance(space, template, probe);
        // Compared where the scheme is linear: an error e of a squared distance is e / 2d of a distance d, without
        // bound near 0.
        const [got, expected] =
          space.metric === "cosine"
            ? [distances[slot]!, plain]
            : [(distances[slot]! / space.normBound) ** 2, (plain / space.normBound) ** 2];
        assert.ok(Math.abs(got - expected) < 2e-5, `slot ${slot}: ${got}, plain ${expected}`);
      });
    }),
    { numRuns: 40 },
  );
});

test("a probe has all pieces of every stride it is asked for, and its own norm", () => {
  const crypto = new PackedCrypto(holder, { dimension: 10, metric: "euclidean", normBound: 2 });
  const { pieces, squaredNorm } = crypto.encryptProbe(new Float64Array(10).fill(0.2), [11, 4]);
  assert.deepEqual(
    pieces.map(({ stride, piece }) => [stride, piece]),
    [
      [11, 0],
      [4, 0],
      [4, 1],
      [4, 2],
    ],
  );
  assert.ok(Math.abs(squaredNorm - 10 * 0.1 ** 2) < 1e-12);
  assert.equal(new Set(pieces.map(({ data }) => Buffer.from(data).toString("base64"))).size, 4);
});

test("a template enrolled alone is one ciphertext at the stride of the encoded dimension", () => {
  const crypto = new PackedCrypto(holder, { dimension: 128, metric: "euclidean", normBound: 1 });
  assert.equal(crypto.looseStride, 129);
  // Two components, two primes, 4096 residues of 30 bits.
  assert.equal(crypto.encryptTemplate(new Float64Array(128)).length, (2 * 2 * 4096 * 30) / 8);
});

test("embeddings that do not fit the space are refused, as templates and as probes", () => {
  const euclidean = new PackedCrypto(holder, { dimension: 3, metric: "euclidean", normBound: 1 });
  const cosine = new PackedCrypto(holder, { dimension: 3, metric: "cosine", normBound: 1 });
  const bad: [PackedCrypto, number[]][] = [
    [euclidean, [0, 0]],
    [euclidean, [0, 0, 0, 0]],
    [euclidean, [1, 1, 0]],
    [euclidean, [NaN, 0, 0]],
    [cosine, [0, 0, 0]],
    [cosine, [Infinity, 0, 0]],
  ];
  for (const [crypto, embedding] of bad) {
    const isRefused = (error: unknown): boolean => error instanceof ClientError && error.reason === "EMBEDDING_INVALID";
    assert.throws(() => crypto.encryptTemplate(embedding), isRefused);
    assert.throws(() => crypto.encryptProbe(embedding, [3]), isRefused);
  }
});

test("bytes that are no product, and strides that the space cannot have, are refused as a reply", () => {
  const crypto = new PackedCrypto(holder, { dimension: 3, metric: "cosine", normBound: 1 });
  const product = new Uint8Array((3 * 2 * 4096 * 30) / 8);
  const isRefused = (error: unknown): boolean => error instanceof ClientError && error.reason === "REPLY_INVALID";
  assert.throws(() => crypto.decryptScores(3, { encoding: "PACKED_RESIDUES", data: product }), isRefused);
  for (const stride of [0, 4, 1.5, -1])
    assert.throws(() => crypto.decryptScores(stride, { encoding: "PACKED_RESIDUES", data: product }), isRefused);
  for (const data of [
    product.subarray(1),
    new Uint8Array(0),
    product.map(() => 255),
    crypto.encryptTemplate([1, 0, 0]),
  ]) {
    assert.throws(() => crypto.decryptScores(3, { encoding: "PACKED_RESIDUES", data: data }), isRefused);
  }
  assert.throws(() => crypto.decryptScores(3, { encoding: "SEAL", data: product }), isRefused);
});
