import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, test } from "node:test";
import { bomb } from "../support/hostile/bombs.ts";
import { contractKey, startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import { COSINE_128, TestGallery, question } from "../support/independent/gallery-fixture.ts";
import type { CiphertextMessage } from "../support/independent/gallery-fixture.ts";
import { CallRefused } from "../support/independent/independent-client.ts";
import { CIPHERTEXT_WORDS_AT } from "../support/independent/independent-crypto.ts";
import { randomEmbedding } from "../support/independent/independent-encoding.ts";
import { badPairwiseCiphertexts } from "../support/hostile/pairwise-bad-ciphertexts.ts";
import { ENCODINGS, TestContext, listContextIds, sealUpload } from "../support/independent/pairwise-context.ts";
import { PairwiseGallery } from "../support/independent/pairwise-gallery.ts";
import { tracesIn } from "../support/pairwise-traces.ts";
import { assertRefused } from "../support/independent/refusals.ts";
import { SMALL, TensealMaker, stepsUpTo } from "../support/independent/tenseal-maker.ts";

const RPC = "MatchingService/CompareCiphertexts";
const { server, client } = await startContractServer();
const maker = await newMaker();
const other = await newMaker({ degree: 4096, primeBits: [34, 35, 40], scale: 2 ** 31 });
const keys = maker.makeKeys(stepsUpTo(64));
const context = await TestContext.create(client, maker, sealUpload(maker, keys));
const packedKey = await contractKey();
const packed = await TestGallery.create(client, packedKey);
const x = randomEmbedding(4);
const [first, second] = [context.vector(x), context.vector(randomEmbedding(4))];
const gallery = await PairwiseGallery.create(context, { ...COSINE_128, dimension: 4 });
await gallery.enroll([{ template_id: "t", subject_id: "s", embedding: x }]);
const held = await gallery.describe();
const contexts = await listContextIds(client);
const invalid = { status: "INVALID_ARGUMENT", reason: "FIELD_INVALID" } as const;
const otherScheme = { status: "INVALID_ARGUMENT", reason: "SCHEME_MISMATCH" } as const;
const secrets = [maker.secretKey("none"), maker.secretKey(), other.secretKey("none"), packedKey.secretKeyBytes("none")];

async function newMaker(parameters = SMALL): Promise<TensealMaker> {
  const made = await TensealMaker.create(parameters);
  after(() => {
    made[Symbol.dispose]();
  });
  return made;
}

/** Nothing was stored, and the next request is served. */
async function assertUnharmed(): Promise<void> {
  assert.deepEqual(await gallery.describe(), held);
  assert.deepEqual(await listContextIds(client), contexts);
  assert.equal(await tracesIn(server.dataFolder, secrets), 0, "bytes of a secret key are in the data folder");
  await context.assertServes();
}

/** All calls that take a ciphertext of a pairwise context. */
function callsWith(ciphertext: CiphertextMessage | undefined): Record<string, () => Promise<unknown>> {
  const pieces = [{ stride: 4, piece: 0, ciphertext }];
  const comparison = { operation: "PAIRWISE_OPERATION_SQUARED_DISTANCE", dimension: 4 };
  return {
    "first of two": () => client.call(RPC, { first: ciphertext, second, ...comparison }),
    "second of two": () => client.call(RPC, { first, second: ciphertext, ...comparison }),
    template: () =>
      client.call(
        "GalleryService/EnrollTemplates",
        { target: gallery.target },
        { template: { template_id: "bad", subject_id: "bad", ciphertext } },
      ),
    probe: () => client.call("MatchingService/SearchGallery", ...question(gallery.target, pieces)),
    "probe of one subject": () =>
      client.call("MatchingService/CompareTemplates", ...question({ ...gallery.target, subject_id: "s" }, pieces)),
  };
}

const { data: answer } = await context.ask(first, second, { dimension: 4, reply: "SEAL" });
const bombs = { zlib: await bomb("zlib"), zstd: await bomb("zstd") };
const packedSecret = (compression: "none" | "zlib" | "zstd"): Buffer => packedKey.secretKeyBytes(compression);
for (const { name, ciphertext, reason, says } of badPairwiseCiphertexts({
  context,
  vector: x,
  other,
  packedSecret,
  bombs,
  answer,
})) {
  test(`refused with ${reason} wherever it is sent: ${name}`, async () => {
    for (const [place, call] of Object.entries(callsWith(ciphertext))) {
      const refusal = await call().then(
        () => assert.fail(`served as ${place}`),
        (error: unknown) => error,
      );
      assert.ok(refusal instanceof CallRefused, place);
      assert.deepEqual(
        [refusal.code, refusal.reason],
        [3, reason === "ANY" ? refusal.reason : reason],
        `as ${place}: ${refusal.details}`,
      );
      assert.match(refusal.details, says, place);
    }
    await assertUnharmed();
  });
}

const ask = (change: object): Promise<unknown> =>
  client.call(RPC, { first, second, operation: "PAIRWISE_OPERATION_SQUARED_DISTANCE", dimension: 4, ...change });

test("ciphertexts of two contexts are refused, and so are those of none", async () => {
  const under = await TestContext.create(client, maker, sealUpload(maker, keys, { seeded: true }));
  const elsewhere = { ...second, context_id: under.contextId };
  await assertRefused(ask({ second: elsewhere }), {
    status: "INVALID_ARGUMENT",
    reason: "CONTEXT_MISMATCH",
    field: "second.context_id",
  });
  await client.call("ContextService/DeleteContext", { context_id: under.contextId });
  await assertRefused(ask({ first: elsewhere, second: elsewhere }), {
    status: "NOT_FOUND",
    reason: "CONTEXT_NOT_FOUND",
  });
  for (const context_id of ["", "x", context.contextId.toUpperCase()]) {
    await assertRefused(ask({ first: { ...first, context_id }, second: { ...second, context_id } }), {
      ...invalid,
      field: "first.context_id",
      says: /64 lowercase hex/,
    });
  }
  await assertUnharmed();
});

test("a comparison of ciphertexts under a packed context is refused", async () => {
  const [piece] = packed.pieces(randomEmbedding(128));
  await assertRefused(ask({ first: piece!.ciphertext, second: piece!.ciphertext }), otherScheme);
  const [a, b] = [first, second].map((ciphertext) => ({ ...ciphertext, context_id: packedKey.contextId }));
  await assertRefused(ask({ first: a, second: b }), otherScheme);
  await assertUnharmed();
});

test("the squared distance of a ciphertext to itself is not computed, as it would be bare; its inner product is", async () => {
  for (const encoding of ENCODINGS) {
    const same = context.vector(x, encoding);
    assert.deepEqual(await ask({ first: same, second: same }), [{ distance: null, identical: true }]);
    const inner = await context.compare(same, same, { dimension: 4, operation: "INNER_PRODUCT" });
    assert.ok(Math.abs(inner - 1) < 1e-3);
    // The same vector encrypted twice is another ciphertext.
    assert.ok(Math.abs(await context.compare(same, context.vector(x, encoding), { dimension: 4 })) < 1e-3);
  }
  // Another first component over the same second one: the difference is as bare.
  const bare = maker.ciphertext(x, { compression: "none" });
  const shifted = Buffer.from(bare);
  shifted.writeBigUInt64LE(shifted.readBigUInt64LE(CIPHERTEXT_WORDS_AT) ^ 1n, CIPHERTEXT_WORDS_AT);
  await assertRefused(context.ask(context.envelope(bare), context.envelope(shifted), { dimension: 4 }), {
    status: "INVALID_ARGUMENT",
    reason: "CIPHERTEXT_TRANSPARENT",
  });
  await assertUnharmed();
});

test("a dimension that is missing, out of range or not the vectors' is refused", async () => {
  for (const dimension of [0, -1, 2049, 2 ** 31 - 1])
    await assertRefused(ask({ dimension }), { ...invalid, field: "dimension" });
  await assertRefused(ask({ dimension: 129 }), {
    status: "INVALID_ARGUMENT",
    reason: "ROTATION_KEYS_MISSING",
    field: "dimension",
    says: /\b128\b/,
  });
  const [vector4, vector5] = [
    context.vector(x, "TENSEAL_CKKS_VECTOR"),
    context.vector(randomEmbedding(5), "TENSEAL_CKKS_VECTOR"),
  ];
  for (const change of [
    { first: vector4, dimension: 5 },
    { first: vector4, second: vector5, dimension: 4 },
    { first: vector4, second: vector5, dimension: 0 },
    { second: vector5, dimension: 4 },
  ]) {
    await assertRefused(ask(change), { ...invalid, field: "dimension", says: /\b[45]\b/ });
  }
  await assertRefused(gallery.enrollTemplates([{ template_id: "five", subject_id: "five", ciphertext: vector5 }]), {
    status: "INVALID_ARGUMENT",
    reason: "FIELD_INVALID",
    says: /\b5\b.*\b4\b/,
  });
  await assertUnharmed();
});

test("an operation or an encoding of answers that does not exist, or is the packed scheme's, is refused", async () => {
  for (const operation of [0, 3, -1])
    await assertRefused(ask({ operation }), {
      ...invalid,
      field: "operation",
      says: /PAIRWISE_OPERATION_SQUARED_DISTANCE/,
    });
  for (const reply_encoding of [99, -1])
    await assertRefused(ask({ reply_encoding }), { ...invalid, field: "reply_encoding" });
  await assertRefused(ask({ reply_encoding: "CIPHERTEXT_ENCODING_PACKED_RESIDUES" }), {
    ...otherScheme,
    field: "reply_encoding",
  });
  await assertUnharmed();
});

test("random bytes under their right SHA-256 are refused, in either encoding", async () => {
  for (let k = 0; k < 40; k++) {
    const noise = createHash("shake256", { outputLength: 10 + 50 * k })
      .update(`noise ${k}`)
      .digest();
    for (const encoding of ENCODINGS)
      await assertRefused(ask({ second: context.envelope(noise, encoding) }), {
        status: "INVALID_ARGUMENT",
        reason: "CIPHERTEXT_MALFORMED",
      });
  }
  await assertUnharmed();
});

testThatTheLogTellsNothing(server);
