import assert from "node:assert/strict";
import { after, test } from "node:test";
import {
  DEGREE,
  RingKernel,
  expectedError,
  layoutOf,
  parameterSet,
  scalesOf,
  scoreIndex,
  toTiles,
} from "@veilface/fhe";
import type { Layout } from "@veilface/fhe";
import type { CompareTemplatesResponse, EncryptedDistances, SearchGalleryResponse } from "@veilface/proto";
import { ClientError } from "../../../client/errors.ts";
import { KeyHolder } from "../../../client/keys/key-holder.ts";
import { PackedCrypto } from "../../../client/keys/packed-crypto.ts";
import { VeilfaceClient } from "../../../client/veilface-client.ts";
import { FakeServer, sha256 } from "../../support/fake/fake-server.ts";
import { ciphersOf } from "../../../client/keys/key-holder.ts";

const set = parameterSet("PACKED_N4096_Q60");
const kernel = RingKernel.create(set.dataPrimes);
const keyHolder = await KeyHolder.create(set.name);
const server = await FakeServer.start(keyHolder.contextId);
const client = new VeilfaceClient({ keyHolder, address: server.address });
after(async () => {
  client[Symbol.dispose]();
  await server[Symbol.asyncDispose]();
  keyHolder[Symbol.dispose]();
});
const ADA = [1, 0, 0, 0];
const BOB = [0, 1, 0, 0];
await client.enroll("g", [
  { templateId: "t-ada", subjectId: "ada", embedding: ADA },
  { templateId: "t-bob", subjectId: "bob", embedding: BOB },
]);

const LAYOUT = layoutOf(4, 4);

/** A polynomial with one value at every score's coefficient, in the unit of scores, in NTT form modulo each prime. */
function scores(value: number, layout: Layout): Uint32Array {
  const { template, probe } = scalesOf(set, layout);
  const coefficients = new Float64Array(DEGREE);
  const shift = 2 ** 10;
  for (let slot = 0; slot < layout.slots; slot++)
    coefficients[scoreIndex(layout, slot)] = Math.round((value * template * probe) / shift);
  return kernel
    .encode(coefficients)
    .map((residue, i) => Number((BigInt(residue) * BigInt(shift)) % BigInt(kernel.primes[Math.floor(i / DEGREE)]!)));
}

/** A polynomial of the given coefficients, the others zero, in NTT form modulo each prime. */
function sparse(...coefficients: (readonly [at: number, value: number])[]): Uint32Array {
  const polynomial = new Float64Array(DEGREE);
  for (const [at, value] of coefficients) polynomial[at] = value;
  return kernel.encode(polynomial);
}

const small = (): Uint32Array =>
  kernel.encode(Float64Array.from({ length: DEGREE }, () => Math.round(2 ** 40 * (Math.random() - 0.5))));

/** Components of a product, which a test replaces; a component is [prime][coefficient]. */
type Components = [Uint32Array, Uint32Array, Uint32Array];

function falsifyProducts(change: (components: Components) => Components): void {
  const falsify = (distances: EncryptedDistances): void => {
    const product = kernel.unpack(distances.ciphertext!.data);
    const length = product.length / 3;
    const [c0, c1, c2] = change([
      product.slice(0, length),
      product.slice(length, 2 * length),
      product.slice(2 * length),
    ]);
    const data = Buffer.from(kernel.pack(Uint32Array.from([...c0, ...c1, ...c2])));
    distances.ciphertext = { ...distances.ciphertext!, data, sha256: sha256(data) };
  };
  const compare = (reply: CompareTemplatesResponse): CompareTemplatesResponse => {
    if (reply.message?.$case === "comparison") falsify(reply.message.value.distances!);
    return reply;
  };
  const search = (reply: SearchGalleryResponse): SearchGalleryResponse => {
    if (reply.message?.$case === "distances") falsify(reply.message.value);
    return reply;
  };
  server.falsify = { compare, search };
}

const isRefused = (error: unknown): boolean => error instanceof ClientError && error.reason === "REPLY_INVALID";

const without = (component: Uint32Array, prime: number): Uint32Array =>
  component.map((residue, i) => (Math.floor(i / DEGREE) === prime ? 0 : residue));
const sum = (a: Uint32Array, b: Uint32Array): Uint32Array => kernel.sum([a, b]);
const zero = new Uint32Array(2 * DEGREE);
const accepted = scores(1, LAYOUT);

const HOLLOW: Record<string, (components: Components) => Components> = {
  "(m, 0, 0), which decrypts to any distance the server likes": () => [accepted, zero, zero],
  "(m, c1, 0)": ([, c1]) => [accepted, c1, zero],
  "(m, 0, c2)": ([, , c2]) => [accepted, zero, c2],
  "(0, c1, c2)": ([, c1, c2]) => [zero, c1, c2],
  "c1 zero modulo the first prime": ([c0, c1, c2]) => [c0, without(c1, 0), c2],
  "c2 zero modulo the second prime": ([c0, c1, c2]) => [c0, c1, without(c2, 1)],
  "(m, 1, 1), of constant polynomials": () => [accepted, sparse([0, 1]), sparse([0, 1])],
  "(m, K X^5, c2), of one large coefficient": ([, , c2]) => [accepted, sparse([5, 2 ** 50]), c2],
  "(m, c1, c2) with all coefficients small": () => [accepted, small(), small()],
};

for (const [name, change] of Object.entries(HOLLOW)) {
  test(`a product is refused, in verification and identification: ${name}`, async () => {
    falsifyProducts(change);
    await assert.rejects(client.verify("g", { subjectId: "bob", embedding: ADA }, { threshold: 0.5 }), isRefused);
    await assert.rejects(client.identify("g", ADA), isRefused);
    server.falsify = {};
    assert.equal((await client.verify("g", { subjectId: "bob", embedding: ADA }, { threshold: 0.5 })).accepted, false);
  });
}

for (const [sigmas, isAccepted] of [
  [4, true],
  [12, false],
  [1e5, false],
] as const) {
  const fate = isAccepted ? "a distance of nearly zero" : "refused rather than clamped";
  test(`a score ${sigmas} standard deviations of noise above 1 is ${fate}`, async () => {
    const more = scores(sigmas * expectedError(set, LAYOUT), LAYOUT);
    falsifyProducts(([c0, c1, c2]) => [sum(c0, more), c1, c2]);
    const [verifying, identifying] = [
      client.verify("g", { subjectId: "ada", embedding: ADA }, { threshold: 0.5 }),
      client.identify("g", ADA, { maxCandidates: 1 }),
    ];
    await Promise.allSettled([verifying, identifying]);
    if (isAccepted) {
      assert.ok((await verifying).distance < 1e-6 && (await identifying)[0]?.subjectId === "ada");
    } else {
      await assert.rejects(verifying, isRefused);
      await assert.rejects(identifying, isRefused);
    }
  });
}

test("a score below -1 is refused too, and one in a slot without a template is nobody's", async () => {
  falsifyProducts(([c0, c1, c2]) => [sum(c0, scores(-1.01, LAYOUT)), c1, c2]);
  await assert.rejects(client.verify("g", { subjectId: "bob", embedding: ADA }, { threshold: 0.5 }), isRefused);
  falsifyProducts(([c0, c1, c2]) => [sum(c0, withoutSlots(scores(1.01, LAYOUT), 2)), c1, c2]);
  assert.equal((await client.identify("g", ADA))[0]?.subjectId, "ada");
  server.falsify = {};
});

/** The same with zero at the first slots' scores. */
function withoutSlots(residues: Uint32Array, count: number): Uint32Array {
  const coefficients = kernel.decode(residues);
  const unit = coefficients[scoreIndex(LAYOUT, count)]!;
  const first = new Float64Array(DEGREE);
  for (let slot = 0; slot < count; slot++) first[scoreIndex(LAYOUT, slot)] = Math.round(-unit / 2 ** 10);
  const canceling = kernel
    .encode(first)
    .map((residue, i) => Number((BigInt(residue) << 10n) % BigInt(kernel.primes[Math.floor(i / DEGREE)]!)));
  return sum(residues, canceling);
}

for (const name of ["PACKED_N4096_Q60", "PACKED_N4096_Q30"] as const) {
  for (const metric of ["cosine", "euclidean"] as const) {
    test(`of ${name}, ${metric}, no distance of an honest full block is refused, even between equals`, async () => {
      using holder = await KeyHolder.create(name);
      const crypto = new PackedCrypto(holder, { dimension: 3, metric, normBound: 1 });
      const ring = RingKernel.create(ciphersOf(holder).parameterSet.dataPrimes, { probes: 1, pieces: 1 });
      const layout = crypto.layout(crypto.looseStride);
      for (const embedding of [
        [1, 0, 0],
        [-0.6, 0, 0.8],
      ]) {
        const probe = crypto.encryptProbe([1, 0, 0], [layout.stride]);
        const [block] = crypto.encryptBlock(
          layout.stride,
          Array.from({ length: layout.slots }, () => embedding),
        );
        const product = multiply(ring, block!, probe.pieces[0]!.data);
        const distances = crypto.decryptDistances(
          layout.stride,
          { encoding: "PACKED_RESIDUES", data: ring.pack(product) },
          probe.squaredNorm,
        );
        assert.ok(distances.subarray(0, layout.slots).every((distance) => distance >= 0));
        // Half of what is left below the modulus; there 8 standard deviations of the smaller set do not fit.
        if (embedding[0] !== 1 || name === "PACKED_N4096_Q30") continue;
        const beyond = sumWith(ring, product, scores(0.01, layout));
        const refused = crypto.decryptDistances(
          layout.stride,
          { encoding: "PACKED_RESIDUES", data: ring.pack(beyond) },
          probe.squaredNorm,
        );
        assert.ok(refused.subarray(0, layout.slots).every(Number.isNaN));
      }
    });
  }
}

function multiply(ring: RingKernel, block: Uint8Array, probe: Uint8Array): Uint32Array {
  ring.loadProbes([toTiles([ring.unpack(probe)])]);
  return ring.matchBlock([toTiles([ring.unpack(block)])])[0]!;
}

function sumWith(ring: RingKernel, product: Uint32Array, more: Uint32Array): Uint32Array {
  const padded = new Uint32Array(product.length);
  padded.set(more);
  return ring.sum([product, padded]);
}
