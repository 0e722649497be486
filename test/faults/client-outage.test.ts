import assert from "node:assert/strict";
import { after, afterEach, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { ServerError, Status } from "nice-grpc";
import { RetryInfo, RichServerError } from "nice-grpc-error-details";
import type { Enrollment } from "../../client/enroll/unit-maker.ts";
import { ClientError } from "../../client/errors.ts";
import { KeyHolder } from "../../client/keys/key-holder.ts";
import type { ModelSpace } from "../../client/model-space.ts";
import { VeilfaceClient } from "../../client/veilface-client.ts";
import { unitVector } from "../../bench/figures.ts";
import { FakeServer } from "../support/fake/fake-server.ts";
import { freePort } from "../support/process/free-port.ts";
import { MemoryServer, goingAway } from "../support/fake/memory-server.ts";

const keyHolder = await KeyHolder.create("PACKED_N4096_Q60");
const server = await MemoryServer.start();
const client = new VeilfaceClient({ keyHolder, address: server.address });
after(async () => {
  client[Symbol.dispose]();
  keyHolder[Symbol.dispose]();
  await server[Symbol.asyncDispose]();
});
afterEach(() => {
  server.interference = {};
});

const SPACE: ModelSpace = { dimension: 16, metric: "cosine", normBound: 1, modelId: "random" };
const people = (count: number): Enrollment[] =>
  Array.from({ length: count }, (_, i) => ({
    templateId: `t-${i}`,
    subjectId: `s-${i}`,
    embedding: unitVector(i, 16),
  }));
const probe = unitVector(3, 16);

let galleries = 0;
async function galleryOf(count: number): Promise<string> {
  const galleryId = `g-${++galleries}`;
  await client.createGallery(galleryId, SPACE, { packedStride: 8 });
  await client.enroll(galleryId, people(count));
  return galleryId;
}

/** Throws as often as it says, then lets everything pass; counts how often it was asked. */
function failing(times: number, error: () => Error): { readonly step: () => void; readonly asked: () => number } {
  let asked = 0;
  return {
    asked: () => asked,
    step: () => {
      if (asked++ < times) throw error();
    },
  };
}

function busy(delay: { seconds: number; nanos: number } | undefined): RichServerError {
  const details = delay === undefined ? [] : [RetryInfo.fromPartial({ retryDelay: delay })];
  return new RichServerError(Status.RESOURCE_EXHAUSTED, "no room now", details);
}

test("after an outage of eight seconds the first call is answered, whether it reads or writes", async () => {
  const port = await freePort();
  const before = await MemoryServer.start(port);
  using longLived = new VeilfaceClient({ keyHolder, address: before.address });
  await longLived.createGallery("g", SPACE);
  await before[Symbol.asyncDispose]();
  const end = Date.now() + 8000;
  while (Date.now() < end) {
    await setTimeout(100);
    await assert.rejects(
      longLived.getGallery("g", { deadlineMs: 50 }),
      (error) => error instanceof ClientError && error.reason !== "SERVER_REFUSED",
    );
  }
  await using again = await MemoryServer.start(port);
  await longLived.createGallery("h", SPACE);
  assert.equal((await longLived.getGallery("h")).galleryId, "h");
  assert.deepEqual([...again.galleries.keys()], ["h"]);
});

test("a search and the reading of a roster are made again where the server goes away under them", async () => {
  const galleryId = await galleryOf(600);
  const search = failing(2, goingAway);
  server.interference = { search: search.step };
  assert.equal((await client.identify(galleryId, probe))[0]?.subjectId, "s-3");
  const list = failing(2, goingAway);
  server.interference = { list: list.step };
  using another = new VeilfaceClient({ keyHolder, address: server.address });
  assert.equal((await another.listTemplates(galleryId)).length, 600);
  assert.ok(search.asked() > 2 && list.asked() > 2);
});

test("a comparison is made again, with the same answer", async () => {
  await using fake = await FakeServer.start(keyHolder.contextId);
  using comparing = new VeilfaceClient({ keyHolder, address: fake.address });
  await comparing.enroll("g", [{ templateId: "t", subjectId: "ada", embedding: [1, 0, 0, 0] }]);
  const compare = failing(2, goingAway);
  fake.falsify = {
    compare: (reply) => {
      if (reply.message?.$case === "comparison") compare.step();
      return reply;
    },
  };
  assert.equal(
    (await comparing.verify("g", { subjectId: "ada", embedding: [1, 0, 0, 0] }, { threshold: 0.1 })).accepted,
    true,
  );
  assert.equal(compare.asked(), 3);
});

test("a reading that breaks off is taken up where it broke, and every template is packed once", async () => {
  const galleryId = await galleryOf(600);
  await client.enroll(galleryId, people(20), { packing: "never" });
  let messages = 0;
  server.interference = {
    read: (reply) => {
      messages++;
      if ([4, 12, 20].includes(messages)) throw goingAway();
      return reply;
    },
  };
  const { templates } = await client.packGallery(galleryId, { stride: 16 });
  assert.ok(messages > 20);
  assert.equal(templates, 600);
  const ids = (await client.listTemplates(galleryId)).map(({ templateId }) => templateId);
  assert.deepEqual(
    ids.toSorted(),
    people(600)
      .map(({ templateId }) => templateId)
      .toSorted(),
  );
});

test("a server that has no room now is asked again after the time it says, and not before", async () => {
  const galleryId = await galleryOf(1);
  const search = failing(1, () => busy({ seconds: 0, nanos: 700e6 }));
  server.interference = { search: search.step };
  const start = performance.now();
  assert.equal((await client.identify(galleryId, probe))[0]?.subjectId, "s-0");
  assert.ok(performance.now() - start >= 700);
});

test("a server that asks for more time than there is, or says nothing of it, is not asked again", async () => {
  const galleryId = await galleryOf(1);
  const late = failing(9, () => busy({ seconds: 3600, nanos: 0 }));
  server.interference = { search: late.step };
  await assert.rejects(
    client.identify(galleryId, probe),
    (error) => error instanceof ClientError && error.retryAfterMs === 3_600_000,
  );
  const silent = failing(9, () => busy(undefined));
  server.interference = { search: silent.step };
  await assert.rejects(
    client.identify(galleryId, probe),
    (error) => error instanceof ClientError && error.reason === "SERVER_REFUSED",
  );
  assert.deepEqual([late.asked(), silent.asked()], [1, 1]);
});

test("a server that stays away is given up, and what may have been done is not done again", async () => {
  const galleryId = await galleryOf(2);
  const search = failing(99, goingAway);
  server.interference = { search: search.step };
  await assert.rejects(
    client.identify(galleryId, probe),
    (error) => error instanceof ClientError && error.reason === "SERVER_UNAVAILABLE",
  );
  assert.equal(search.asked(), 6);
  const deleted = failing(1, () => new ServerError(Status.UNAVAILABLE, "going away after it was done"));
  server.interference = { delete: deleted.step };
  await assert.rejects(
    client.deleteTemplates(galleryId, { templateIds: ["t-0"] }),
    (error) => error instanceof ClientError && error.reason === "SERVER_UNAVAILABLE",
  );
  assert.equal(deleted.asked(), 1);
});

test("a signal ends the reading of a roster, and others who wait for it get theirs", async () => {
  const galleryId = await galleryOf(600);
  const aborting = new AbortController();
  let pages = 0;
  server.interference = {
    list: () => {
      if (++pages === 1) aborting.abort();
    },
  };
  using fresh = new VeilfaceClient({ keyHolder, address: server.address });
  const cancelled = fresh.listTemplates(galleryId, { signal: aborting.signal });
  const served = fresh.listTemplates(galleryId);
  await assert.rejects(cancelled, (error) => error instanceof ClientError && error.reason === "CANCELLED");
  assert.equal((await served).length, 600);
});
