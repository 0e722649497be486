import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { bomb } from "../support/hostile/bombs.ts";
import { contractKey, startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import { CallRefused } from "../support/independent/independent-client.ts";
import type { OpenCall } from "../support/independent/independent-client.ts";
import {
  badKeys,
  badParameters,
  badTensealContexts,
  privateContexts,
  secretForms,
  secretUploads,
  sealParameters,
} from "../support/hostile/pairwise-bad-uploads.ts";
import type { BadUpload, Stranger } from "../support/hostile/pairwise-bad-uploads.ts";
import {
  CHUNK_BYTES,
  TestContext,
  announcement,
  chunks,
  createPairwiseContext,
  listContextIds,
  sealUpload,
  tensealUpload,
} from "../support/independent/pairwise-context.ts";
import { tracesIn } from "../support/pairwise-traces.ts";
import { assertRefused } from "../support/independent/refusals.ts";
import type { ExpectedRefusal } from "../support/independent/refusals.ts";
import { SMALL, TensealMaker, stepsUpTo } from "../support/independent/tenseal-maker.ts";

const RPC = "ContextService/CreateContext";
const { server, client } = await startContractServer();
const maker = await newMaker();
const good = await TestContext.create(client, maker, sealUpload(maker, maker.makeKeys(stepsUpTo(8))));
const before = await listContextIds(client);
const stranger = await newStranger();
// Of the same sizes, so that nothing but SEAL's hash of the parameters tells them apart.
const other = await newStranger({ ...SMALL, primeBits: [34, 35, 40], scale: 2 ** 31 });
const packedKey = await contractKey();
const invalid = { status: "INVALID_ARGUMENT", reason: "FIELD_INVALID" } as const;
const broken = { status: "INVALID_ARGUMENT", reason: "UPLOAD_BROKEN" } as const;
/** What none of the refused uploads may leave behind. */
const marked = [
  ...[stranger, other].flatMap(({ maker: owner, keys }) => [
    owner.secretKey("none"),
    owner.secretKey("zstd"),
    owner.publicKey("none"),
    keys.relinKeys({ compression: "none" }),
    keys.galoisKeys({ compression: "none" }),
  ]),
  packedKey.secretKeyBytes("none"),
];

async function newMaker(parameters = SMALL): Promise<TensealMaker> {
  const made = await TensealMaker.create(parameters);
  after(() => {
    made[Symbol.dispose]();
  });
  return made;
}

async function newStranger(parameters = SMALL): Promise<Stranger> {
  const owner = await newMaker(parameters);
  return { maker: owner, keys: owner.makeKeys([1]) };
}

/** Nothing was stored, and the next request is served. */
async function assertUnharmed(): Promise<void> {
  assert.deepEqual(await listContextIds(client), before);
  assert.equal(await tracesIn(server.dataFolder, marked), 0, "bytes of a refused upload are in the data folder");
  await good.assertServes();
}

async function assertUploadRefused(call: Promise<unknown>, expected: ExpectedRefusal): Promise<void> {
  await assertRefused(call, expected);
  await assertUnharmed();
}

function testRefused(uploads: readonly BadUpload[]): void {
  for (const { name, upload, reason, says } of uploads) {
    test(`refused with ${reason}: ${name}`, () =>
      assertUploadRefused(createPairwiseContext(client, upload), { status: "INVALID_ARGUMENT", reason, says }));
  }
}

const large = await newMaker({ degree: 8192, primeBits: [60, 40, 40, 60], scale: 2 ** 40 });
testRefused(
  [
    ...secretForms("the same parameters", (compression) => stranger.maker.secretKey(compression)),
    ...secretForms("other parameters", (compression) => large.secretKey(compression)).slice(1, 4),
    ...secretForms("the packed scheme", (compression) => packedKey.secretKeyBytes(compression)).slice(0, 1),
  ].flatMap((secret) => secretUploads(stranger, secret)),
);
testRefused(privateContexts(stranger));
testRefused(badTensealContexts(stranger));
testRefused(badKeys(stranger, other, { zlib: await bomb("zlib"), zstd: await bomb("zstd") }));
testRefused(badParameters(stranger));

test("the parameters that these tests write are written as SEAL writes them", () => {
  assert.ok(sealParameters({ degree: 4096, primes: maker.primes }).equals(maker.encryptionParameters("none")));
});

test("fresh ciphertexts of more than 1,900,000 bytes are refused with their parameters", async () => {
  const huge = await newMaker({ degree: 32768, primeBits: [60, 50, 50, 50, 60], scale: 2 ** 50 });
  const upload = sealUpload(stranger.maker, stranger.keys);
  const pairwise = { encryption_parameters: huge.encryptionParameters(), scale: 2 ** 50 };
  await assertUploadRefused(createPairwiseContext(client, { ...upload, pairwise }), {
    status: "INVALID_ARGUMENT",
    reason: "PARAMETERS_INVALID",
    says: /1900000|1,900,000/,
  });
});

test("the scale may go up to its limits, and no further", async () => {
  const [q, p] = maker.primes.map(Number) as [number, number];
  const upload = sealUpload(stranger.maker, stranger.keys);
  const at = (scale: number): Promise<unknown> =>
    createPairwiseContext(client, { ...upload, pairwise: { ...upload.pairwise, scale } });
  const limits = [Math.sqrt(2 ** 10 * p), Math.sqrt((q / 32) * p)] as const;
  for (const scale of [limits[0] * 0.999, limits[1] * 1.001])
    await assertUploadRefused(at(scale), { status: "INVALID_ARGUMENT", reason: "SCALE_OVERFLOW", says: /2\^\d/ });
  for (const scale of [limits[0] * 1.001, limits[1] * 0.999]) {
    const { context_id } = (await at(scale)) as { context_id: string };
    await client.call("ContextService/DeleteContext", { context_id });
  }
  await assertUnharmed();
});

const upload = sealUpload(stranger.maker, stranger.keys, { compression: "none" });
const announced = announcement(upload);
const { context: announcedContext, key_uploads: uploads } = announced.new_context;
const announcing = (key_uploads: readonly object[], context = announcedContext): object => ({
  new_context: { context, key_uploads },
});
// Several for each object.
const parts = chunks(upload, 100_000);

test("80 MB of keys are refused when they are announced, before a byte of them is sent", async () => {
  const call = client.open(RPC);
  call.send(announcing(uploads.map((message) => ({ ...message, total_bytes: 40 << 20 }))));
  await assertUploadRefused(call.next(), {
    status: "RESOURCE_EXHAUSTED",
    reason: "TOO_LARGE",
    field: "new_context.key_uploads",
    says: /67108864/,
  });
});

test("an announcement of anything but one TenSEAL context, or relinearization and Galois keys, is refused", async () => {
  const [relin, galois] = uploads as [object, object];
  const tenseal = { ...relin, material: "KEY_MATERIAL_TENSEAL_CONTEXT" };
  for (const key_uploads of [
    [],
    [relin],
    [galois],
    [relin, relin],
    [relin, galois, relin],
    [tenseal, tenseal],
    [tenseal, relin, galois],
    [{ ...relin, material: 0 }],
    [relin, { ...galois, material: 9 }],
  ]) {
    await assertUploadRefused(client.call(RPC, announcing(key_uploads)), {
      ...invalid,
      field: "new_context.key_uploads",
      says: /KEY_MATERIAL_TENSEAL_CONTEXT/,
    });
  }
});

test("an announcement without a length or a SHA-256 is refused", async () => {
  const [relin, galois] = uploads as [object, object];
  for (const total_bytes of [0, -1])
    await assertUploadRefused(client.call(RPC, announcing([relin, { ...galois, total_bytes }])), {
      ...invalid,
      field: "new_context.key_uploads.total_bytes",
    });
  for (const length of [0, 31, 33])
    await assertUploadRefused(client.call(RPC, announcing([relin, { ...galois, sha256: randomBytes(length) }])), {
      ...invalid,
      field: "new_context.key_uploads.sha256",
    });
});

const [p0, p1, p2, ...later] = parts as [(typeof parts)[0], (typeof parts)[0], (typeof parts)[0], ...typeof parts];
const changed = (change: object): object => ({ key_chunk: { ...p1.key_chunk, ...change } });
const OUT_OF_ORDER: Readonly<Record<string, readonly object[]>> = {
  "in another order": [p1, p0, p2, ...later],
  "with one twice": [p0, p0, p1, p2, ...later],
  "with one missing": [p0, p2, ...later],
  "with an offset of -1": [p0, changed({ offset: -1 })],
  "with another object's name": [p0, changed({ material: "KEY_MATERIAL_SEAL_GALOIS_KEYS" })],
  "with an object that was not announced": [p0, changed({ material: "KEY_MATERIAL_TENSEAL_CONTEXT" })],
  "with an empty one": [p0, changed({ data: Buffer.alloc(0) })],
  "with one of more than 1 MiB": [p0, changed({ data: Buffer.alloc(CHUNK_BYTES + 1, 3) })],
  "that go past the announced length": [p0, changed({ data: Buffer.alloc(CHUNK_BYTES, 3) })],
  "with one after the last": [p0, p1, p2, ...later, p0],
  "of which none comes": [],
  "that stop halfway": parts.slice(0, parts.length / 2),
  "without the last": parts.slice(0, -1),
};
for (const [how, messages] of Object.entries(OUT_OF_ORDER)) {
  test(`chunks ${how} are refused`, () =>
    assertUploadRefused(client.call(RPC, announced, ...messages), { ...broken, says: /chunk|bytes|order|received/ }));
}

test("bytes that do not have the announced SHA-256 are refused", async () => {
  const damaged = Buffer.from(p1.key_chunk.data);
  damaged[7]! ^= 1;
  await assertUploadRefused(client.call(RPC, announced, p0, changed({ data: damaged }), p2, ...later), {
    ...broken,
    says: /sha256|SHA-256/,
  });
});

test("a first message with a chunk, and later ones with anything but a chunk, are refused", async () => {
  await assertUploadRefused(client.call(RPC, p0, p1, p2, ...later), { ...invalid, field: "new_context" });
  await assertUploadRefused(client.call(RPC, announced, p0, {}), { ...invalid, field: "key_chunk" });
  await assertUploadRefused(client.call(RPC, announced, p0, announced), { ...invalid, field: "new_context" });
});

test("keys for a packed context, which has none, are refused", async () => {
  const context = { packed: { parameter_set: "PARAMETER_SET_PACKED_N4096_Q60", key_id: randomBytes(32) } };
  await assertUploadRefused(client.call(RPC, announcing(uploads, context), ...parts), {
    status: "INVALID_ARGUMENT",
    reason: "SCHEME_MISMATCH",
  });
  await assertUploadRefused(client.call(RPC, announcing([], context), p0), {
    status: "INVALID_ARGUMENT",
    reason: "SCHEME_MISMATCH",
  });
});

test("clients that hang up halfway leave nothing, and make room for the next", async () => {
  for (let k = 0; k < 12; k++) await hangUpAfter(parts.slice(0, k % 3 === 0 ? 0 : parts.length / 2));
  await assertUnharmed();
  // Each of them held a place among the few uploads that are received at once, if it were not given back.
  await assertUploadRefused(client.call(RPC, announced, ...parts.slice(0, -1)), broken);
});

async function hangUpAfter(messages: readonly object[]): Promise<void> {
  const call = client.open(RPC);
  for (const message of [announced, ...messages]) call.send(message);
  await sleep(20);
  call.hangUp();
  await assert.rejects(call.next(), (error: CallRefused) => error.code === 1);
}

/** Uploads that announce 64 MiB, send one byte, and no more. */
function trickle(count: number): OpenCall[] {
  const sha256 = Buffer.alloc(32);
  const material = "KEY_MATERIAL_TENSEAL_CONTEXT";
  return Array.from({ length: count }, () => {
    const call = client.open(RPC, 120_000);
    call.send(announcing([{ material, total_bytes: 64 * 2 ** 20, sha256 }], { pairwise: {} }));
    call.send({ key_chunk: { material, offset: 0, data: Buffer.of(1) } });
    return call;
  });
}

async function honestUpload(): Promise<string> {
  const { maker: owner, keys } = await newStranger();
  const sent = tensealUpload(owner.publicContext(keys));
  const call = client.open(RPC);
  for (const message of [announcement(sent), ...chunks(sent)]) call.send(message);
  call.end();
  return outcomeOf(call);
}

async function forget(context_id: string): Promise<void> {
  await client.call("ContextService/DeleteContext", { context_id });
}

test("four uploads that trickle keep nobody out, and of sixteen one makes room within seconds", {
  timeout: 120_000,
}, async () => {
  const few = trickle(4);
  await sleep(200);
  await forget(await honestUpload());
  const many = trickle(12);
  await sleep(200);
  const deadline = Date.now() + 60_000;
  let outcome = await honestUpload();
  while (outcome === "OVERLOADED" && Date.now() < deadline) {
    await sleep(1000);
    outcome = await honestUpload();
  }
  await forget(outcome);
  const [refusal] = await Promise.all(
    [...few, ...many].slice(0, 1).map((call) => call.next().catch((error: unknown) => error)),
  );
  assert.ok(refusal instanceof CallRefused);
  assert.deepEqual([refusal.code, refusal.reason, refusal.retryAfterMs! > 0], [4, "TOO_SLOW", true]);
  for (const call of [...few, ...many]) call.hangUp();
  await assertUnharmed();
});

/** The id of the context that came of an upload, or why it was refused. */
async function outcomeOf(call: OpenCall): Promise<string> {
  try {
    return ((await call.next())!["context"] as { context_id: string }).context_id;
  } catch (error) {
    assert.ok(error instanceof CallRefused);
    return error.reason;
  }
}

test("refused uploads did not make the server grow", async () => {
  const { anonymous } = await server.memoryBytes();
  // Measured: 261 MiB with two workers, after all of the above.
  assert.ok(anonymous < 500 * 2 ** 20, `${Math.round(anonymous / 2 ** 20)} MiB`);
});

testThatTheLogTellsNothing(server);
