import assert from "node:assert/strict";
import { readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { contractKey } from "../support/independent/contract-suite.ts";
import { COSINE_128, TestGallery } from "../support/independent/gallery-fixture.ts";
import type { Person, TemplateMessage } from "../support/independent/gallery-fixture.ts";
import { CallRefused, IndependentClient } from "../support/independent/independent-client.ts";
import { unpack } from "../support/independent/independent-crypto.ts";
import { plainDistance, randomEmbedding } from "../support/independent/independent-encoding.ts";
import type { Space } from "../support/independent/independent-encoding.ts";
import { ServerProcess } from "../../scripts/dev/server-process.ts";

const key = await contractKey();
/** One template fills a block: what is stored is what was sent, not moved to another slot. */
const WIDE: Space = { ...COSINE_128, dimension: 2048, metric: "METRIC_EUCLIDEAN", norm_bound: 1.5 };

const person = (i: number, space: Space): Person => ({
  template_id: `t-${i}`,
  subject_id: `s-${i}`,
  embedding: randomEmbedding(space.dimension),
});

async function startServer(...args: string[]): Promise<ServerProcess> {
  const server = await ServerProcess.start(args);
  after(() => server[Symbol.asyncDispose]());
  return server;
}

/** 32 bytes from the middle of a template's residues, as they are stored: little-endian u32. */
function marker(template: TemplateMessage): Buffer {
  const residues = unpack(template.ciphertext.data).slice(9000, 9008);
  return Buffer.from(Uint32Array.from(residues, Number).buffer);
}

/** Files and offsets in the data folder where bytes are found. */
function placesOf(bytes: Buffer, folder: string): { path: string; at: number }[] {
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile());
  return files.map((path) => ({ path, at: readFileSync(path).indexOf(bytes) })).filter(({ at }) => at >= 0);
}

test("a deleted or replaced template, and a deleted gallery, leave no byte in the data folder", async () => {
  const server = await startServer();
  using client = new IndependentClient(server.address);
  const gallery = await TestGallery.create(client, key, WIDE);
  const templates = [0, 1, 2, 3].map((i) => gallery.template(person(i, WIDE)));
  await gallery.enrollTemplates(templates);
  for (const template of templates)
    assert.equal(placesOf(marker(template), server.dataFolder).length, 1, "what is looked for is there to be found");
  await gallery.delete({ template_ids: ["t-0"] });
  await gallery.delete({ subject_ids: ["s-1"] });
  await gallery.enroll([person(2, WIDE)]);
  for (const template of templates.slice(0, 3)) assert.deepEqual(await goneWithin(2000, template, server), []);
  assert.equal(placesOf(marker(templates[3]!), server.dataFolder).length, 1);
  await client.call("GalleryService/DeleteGallery", { gallery_id: gallery.galleryId });
  assert.deepEqual(await goneWithin(2000, templates[3]!, server), []);
});

async function goneWithin(ms: number, template: TemplateMessage, server: ServerProcess): Promise<unknown[]> {
  const deadline = Date.now() + ms;
  let places = placesOf(marker(template), server.dataFolder);
  while (places.length > 0 && Date.now() < deadline) {
    await sleep(50);
    places = placesOf(marker(template), server.dataFolder);
  }
  return places;
}

test("a template whose bytes rotted on disk is refused alone, never summed into distances; the rest is served", async () => {
  const server = await startServer();
  const people = [person(0, WIDE), person(1, WIDE)];
  const { galleryId, rotten } = await (async () => {
    using client = new IndependentClient(server.address);
    const gallery = await TestGallery.create(client, key, WIDE);
    const templates = people.map((one) => gallery.template(one));
    await gallery.enrollTemplates(templates);
    return { galleryId: gallery.galleryId, rotten: templates[0]! };
  })();
  await server.kill("SIGTERM");
  const [place] = placesOf(marker(rotten), server.dataFolder);
  const bytes = readFileSync(place!.path);
  bytes[place!.at]! ^= 1;
  writeFileSync(place!.path, bytes);
  await server.restart();
  using client = new IndependentClient(server.address);
  const gallery = new TestGallery(client, key, WIDE, galleryId);
  const probe = randomEmbedding(2048);
  const found = await gallery.search(probe);
  assert.ok(Number.isNaN(found.get("t-0")) && Number.isNaN((await gallery.compare("s-0", probe)).get("t-0")));
  for (const distance of [found.get("t-1")!, (await gallery.compare("s-1", probe)).get("t-1")!]) {
    assert.ok(Math.abs(distance - plainDistance(WIDE, people[1]!.embedding, probe)) < 1e-5);
  }
  assert.match(server.log, new RegExp(`"galleryId":"${galleryId}","block":0,"reason":"STORED_CORRUPT"`));
  const refusal: unknown = await client
    .call("GalleryService/ReadTemplates", { gallery_id: galleryId })
    .catch((error: unknown) => error);
  assert.ok(refusal instanceof CallRefused);
  assert.deepEqual([refusal.code, refusal.reason], [15, "STORED_CORRUPT"]);
  await gallery.enroll([person(0, WIDE)]);
  const repaired = await gallery.search(probe);
  assert.ok(
    repaired.size === 2 && repaired.values().every(Number.isFinite),
    "sending the template again repairs the gallery",
  );
});

test("a full store refuses more, keeps what it has, goes on answering, and takes templates again after a deletion", async () => {
  const server = await startServer("--max-data-bytes", String(8 << 20));
  using client = new IndependentClient(server.address);
  const gallery = await TestGallery.create(client, key);
  const people = Array.from({ length: 200 }, (_, i) => person(i, COSINE_128));
  const refusal: unknown = await gallery.enroll(people).catch((error: unknown) => error);
  assert.ok(refusal instanceof CallRefused, "8 MiB do not hold 200 templates of 64 KiB");
  assert.deepEqual([refusal.code, refusal.reason], [8, "STORAGE_FULL"]);
  const kept = refusal.received.length;
  assert.ok(kept > 20, `${kept} templates were stored`);
  // The refused one is not there; one that was sent after it may be, as long as it is whole.
  const live = new Set((await gallery.roster()).map(({ template_id }) => template_id));
  assert.ok(
    people.slice(0, kept).every(({ template_id }) => live.has(template_id)) && !live.has(people[kept]!.template_id),
  );
  assert.equal((await gallery.describe()).template_count, live.size);
  const probe = randomEmbedding(128);
  const found = await gallery.search(probe);
  assert.deepEqual(new Set(found.keys()), live);
  for (const { template_id, embedding } of people.filter((one) => live.has(one.template_id)))
    assert.ok(Math.abs(found.get(template_id)! - plainDistance(COSINE_128, embedding, probe)) < 1e-5);
  await gallery.delete({ template_ids: people.slice(0, 10).map(({ template_id }) => template_id) });
  assert.equal((await gallery.enroll(people.slice(0, 3))).length, 3);
});

test("a second server on the same folder is refused with a clear line, and the first goes on", async () => {
  const server = await startServer();
  const second = ServerProcess.start(["--data", server.dataFolder]);
  await assert.rejects(second, /veilface-server: .*open in process \d+/);
  using client = new IndependentClient(server.address);
  assert.equal((await client.call("GalleryService/ListGalleries", {})).length, 1);
});

test("an address that is taken, or beyond this machine without TLS, is refused with a clear line", async () => {
  const server = await startServer();
  await assert.rejects(
    ServerProcess.start(["--address", server.address]),
    /veilface-server: [^]*(in use|EADDRINUSE|address)/i,
  );
  await assert.rejects(ServerProcess.start(["--address", "0.0.0.0:0"]), /--tls-cert/);
});
