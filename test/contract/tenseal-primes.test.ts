// Vectors and keys whose last primes are dropped on this side, held to a real server and to SEAL with the whole chain
// of primes.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { galoisKeyIndex } from "@veilface/fhe";
import initialize from "node-seal";
import type { Ciphertext } from "node-seal";
import { ByteStream } from "../../client/pairwise/byte-stream.ts";
import { trimKeys } from "../../client/pairwise/key-trimmer.ts";
import { PairwiseClient } from "../../client/pairwise/pairwise-client.ts";
import type { PairwiseCiphertext } from "../../client/pairwise/pairwise-wire.ts";
import { parmsIdsOf, readSealParameters, withDataPrimes } from "../../client/pairwise/seal-parameters.ts";
import { readSealStream } from "../../client/pairwise/seal-stream.ts";
import { startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import { randomEmbedding } from "../support/independent/independent-encoding.ts";
import { plainResult } from "../support/independent/pairwise-context.ts";
import { COMPRESSIONS, TUTORIAL, TensealMaker, stepsUpTo } from "../support/independent/tenseal-maker.ts";
import { decodeTensealVector } from "../../scripts/dev/tenseal-wire.ts";

const { server } = await startContractServer();
const maker = await TensealMaker.create(TUTORIAL);
const client = new PairwiseClient({ address: server.address });
after(() => {
  client[Symbol.dispose]();
  maker[Symbol.dispose]();
});
const DIMENSION = 100;
const { degree } = TUTORIAL;
const keys = maker.makeKeys(stepsUpTo(512));
const steps = stepsUpTo(64);
const whole = readSealParameters(maker.encryptionParameters(), "the parameters");
const shorter = withDataPrimes(whole, 2);
const trimming = {
  degree,
  dataPrimes: 3,
  keptPrimes: 2,
  keyParmsId: (await parmsIdsOf(degree, shorter.primes, "x")).key,
  name: "the keys",
};

function trim(object: Buffer, indices: readonly number[], chunkBytes: number): Promise<Uint8Array> {
  const chunks = Array.from({ length: Math.ceil(object.length / chunkBytes) }, (_, i) =>
    object.subarray(i * chunkBytes, (i + 1) * chunkBytes),
  );
  const stream = new ByteStream(chunks, "the keys");
  return readSealStream(stream, { length: object.length, name: "the keys", what: "keys" }, (body) =>
    trimKeys(body, new Set(indices), trimming),
  );
}

test("keys of a shorter chain are the same in every compression and in chunks of any length", async () => {
  const indices = steps.map((step) => galoisKeyIndex(step, degree));
  const [first, ...others] = await Promise.all(
    COMPRESSIONS.map((compression, i) => trim(keys.galoisKeys({ compression }), indices, [65_536, 1009, 300_000][i]!)),
  );
  for (const other of others) assert.ok(Buffer.from(first!).equals(other));
  await assert.rejects(trim(keys.galoisKeys({ seeded: true }), indices, 65_536), /seeds/);
  await assert.rejects(trim(keys.galoisKeys().subarray(0, -1), indices, 65_536), /no whole SEAL object/);
});

test("a server compares vectors under keys whose last primes were dropped, and SEAL reads the result with all of them", async () => {
  const galoisKeys = await trim(
    keys.galoisKeys(),
    steps.map((step) => galoisKeyIndex(step, degree)),
    65_536,
  );
  const relinKeys = await trim(keys.relinKeys(), [0], 65_536);
  const context = await client.uploadContext({
    encryptionParameters: shorter.encoded,
    scale: TUTORIAL.scale,
    relinKeys,
    galoisKeys,
  });
  assert.deepEqual([context.modulusBits, context.rotationSteps, context.maxDimension], [[60, 40, 60], steps, 128]);
  const [x, y] = [randomEmbedding(DIMENSION), randomEmbedding(DIMENSION)];
  for (const symmetric of [false, true]) {
    const [first, second] = [maker.vector(x, { symmetric }), maker.ciphertext(y, { symmetric, compression: "none" })];
    const reply = await client.compare(
      context.contextId,
      { first: { encoding: "TENSEAL_CKKS_VECTOR", bytes: first }, second: { encoding: "SEAL", bytes: second } },
      { operation: "SQUARED_DISTANCE" },
    );
    const found = maker.decrypt("CIPHERTEXT_ENCODING_TENSEAL_CKKS_VECTOR", reply!.bytes);
    assert.ok(Math.abs(found - plainResult("SQUARED_DISTANCE", x, y)) < 1e-4, String(found));
  }
});

test("a result is added to results and plain numbers, and to fresh vectors of its own scale alone", async () => {
  const seal = await initialize();
  using owned = new DisposableStack();
  const parameters = owned.use(new seal.EncryptionParameters(seal.SchemeType.ckks));
  parameters.loadFromArray(new Uint8Array(maker.encryptionParameters("none")));
  const sealContext = owned.use(new seal.SEALContext(parameters, true, seal.SecLevelType.tc128));
  const [evaluator, encoder] = [
    owned.use(new seal.Evaluator(sealContext)),
    owned.use(new seal.CKKSEncoder(sealContext)),
  ];
  const open = (bytes: Uint8Array): Ciphertext => {
    const ciphertext = owned.use(new seal.Ciphertext());
    ciphertext.loadFromArray(sealContext, new Uint8Array(bytes));
    return ciphertext;
  };
  const value = (ciphertext: Ciphertext): number =>
    maker.decryptSlots(ciphertext.saveToArray(seal.ComprModeType.none) as Uint8Array)[0]!;
  const { contextId } = await client.uploadTensealContext(maker.publicContext(keys), { dimension: DIMENSION });
  const [x, y] = [randomEmbedding(DIMENSION), randomEmbedding(DIMENSION)];
  const vectorOf = (v: readonly number[]): PairwiseCiphertext => ({
    encoding: "TENSEAL_CKKS_VECTOR",
    bytes: maker.vector(v),
  });
  const vectors = { first: vectorOf(x), second: vectorOf(y) };
  const expected = plainResult("SQUARED_DISTANCE", x, y);
  const replies = await Promise.all(
    [{}, { normBound: 3 }].map((bound) =>
      client.compare(contextId, vectors, { operation: "SQUARED_DISTANCE", ...bound }),
    ),
  );
  const messages = replies.map((reply) => decodeTensealVector(reply!.bytes));
  const [one, bounded] = messages.map(({ ciphertexts }) => open(ciphertexts[0]!)) as [Ciphertext, Ciphertext];
  // What TenSEAL does before it adds: both to the lower level; plain numbers encoded at the scale that stands beside
  // the ciphertext.
  evaluator.cipherModSwitchToInplace(one, bounded.parmsId());
  using sum = new seal.Ciphertext();
  evaluator.add(one, bounded, sum);
  assert.ok(Math.abs(value(sum) - 2 * expected) < 1e-4);
  using half = new seal.Plaintext();
  encoder.encode(new Float64Array(maker.slots).fill(0.5), messages[1]!.scale, half);
  evaluator.plainModSwitchToInplace(half, bounded.parmsId());
  evaluator.addPlain(bounded, half, sum);
  assert.ok(Math.abs(value(sum) - expected - 0.5) < 1e-4);
  const fresh = (scale: number): Ciphertext => {
    const ciphertext = open(maker.ciphertext([0.25], { scale }));
    evaluator.cipherModSwitchToInplace(ciphertext, bounded.parmsId());
    return ciphertext;
  };
  evaluator.add(bounded, fresh(messages[1]!.scale), sum);
  assert.ok(Math.abs(value(sum) - expected - 0.25) < 1e-4);
  assert.throws(
    () => {
      evaluator.add(bounded, fresh(TUTORIAL.scale), sum);
    },
    (error: unknown) => String((error as { message: unknown }).message).includes("scale mismatch"),
  );
});

testThatTheLogTellsNothing(server);
