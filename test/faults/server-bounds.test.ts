// What clients that send much and finish nothing cost the server.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { contractKey, startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import { COSINE_128, TestGallery, question } from "../support/independent/gallery-fixture.ts";
import { answersOf, serialize } from "../support/independent/independent-client.ts";
import type { OpenCall, CallRefused } from "../support/independent/independent-client.ts";
import { plainDistance, randomEmbedding } from "../support/independent/independent-encoding.ts";
import { assertRefused } from "../support/independent/refusals.ts";

const MIB = 2 ** 20;
const ENROLL = "GalleryService/EnrollTemplates";
const SEARCH = "MatchingService/SearchGallery";
/** 2048 components at stride 1, of 61,440 bytes each: a probe and a block are 126 MB. */
const WIDE = { ...COSINE_128, dimension: 2048 };

const { server, client } = await startContractServer();
const key = await contractKey();
const gallery = await TestGallery.create(client, key);
const embedding = randomEmbedding(128);
await gallery.enroll([{ template_id: "t", subject_id: "s", embedding }]);
const wide = { gallery_id: "wide", context_id: key.contextId, space: WIDE, packed_stride: 1 };
await client.call("GalleryService/CreateGallery", { gallery: wide });
const target = { gallery_id: wide.gallery_id, space: WIDE };
const head = { block: { stride: 1, slots: [{ template_id: "a", subject_id: "a" }] } };

const ciphertext = (data: Buffer, sha256 = createHash("sha256").update(data).digest()) => ({
  context_id: key.contextId,
  encoding: "CIPHERTEXT_ENCODING_PACKED_RESIDUES",
  data,
  sha256,
});
/** Nothing tells it from a piece before all of them are there. */
const piece = ciphertext(randomBytes(61_440));

async function assertUnharmed(): Promise<void> {
  const probe = randomEmbedding(128);
  assert.ok(Math.abs((await gallery.search(probe)).get("t")! - plainDistance(COSINE_128, embedding, probe)) < 1e-5);
}

/** Opens a block, or a search at stride 1 of a gallery that uses it, as it is, and does not close its side. */
const OPENED: readonly (readonly [string, (sent: object) => OpenCall])[] = [
  ["a block", (sent) => opened(ENROLL, { target }, head, { pieces: { pieces: [sent] } })],
  ["a probe", (sent) => opened(SEARCH, ...question(target, [{ stride: 2048, piece: 0, ciphertext: sent }]))],
];

function opened(rpc: string, ...messages: readonly object[]): OpenCall {
  const call = client.open(rpc, 120_000);
  for (const message of messages) call.send(message);
  return call;
}

for (const [what, open] of OPENED) {
  test(`a piece of ${what} that no ciphertext can be is refused when it comes, not when all are there`, {
    timeout: 60_000,
  }, async () => {
    const wrong = [
      [ciphertext(Buffer.alloc(MIB, 7)), "CIPHERTEXT_MALFORMED"],
      [ciphertext(Buffer.alloc(1)), "CIPHERTEXT_MALFORMED"],
      [ciphertext(randomBytes(30_720)), "PARAMETER_SET_MISMATCH"],
      [ciphertext(piece.data, Buffer.alloc(32)), "CIPHERTEXT_CORRUPT"],
    ] as const;
    for (const [sent, reason] of wrong)
      await assertRefused(answersOf(open(sent)), { status: "INVALID_ARGUMENT", reason });
  });
}

test("pieces in messages padded with unknown fields take the memory of the pieces only", {
  timeout: 180_000,
}, async () => {
  const padding = Buffer.concat([Buffer.from([0xfa, 0x3f, 0x80, 0x80, 0xc0, 0x01]), Buffer.alloc(3 * MIB)]);
  const call = client.openRaw(ENROLL, 180_000);
  for (const message of [{ target }, head]) call.send(serialize(ENROLL, message));
  const before = await server.peakMemoryBytes();
  for (let i = 0; i < 300; i++) {
    call.send(Buffer.concat([serialize(ENROLL, { pieces: { pieces: [piece] } }), padding]));
    if (i % 10 === 9) await sleep(50);
  }
  // A message that ends the block early tells that all before it have come.
  call.send(Buffer.alloc(0));
  await assertRefused(call.next(), { status: "INVALID_ARGUMENT", reason: "BLOCK_INVALID", says: /after 300 of/ });
  const growth = (await server.peakMemoryBytes()) - before;
  // 300 pieces are 18 MB, their messages 960.
  assert.ok(growth < 500 * MIB, `${Math.round(growth / MIB)} MiB`);
});

const narrow = { gallery_id: "narrow", space: COSINE_128 };
await client.call("GalleryService/CreateGallery", {
  gallery: { ...narrow, context_id: key.contextId, packed_stride: 1 },
});
// Residues below their primes: as sound a ciphertext as the server can tell.
const sound = ciphertext(Buffer.alloc(61_440, 0x11));
const eight = new Array(8).fill({ pieces: { pieces: new Array(16).fill(sound) } }) as object[];
await client.call(ENROLL, { target: narrow }, head, ...eight);

/** Sends messages until all are sent or the call is refused. */
async function send(call: OpenCall, messages: readonly object[]): Promise<void> {
  for (const message of messages) {
    call.send(message);
    await sleep(15);
  }
}

const sixteen = new Array(16).fill(piece) as object[];
const probePieces = Array.from({ length: 112 }, (_, at) => ({ stride: 1, piece: at, ciphertext: piece }));
const probe = Array.from({ length: 7 }, (_, at) => ({
  pieces: { pieces: probePieces.slice(16 * at, 16 * at + 16) },
}));
/** What 8 and 110 calls send is 750 MB each; none of them ends. */
const FLOODS: readonly (readonly [string, number, () => OpenCall, readonly object[]])[] = [
  [
    "open blocks",
    8,
    () => opened(ENROLL, { target }, head),
    new Array(98).fill({ pieces: { pieces: sixteen } }) as object[],
  ],
  ["unfinished probes", 110, () => opened(SEARCH, { target: narrow }), probe],
];

/** Where there is no room, and what came slowly and made room for the others. */
const REFUSED = new Set(["8 OVERLOADED", "4 TOO_SLOW"]);

for (const [what, count, open, messages] of FLOODS) {
  test(`${what} wait in bounded memory, over all calls, and what is beyond is told when to come again`, {
    timeout: 240_000,
  }, async () => {
    const before = (await server.memoryBytes()).anonymous;
    const refusals: CallRefused[] = [];
    const calls = Array.from({ length: count }, open);
    for (const call of calls) answersOf(call).catch((error: unknown) => refusals.push(error as CallRefused));
    await Promise.all(calls.map((call) => send(call, messages)));
    for (let waited = 0; refusals.length < count / 3 && waited < 120; waited++) await sleep(500);
    await sleep(1000);
    const growth = (await server.memoryBytes()).anonymous - before;
    assert.ok(refusals.length >= count / 3, `${refusals.length} of ${count} were refused`);
    for (const { code, reason, retryAfterMs } of refusals) {
      assert.ok(REFUSED.has(`${code} ${reason}`), `${code} ${reason}`);
      assert.ok(retryAfterMs! > 0);
    }
    assert.ok(growth < 600 * MIB, `${Math.round(growth / MIB)} MiB`);
    await assertUnharmed();
    for (const call of calls) call.hangUp();
    await sleep(1000);
    await assertUnharmed();
  });
}

testThatTheLogTellsNothing(server);
