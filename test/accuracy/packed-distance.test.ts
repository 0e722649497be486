// What encryption costs in accuracy: distances as the client reports them, against plain ones in double precision.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { PARAMETER_SET_NAMES, RingKernel, encodedDimension, expectedError, layoutOf } from "@veilface/fhe";
import type { EmbeddingSpace, Metric, ParameterSetName } from "@veilface/fhe";
import { KeyHolder } from "../../client/keys/key-holder.ts";
import { PackedCrypto } from "../../client/keys/packed-crypto.ts";
import { toTiles } from "../../fhe/ring/tiles.ts";
import { ciphersOf } from "../../client/keys/key-holder.ts";

const TEMPLATES = 1000;
// Norms of 1 come out as 1 + 2^-52 at times.
const EUCLIDEAN_NORM_BOUND = 1 + 2 ** -40;

interface Errors {
  readonly distance: readonly number[];
  readonly score: readonly number[];
}

/** A vector of unit norm, uniform on the sphere. */
function randomUnitVector(dimension: number): number[] {
  const words = new Uint32Array(new Uint8Array(randomBytes(8 * dimension)).buffer);
  const uniform = (i: number): number => (words[i]! + 0.5) / 2 ** 32;
  const gaussian = Array.from(
    { length: dimension },
    (_, i) => Math.sqrt(-2 * Math.log(uniform(2 * i))) * Math.cos(2 * Math.PI * uniform(2 * i + 1)),
  );
  const norm = Math.hypot(...gaussian);
  return gaussian.map((x) => x / norm);
}

const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, x, i) => sum + x * b[i]!, 0);

/** Of unit vectors, by definition. */
function plainDistance(metric: Metric, a: readonly number[], b: readonly number[]): number {
  return metric === "cosine" ? 1 - dot(a, b) : Math.hypot(...a.map((x, i) => x - b[i]!));
}

/**
 * The ciphertexts of one block: packed by the client, or loose ones moved to their slots and added up as the server
 * does.
 */
function encryptBlock(
  kernel: RingKernel,
  crypto: PackedCrypto,
  stride: number,
  templates: readonly (readonly number[])[],
): Uint32Array[] {
  if (stride !== crypto.looseStride) return crypto.encryptBlock(stride, templates).map((data) => kernel.unpack(data));
  const shifted = templates.map((template, slot) =>
    kernel.multiplyByMonomial(kernel.unpack(crypto.encryptTemplate(template)), slot * stride),
  );
  return [kernel.sum(shifted)];
}

/** Errors of the distances and inner products of 1,000 random templates to one random probe. */
function measure(holder: KeyHolder, space: EmbeddingSpace, stride: number): Errors {
  const crypto = new PackedCrypto(holder, space);
  const { pieces, slots } = layoutOf(encodedDimension(space), stride);
  const kernel = RingKernel.create(ciphersOf(holder).parameterSet.dataPrimes, { probes: 1, pieces });
  const probe = randomUnitVector(space.dimension);
  const encrypted = crypto.encryptProbe(probe, [stride]);
  kernel.loadProbes([toTiles(encrypted.pieces.map(({ data }) => kernel.unpack(data)))]);
  const [distance, score]: [number[], number[]] = [[], []];
  for (let done = 0; done < TEMPLATES; done += slots) {
    const templates = Array.from({ length: Math.min(slots, TEMPLATES - done) }, () =>
      randomUnitVector(space.dimension),
    );
    const product = kernel.pack(kernel.matchBlock([toTiles(encryptBlock(kernel, crypto, stride, templates))])[0]!);
    const distances = crypto.decryptDistances(
      stride,
      { encoding: "PACKED_RESIDUES", data: product },
      encrypted.squaredNorm,
    );
    const scores = crypto.decryptScores(stride, { encoding: "PACKED_RESIDUES", data: product });
    templates.forEach((template, slot) => {
      distance.push(distances[slot]! - plainDistance(space.metric, template, probe));
      score.push(scores[slot]! - dot(template, probe));
    });
  }
  return { distance, score };
}

const deviation = (errors: readonly number[]): number => Math.sqrt(dot(errors, errors) / errors.length);
const largest = (errors: readonly number[]): number =>
  errors.reduce((most, error) => Math.max(most, Math.abs(error)), 0);

function assertAccurate(name: ParameterSetName, { distance, score }: Errors, expected: number): void {
  assert.equal(distance.length, TEMPLATES);
  if (name === "PACKED_N4096_Q60") assert.ok(largest(distance) < 1e-5, `largest error ${largest(distance)}`);
  else assert.ok(deviation(distance) < 2.5e-3, `deviation ${deviation(distance)}`);
  // The Euclidean probe's norm is sqrt(1.25), and 1,000 samples of a few hundred noise terms spread by some percent.
  assert.ok(
    deviation(score) < 1.3 * expected,
    `inner products err by ${deviation(score)}, the formula says ${expected}`,
  );
}

for (const name of PARAMETER_SET_NAMES) {
  for (const [dimension, metric] of [
    [128, "cosine"],
    [128, "euclidean"],
    [512, "cosine"],
    [512, "euclidean"],
  ] as const) {
    const space = { dimension, metric, normBound: metric === "cosine" ? 1 : EUCLIDEAN_NORM_BOUND };
    const encoded = encodedDimension(space);
    for (const stride of [1, 16, 130, encoded].filter((s) => s <= encoded)) {
      test(`${name}, ${metric}, ${dimension} components, stride ${stride}: encrypted distances are the plain ones`, async (t) => {
        using holder = await KeyHolder.create(name);
        const errors = measure(holder, space, stride);
        const expected = expectedError(ciphersOf(holder).parameterSet, layoutOf(encoded, stride));
        const figures = [
          deviation(errors.distance),
          largest(errors.distance),
          deviation(errors.score),
          largest(errors.score),
          expected,
        ].map((x) => x.toExponential(2));
        t.diagnostic(
          `distance std ${figures[0]} max ${figures[1]}; inner product std ${figures[2]} max ${figures[3]}, expected std ${figures[4]}`,
        );
        assertAccurate(name, errors, expected);
      });
    }
  }
}
