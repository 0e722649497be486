// What an identification and a verification ask of the server, and in which order.
import assert from "node:assert/strict";
import { after, afterEach, beforeEach, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import type { SearchGalleryResponse } from "@veilface/proto";
import type { Enrollment } from "../../../client/enroll/unit-maker.ts";
import { ClientError } from "../../../client/errors.ts";
import type { ClientErrorReason } from "../../../client/errors.ts";
import { KeyHolder } from "../../../client/keys/key-holder.ts";
import { VeilfaceClient } from "../../../client/veilface-client.ts";
import { FakeServer } from "../../support/fake/fake-server.ts";

const ADA = [1, 0, 0, 0];
const BOB = [0, 1, 0, 0];
const PEOPLE: Enrollment[] = [
  { templateId: "t-ada", subjectId: "ada", embedding: ADA },
  { templateId: "t-bob", subjectId: "bob", embedding: BOB },
];
const CLAIM = { subjectId: "ada", embedding: ADA };
const THRESHOLD = { threshold: 0.5 };
const ANOTHER_CONTEXT = "0".repeat(64);

const keyHolder = await KeyHolder.create();
after(() => {
  keyHolder[Symbol.dispose]();
});

let server: FakeServer;
let client: VeilfaceClient;
beforeEach(async () => {
  server = await FakeServer.start(keyHolder.contextId);
  client = new VeilfaceClient({ keyHolder, address: server.address });
  await client.enroll("g", PEOPLE);
  client.close();
  // One that has heard of no gallery yet.
  client = new VeilfaceClient({ keyHolder, address: server.address });
  server.rpcs.length = 0;
});
afterEach(async () => {
  client.close();
  await server[Symbol.asyncDispose]();
});

const refusedAs =
  (reason: ClientErrorReason) =>
  (error: unknown): boolean =>
    error instanceof ClientError && error.reason === reason;

const nearest = async (embedding: readonly number[]): Promise<string | undefined> =>
  (await client.identify("g", embedding))[0]?.subjectId;

/** Once every call is over also at the server's end, nothing of a probe can come any more. */
async function piecesAfterAll(): Promise<number> {
  for (let waited = 0; server.underWay > 0 && waited < 200; waited++) await setTimeout(10);
  assert.equal(server.underWay, 0);
  return server.pieces.length;
}

function falsifySearch(change: (message: NonNullable<SearchGalleryResponse["message"]>) => void): void {
  server.falsify = {
    search: (reply) => {
      change(reply.message!);
      return reply;
    },
  };
}

test("an identification is one rpc, of a gallery that is known as of one that is not", async () => {
  assert.equal(await nearest(ADA), "ada");
  assert.deepEqual(server.rpcs, ["SearchGallery"]);
  assert.equal(await nearest(BOB), "bob");
  assert.deepEqual(server.rpcs, ["SearchGallery", "SearchGallery"]);
});

test("a verification is one rpc, of a gallery that is known as of one that is not", async () => {
  assert.ok((await client.verify("g", CLAIM, THRESHOLD)).accepted);
  assert.ok((await client.verify("g", CLAIM, THRESHOLD)).accepted);
  assert.deepEqual(server.rpcs, ["CompareTemplates", "CompareTemplates"]);
});

test("the probe of a gallery that is known is sent at once, without waiting for an answer", async () => {
  assert.equal(await nearest(ADA), "ada");
  server.isReticent = true;
  assert.equal(await nearest(BOB), "bob");
  assert.ok((await client.verify("g", CLAIM, THRESHOLD)).accepted);
  assert.equal(server.rpcs.length, 3);
});

test("of a gallery with several strides a verification sends the probe at the subject's strides only", async () => {
  server.gallery.packedStride = 2;
  server.gallery.strides = [2, 4];
  for (let i = 0; i < 2; i++) assert.ok((await client.verify("g", CLAIM, THRESHOLD)).accepted);
  assert.deepEqual(
    server.pieces.map(({ stride }) => stride),
    [4, 4],
  );
});

test("a probe is not encrypted for strides that a gallery's blocks cannot have", async () => {
  server.gallery.packedStride = 2;
  server.falsify = {
    compare: (reply) => {
      if (reply.message?.$case === "subject") reply.message.value.strides = [1, 2, 3, 4];
      return reply;
    },
  };
  server.gallery.strides = [2, 4];
  await assert.rejects(client.verify("g", CLAIM, THRESHOLD), { reason: "REPLY_INVALID" });
  server.gallery.strides = [1, 2, 3, 4];
  await assert.rejects(client.identify("g", ADA), { reason: "REPLY_INVALID" });
  assert.deepEqual(server.pieces, []);
});

test("a subject whose templates lie at a stride that the gallery did not have is asked for anew", async () => {
  assert.equal(await nearest(ADA), "ada");
  server.falsify = {
    compare: (reply) => {
      if (reply.message?.$case === "subject") reply.message.value.strides = [2, 4];
      return reply;
    },
  };
  server.rpcs.length = 0;
  server.gallery.packedStride = 2;
  server.gallery.strides = [2, 4];
  assert.ok((await client.verify("g", CLAIM, THRESHOLD)).accepted);
  assert.deepEqual(server.rpcs, ["CompareTemplates", "CompareTemplates"]);
});

test("the roster's changes come with a search: all of them first, then only what changed", async () => {
  assert.equal(await nearest(ADA), "ada");
  await client.enroll("g", [{ templateId: "t-eve", subjectId: "eve", embedding: [0, 0, 1, 0] }]);
  assert.equal(await nearest([0, 0, 1, 0]), "eve");
  assert.equal(await nearest(BOB), "bob");
  const uid = Buffer.alloc(16, 1);
  assert.deepEqual(
    server.searches.map(({ roster }) => ({ ...roster, uid: Buffer.from(roster!.uid) })),
    [
      { uid: Buffer.alloc(0), revision: 0 },
      { uid, revision: 2 },
      { uid, revision: 3 },
    ],
  );
  assert.ok(!server.rpcs.includes("ListTemplateChanges"));
});

test("where the server's revision went back, or was not what it said, the roster is asked for from the beginning", async () => {
  falsifySearch((message) => {
    if (message.$case === "start") message.value.revision = 1000;
  });
  assert.equal(await nearest(ADA), "ada");
  server.falsify = {};
  assert.equal(await nearest(BOB), "bob");
  assert.deepEqual(
    server.searches.map(({ roster }) => roster!.revision),
    [0, 1000, 0],
  );
});

test("no piece of a probe is sent before the gallery is known to be of this key and model", async () => {
  const verify = () => client.verify("g", CLAIM, THRESHOLD);
  server.gallery.contextId = ANOTHER_CONTEXT;
  for (const ask of [() => client.identify("g", ADA), verify]) await assert.rejects(ask(), refusedAs("KEY_MISMATCH"));
  server.gallery.contextId = keyHolder.contextId;
  const model = { modelId: "another" };
  await assert.rejects(client.identify("g", ADA, model), refusedAs("MODEL_MISMATCH"));
  await assert.rejects(client.verify("g", CLAIM, { ...THRESHOLD, ...model }), refusedAs("MODEL_MISMATCH"));
  assert.equal(await piecesAfterAll(), 0);
  assert.equal(await nearest(ADA), "ada");
  assert.equal(await piecesAfterAll(), 1);
});

test("a probe that does not fit the gallery is not sent, whether or not the gallery is known", async () => {
  await assert.rejects(client.identify("g", [1, 0]), refusedAs("EMBEDDING_INVALID"));
  await assert.rejects(client.identifyMany("g", [ADA, [1, 0]]), refusedAs("EMBEDDING_INVALID"));
  await assert.rejects(client.verify("g", { ...CLAIM, embedding: [1, 0] }, THRESHOLD), refusedAs("EMBEDDING_INVALID"));
  assert.equal(await piecesAfterAll(), 0);
  const asked = server.rpcs.length;
  assert.equal(await nearest(ADA), "ada");
  await assert.rejects(client.identify("g", [1, 0]), refusedAs("EMBEDDING_INVALID"));
  assert.equal(server.rpcs.length, asked + 1);
  assert.equal(await nearest(BOB), "bob", "and the next one need not wait for it");
});

test("a known gallery that turns out to be another one is asked anew, with its own roster", async () => {
  assert.equal(await nearest(ADA), "ada");
  server.gallery.uid = Buffer.alloc(16, 2);
  for (const entry of server.entries) entry.subjectId = `new-${entry.subjectId}`;
  server.rpcs.length = 0;
  assert.equal(await nearest(ADA), "new-ada");
  assert.deepEqual(server.rpcs, ["SearchGallery", "SearchGallery"]);
  assert.equal((await client.verify("g", { ...CLAIM, subjectId: "new-ada" }, THRESHOLD)).templateId, "t-ada");
  server.gallery.contextId = ANOTHER_CONTEXT;
  await assert.rejects(client.identify("g", ADA), refusedAs("KEY_MISMATCH"));
});

test("a gallery that is another one at every question is asked twice each time, and no more", async () => {
  let creations = 1;
  falsifySearch((message) => {
    if (message.$case === "distances") server.gallery.uid = Buffer.alloc(16, ++creations);
  });
  for (let i = 0; i < 3; i++) assert.equal(await nearest(ADA), "ada");
  assert.equal(server.rpcs.length, 1 + 2 + 2);
});

test("ten embeddings are two searches, and are answered as one by one", async () => {
  const embeddings = Array.from({ length: 10 }, (_, i) => {
    const angle = (i * Math.PI) / 18;
    return [Math.cos(angle), Math.sin(angle), 0, 0];
  });
  const many = await client.identifyMany("g", embeddings);
  assert.deepEqual(server.rpcs, ["SearchGallery", "SearchGallery"]);
  assert.deepEqual(
    server.searches.map(({ probes }) => probes),
    [8, 2],
  );
  assert.equal(many.length, embeddings.length);
  for (const [i, found] of many.entries()) {
    const alone = await client.identify("g", embeddings[i]!);
    assert.deepEqual(
      found.map(({ templateId }) => templateId),
      alone.map(({ templateId }) => templateId),
    );
    for (const [rank, { distance }] of found.entries()) assert.ok(Math.abs(distance - alone[rank]!.distance) < 1e-6);
  }
  assert.deepEqual([many[0]![0]?.subjectId, many[9]![0]?.subjectId], ["ada", "bob"]);
  assert.equal(server.searches.slice(2).length, embeddings.length);
});

test("the threshold and the number of candidates hold for each of several embeddings, and none are no search", async () => {
  assert.deepEqual(await client.identifyMany("g", []), []);
  assert.deepEqual(server.rpcs, []);
  const within = await client.identifyMany("g", [ADA, [0, 0, 1, 0], BOB], { threshold: 0.5 });
  assert.deepEqual(
    within.map((candidates) => candidates.map(({ subjectId }) => subjectId)),
    [["ada"], [], ["bob"]],
  );
  const first = await client.identifyMany("g", [BOB, ADA], { maxCandidates: 1 });
  assert.deepEqual(
    first.map((candidates) => candidates.map(({ subjectId }) => subjectId)),
    [["bob"], ["ada"]],
  );
});

test("an answer that leaves out the blocks of one of several probes is refused, whichever that is", async () => {
  for (const left of [0, 1, 2]) {
    server.falsify = {
      search: (reply) =>
        reply.message?.$case === "distances" && reply.message.value.probe === left ? undefined : reply,
    };
    await assert.rejects(client.identifyMany("g", [ADA, BOB, ADA]), refusedAs("REPLY_INVALID"), `probe ${left}`);
  }
  server.falsify = {};
  assert.equal((await client.identifyMany("g", [ADA, BOB, ADA])).length, 3);
});

test("distances to a probe that was not sent are refused", async () => {
  for (const probe of [2, 8, -1]) {
    falsifySearch((message) => {
      if (message.$case === "distances") message.value.probe = probe;
    });
    await assert.rejects(client.identifyMany("g", [ADA, BOB]), refusedAs("REPLY_INVALID"), `probe ${probe}`);
  }
});

test("changes of a roster that come before the gallery they are of are refused, and no probe is sent", async () => {
  server.falsify = { search: (reply) => (reply.message?.$case === "gallery" ? undefined : reply) };
  await assert.rejects(client.identify("g", ADA, { deadlineMs: 5000 }), refusedAs("REPLY_INVALID"));
  assert.equal(await piecesAfterAll(), 0);
});
