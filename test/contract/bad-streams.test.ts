import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { contractKey, startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import { COSINE_128, TestGallery, question } from "../support/independent/gallery-fixture.ts";
import type { Person, PieceMessage } from "../support/independent/gallery-fixture.ts";
import { CallRefused, answersOf } from "../support/independent/independent-client.ts";
import { plainDistance, randomEmbedding } from "../support/independent/independent-encoding.ts";
import { STATUS, assertRefused } from "../support/independent/refusals.ts";

const { server, client } = await startContractServer();
const key = await contractKey();
const gallery = await TestGallery.create(client, key);
const enrolled: Person[] = Array.from({ length: 33 }, (_, i) => ({
  template_id: `t-${i}`,
  subject_id: i === 0 ? "s" : `s-${i}`,
  embedding: randomEmbedding(128),
}));
await gallery.enroll(enrolled);
const held = await gallery.describe();
const [good] = gallery.pieces(randomEmbedding(128)) as [PieceMessage];
const invalid = { status: "INVALID_ARGUMENT", reason: "FIELD_INVALID" } as const;
const incomplete = { status: "INVALID_ARGUMENT", reason: "PROBE_INCOMPLETE" } as const;

/** Both rpcs that carry a probe, with a target that is right. */
const PROBING = [
  ["MatchingService/SearchGallery", gallery.target],
  ["MatchingService/CompareTemplates", { ...gallery.target, subject_id: "s" }],
] as const;

async function assertUnharmed(): Promise<void> {
  assert.deepEqual(await gallery.describe(), held, "nothing is stored");
  const probe = randomEmbedding(128);
  const found = await gallery.search(probe);
  for (const { template_id, embedding } of enrolled)
    assert.ok(Math.abs(found.get(template_id)! - plainDistance(COSINE_128, embedding, probe)) < 1e-5);
}

for (const [rpc, target] of PROBING) {
  test(`${rpc} refuses a stream without a target, with two, or with a target that comes late`, async () => {
    await assertRefused(client.call(rpc), { ...invalid, field: "target" });
    await assertRefused(client.call(rpc, {}), { ...invalid, field: "target" });
    await assertRefused(client.call(rpc, { pieces: { pieces: [good] } }, { target }), { ...invalid, field: "target" });
    await assertRefused(client.call(rpc, ...question(target, [good]), { target }), {
      ...invalid,
      field: "target",
      says: /first message/,
    });
  });

  test(`${rpc} refuses a probe that lacks its piece or repeats it`, async () => {
    await assertRefused(client.call(rpc, { target }), { ...incomplete, says: /0 of 1 pieces at stride 128/ });
    await assertRefused(client.call(rpc, ...question(target, [good, good])), { ...incomplete, says: /twice/ });
    await assertRefused(client.call(rpc, ...question(target, [good]), { pieces: { pieces: [good] } }), {
      ...incomplete,
      says: /twice/,
    });
  });

  test(`${rpc} refuses a stride that the gallery does not use, and pieces that the stride has not`, async () => {
    for (const stride of [-1, 0, 1, 16, 127, 129, 4096, 2 ** 31 - 1]) {
      await assertRefused(client.call(rpc, ...question(target, [{ ...good, stride }])), {
        ...invalid,
        field: "pieces.pieces.stride",
        says: /128/,
      });
    }
    for (const piece of [-1, 1, 2 ** 31 - 1]) {
      await assertRefused(client.call(rpc, ...question(target, [{ ...good, piece }])), {
        ...invalid,
        field: "pieces.pieces.piece",
      });
    }
  });

  test(`${rpc} refuses an encoding of replies that does not exist`, async () => {
    for (const reply_encoding of [4, 99, -1]) {
      await assertRefused(client.call(rpc, ...question({ ...target, reply_encoding }, [good])), {
        ...invalid,
        field: "target.reply_encoding",
      });
    }
  });
}

test("a message of more than 4 MiB is refused as over a limit", async () => {
  const data = Buffer.alloc(5 << 20, 1);
  const ciphertext = gallery.ciphertext(data);
  const calls: [string, ...object[]][] = [
    [
      "GalleryService/EnrollTemplates",
      { target: gallery.target },
      { template: { template_id: "large", subject_id: "large", ciphertext } },
    ],
    ["MatchingService/SearchGallery", ...question(gallery.target, [{ ...good, ciphertext }])],
    ["GalleryService/GetGallery", { gallery_id: "g".repeat(5 << 20) }],
  ];
  // gRPC itself refuses them before they are read, so the status comes without details.
  for (const [rpc, ...requests] of calls)
    await assert.rejects(
      client.call(rpc, ...requests),
      (error: CallRefused) => error.code === STATUS.RESOURCE_EXHAUSTED,
    );
  await assertUnharmed();
});

test("bytes that are no message of the rpc are refused, and no fault of the server is reported", async () => {
  for (const bytes of [
    Buffer.from([0xff]),
    Buffer.from([0x0a, 0x7f]),
    Buffer.from("0a05", "hex"),
    Buffer.alloc(64, 0xff),
    Buffer.from([0x0b]),
  ]) {
    for (const rpc of [
      "GalleryService/GetGallery",
      "GalleryService/EnrollTemplates",
      "MatchingService/SearchGallery",
    ]) {
      await assert.rejects(client.callRaw(rpc, bytes), (error: CallRefused) => error.code !== 2);
    }
  }
  await assertUnharmed();
});

test("clients that hang up in the middle leave nothing but what was acknowledged, and free the server", async () => {
  for (const [rpc, target] of PROBING) {
    for (const requests of [[], [{ target }], question(target, [good])]) {
      const call = client.open(rpc);
      for (const request of requests) call.send(request);
      await sleep(20);
      call.hangUp();
      await assert.rejects(answersOf(call), (error: CallRefused) => error.code === 1);
    }
  }
  const enrolling = client.open("GalleryService/EnrollTemplates");
  enrolling.send({ target: gallery.target });
  await sleep(20);
  enrolling.hangUp();
  await assert.rejects(enrolling.next(), (error: CallRefused) => error.code === 1);
  await assertUnharmed();
});

test("a client that hangs up in the middle of its answers does not stop the others", async () => {
  const calls = Array.from({ length: 20 }, () => client.open("MatchingService/SearchGallery"));
  for (const call of calls) {
    for (const message of question(gallery.target, [good])) call.send(message);
    call.end();
  }
  for (const answer of ["gallery", "start", "distances"])
    assert.deepEqual(
      new Set(await Promise.all(calls.map(async (call) => (await call.next())?.["message"]))),
      new Set([answer]),
    );
  for (const call of calls) call.hangUp();
  await assertUnharmed();
});

test("a stream that stays silent past its deadline ends with DEADLINE_EXCEEDED", async () => {
  const call = client.open("GalleryService/EnrollTemplates", 300);
  call.send({ target: gallery.target });
  await assert.rejects(call.next(), (error: CallRefused) => error.code === 4);
  await assertUnharmed();
});

test("bytes that are not HTTP/2 do not disturb the server", async () => {
  const port = Number(server.address.split(":")[1]);
  for (const bytes of [
    "GET / HTTP/1.1\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    "\0".repeat(1000),
  ]) {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => undefined);
    socket.end(Buffer.from(bytes, "latin1"));
    await sleep(30);
    socket.destroy();
  }
  await assertUnharmed();
});

test("two hundred streams held open do not keep the health check waiting", async () => {
  const calls = Array.from({ length: 200 }, () => client.open("GalleryService/EnrollTemplates"));
  for (const call of calls) call.send({ target: gallery.target });
  const start = performance.now();
  await client.call("grpc.health.v1.Health/Check", {});
  assert.ok(performance.now() - start < 2000);
  for (const call of calls) call.end();
  for (const call of calls) assert.equal(await call.next(), undefined);
  await assertUnharmed();
});

test("a refused call carries its reason in the details that gRPC tools show", async () => {
  const refusal = await client
    .call("GalleryService/GetGallery", { gallery_id: "nowhere" })
    .catch((error: unknown) => error);
  assert.ok(refusal instanceof CallRefused);
  assert.deepEqual(
    [refusal.code, refusal.reason, refusal.domain],
    [STATUS.NOT_FOUND, "GALLERY_NOT_FOUND", "veilface.dev"],
  );
});

testThatTheLogTellsNothing(server);
