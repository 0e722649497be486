import assert from "node:assert/strict";
import { after, test } from "node:test";
import { contractKey } from "../support/independent/contract-suite.ts";
import { COSINE_128, TestGallery, enrolledEntry } from "../support/independent/gallery-fixture.ts";
import type { EntryMessage, Person, TemplateMessage } from "../support/independent/gallery-fixture.ts";
import { CallRefused, IndependentClient } from "../support/independent/independent-client.ts";
import type { OpenCall } from "../support/independent/independent-client.ts";
import { plainDistance, randomEmbedding } from "../support/independent/independent-encoding.ts";
import { ServerProcess } from "../../scripts/dev/server-process.ts";

const RPC = "GalleryService/EnrollTemplates";
const key = await contractKey();
const people: Person[] = Array.from({ length: 270 }, (_, i) => ({
  template_id: `t-${i}`,
  subject_id: `s-${i % 50}`,
  embedding: randomEmbedding(128),
}));

const server = await ServerProcess.start(["--grace", "3"]);
after(() => server[Symbol.asyncDispose]());
const galleryId = await connected(async (client) => (await TestGallery.create(client, key)).galleryId);
const offline = new TestGallery(new IndependentClient("127.0.0.1:1"), key, COSINE_128, galleryId);
const templates = new Map(people.map((person) => [person.template_id, offline.template(person)]));

/** Runs with a client of the server's address of now. */
async function connected<T>(run: (client: IndependentClient) => Promise<T>): Promise<T> {
  using client = new IndependentClient(server.address);
  return await run(client);
}

const galleryOf = (client: IndependentClient): TestGallery => new TestGallery(client, key, COSINE_128, galleryId);

/** Sends templates and reads acknowledgements until the stream breaks or ends. Gives the acknowledged entries. */
async function enrollUntilItEnds(
  call: OpenCall,
  gallery: TestGallery,
  messages: readonly TemplateMessage[],
  onAcknowledged: (count: number) => void,
): Promise<{ entries: EntryMessage[]; failure: unknown }> {
  const entries: EntryMessage[] = [];
  for (const message of gallery.enrollment(messages)) call.send(message);
  call.end();
  try {
    for (let answer = await call.next(); answer !== undefined; answer = await call.next()) {
      entries.push(enrolledEntry(answer));
      onAcknowledged(entries.length);
    }
    return { entries, failure: undefined };
  } catch (failure) {
    return { entries, failure };
  }
}

/**
 * Everything acknowledged is in the roster where it was said to be, and every live template decrypts to its embedding:
 * no more, no less.
 */
async function assertWhole(
  gallery: TestGallery,
  acknowledged: ReadonlyMap<string, EntryMessage>,
): Promise<EntryMessage[]> {
  const roster = await gallery.roster();
  const byId = new Map(roster.map((entry) => [entry.template_id, entry]));
  for (const [id, entry] of acknowledged) assert.deepEqual(byId.get(id), entry, `${id} was acknowledged`);
  assert.equal(byId.size, roster.length);
  const { template_count, revision } = await gallery.describe();
  assert.equal(template_count, roster.length);
  assert.equal(revision, Math.max(0, ...roster.map((entry) => entry.revision)));
  const probe = randomEmbedding(128);
  const found = await gallery.search(probe);
  assert.deepEqual([...found.keys()].sort(), [...byId.keys()].sort());
  for (const { template_id, subject_id, embedding } of people) {
    const distance = found.get(template_id);
    if (distance === undefined) continue;
    assert.ok(Math.abs(distance - plainDistance(COSINE_128, embedding, probe)) < 1e-5, `${template_id} is whole`);
    assert.equal(byId.get(template_id)!.subject_id, subject_id);
  }
  return roster;
}

const acknowledged = new Map<string, EntryMessage>();

for (const killAfter of [1, 13, 30, 60]) {
  test(`the server is killed ${killAfter} acknowledgements into a stream: after a restart everything acknowledged is there, and nothing by halves`, async () => {
    const left = people.filter((person) => !acknowledged.has(person.template_id)).slice(0, killAfter + 40);
    await connected(async (client) => {
      const call = client.open(RPC);
      let killed: Promise<unknown> | undefined;
      const { entries, failure } = await enrollUntilItEnds(
        call,
        galleryOf(client),
        left.map((person) => templates.get(person.template_id)!),
        (count) => {
          if (count >= killAfter) killed ??= server.kill("SIGKILL");
        },
      );
      assert.deepEqual(await killed, { code: null, signal: "SIGKILL" });
      assert.ok(failure instanceof CallRefused, "the stream broke");
      assert.deepEqual(
        entries.map((entry) => entry.template_id),
        left.slice(0, entries.length).map((person) => person.template_id),
      );
      for (const entry of entries) acknowledged.set(entry.template_id, entry);
    });
    await server.restart();
    await connected(async (client) => {
      // What was durable but not yet acknowledged may be there too: the client sends it again, and takes the place it
      // has now.
      for (const entry of await assertWhole(galleryOf(client), acknowledged))
        acknowledged.set(entry.template_id, entry);
    });
  });
}

test("the client sends the rest again, and the gallery is whole", async () => {
  await connected(async (client) => {
    const gallery = galleryOf(client);
    const rest = people.filter((person) => !acknowledged.has(person.template_id));
    for (const entry of await gallery.enrollTemplates(rest.map((person) => templates.get(person.template_id)!)))
      acknowledged.set(entry.template_id, entry);
    assert.equal((await assertWhole(gallery, acknowledged)).length, people.length);
    const places = [...acknowledged.values()].map(({ placement }) => `${placement!.block}/${placement!.slot}`);
    assert.equal(new Set(places).size, people.length, "no place is given twice, not even across crashes");
  });
});

test("SIGTERM in the middle of a stream stops the server with exit code 0, and what was acknowledged stays", async () => {
  await connected(async (client) => {
    const gallery = galleryOf(client);
    const again = people
      .slice(0, 60)
      .map((person) => ({ ...templates.get(person.template_id)!, template_id: `again-${person.template_id}` }));
    const call = client.open(RPC);
    let stopped: Promise<unknown> | undefined;
    const { entries } = await enrollUntilItEnds(call, gallery, again, (count) => {
      if (count >= 10) stopped ??= server.kill("SIGTERM");
    });
    assert.ok(entries.length >= 10);
    assert.deepEqual(await stopped, { code: 0, signal: null });
    await server.restart();
    await connected(async (next) => {
      const live = new Set((await galleryOf(next).roster()).map((entry) => entry.template_id));
      for (const entry of entries) assert.ok(live.has(entry.template_id));
    });
  });
});

test("SIGTERM ends a server whose client holds a stream open without a word, within the grace time", async () => {
  await connected(async (client) => {
    const call = client.open(RPC);
    call.send({ target: galleryOf(client).target });
    call.send({ template: { ...templates.get("t-0")!, template_id: "last" } });
    assert.equal(enrolledEntry(await call.next()).template_id, "last");
    const start = performance.now();
    const [exit, failure] = await Promise.all([server.kill("SIGTERM"), call.next().catch((error: unknown) => error)]);
    assert.deepEqual(exit, { code: 0, signal: null });
    assert.ok(failure instanceof CallRefused);
    assert.deepEqual([failure.code, failure.reason], [14, "SHUTTING_DOWN"]);
    assert.ok(performance.now() - start < 10_000);
  });
  await server.restart();
  await connected(async (client) => {
    assert.ok((await galleryOf(client).roster()).some((entry) => entry.template_id === "last"));
  });
});

test("a server that is idle stops at once on SIGTERM and on SIGINT", async () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    const start = performance.now();
    assert.deepEqual(await server.kill(signal), { code: 0, signal: null });
    assert.ok(performance.now() - start < 2500);
    await server.restart();
  }
});

test("a client without a server gets UNAVAILABLE", async () => {
  const address = server.address;
  await server.kill("SIGTERM");
  using client = new IndependentClient(address);
  await assert.rejects(
    client.call("GalleryService/GetGallery", { gallery_id: galleryId }),
    (error: CallRefused) => error.code === 14,
  );
});
