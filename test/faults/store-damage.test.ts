// One bit of a data file is turned while the server is down; what clients then get of a gallery, and what they are
// told.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { ClientError, KeyHolder, VeilfaceClient } from "@veilface/client";
import type { ModelSpace, RefusedTemplate } from "@veilface/client";
import { openBlockReader } from "../../server/store/lmdb/readers/block-reader.ts";
import { LmdbStore } from "../../server/store/lmdb/lmdb-store.ts";
import { unitVector } from "../../bench/figures.ts";
import { ServerProcess } from "../../scripts/dev/server-process.ts";

const SPACE: ModelSpace = { dimension: 128, metric: "cosine", normBound: 1, modelId: "random" };
const LOOSE = 40;
const PACKED = 200;

const server = await ServerProcess.start();
const keyHolder = await KeyHolder.create();
{
  using client = new VeilfaceClient({ address: server.address, keyHolder });
  await client.createGallery("g", SPACE);
  await client.enroll("g", people(0, PACKED), { packing: "never" });
  await client.packGallery("g", { stride: 8 });
  await client.enroll("g", people(PACKED, LOOSE), { packing: "never" });
}
await server.kill("SIGTERM");
await damage();
await server.restart();
const client = new VeilfaceClient({ address: server.address, keyHolder });
after(async () => {
  client[Symbol.dispose]();
  await server[Symbol.asyncDispose]();
  keyHolder[Symbol.dispose]();
});

function* people(
  first: number,
  count: number,
): Generator<{ templateId: string; subjectId: string; embedding: Float32Array }, undefined> {
  for (let i = first; i < first + count; i++)
    yield { templateId: `t-${i}`, subjectId: `s-${i}`, embedding: unitVector(i, SPACE.dimension) };
}

/** Turns a bit of one packed block, and of the loose template at slot 3 of the first loose block. */
async function damage(): Promise<void> {
  const store = LmdbStore.open({ path: server.dataFolder });
  const { gallery, path } = store.readerLocation("g");
  const { blocks } = await store.listBlocks("g");
  const reader = openBlockReader(path);
  const kindOf = (kind: "packed" | "loose"): number =>
    blocks.find(({ block }) => reader.blockKind(gallery, block) === kind)!.block;
  const [chunk] = reader.packedChunks(gallery, kindOf("packed"));
  const packed = Buffer.from(chunk!.subarray(0, 64));
  const [template] = reader.looseTemplates(gallery, kindOf("loose"), [3]);
  const loose = Buffer.from(template!.residues!.subarray(0, 64));
  await reader.close();
  await store.close();
  const file = join(server.dataFolder, "data.mdb");
  const bytes = readFileSync(file);
  for (const sought of [packed, loose]) {
    const at = bytes.indexOf(sought);
    assert.ok(at > 0);
    bytes[at + 20]! ^= 1;
  }
  writeFileSync(file, bytes);
}

async function identify(i: number): Promise<{ nearest: string | undefined; refused: RefusedTemplate[] }> {
  const refused: RefusedTemplate[] = [];
  const onRefused = (templates: readonly RefusedTemplate[]): void => void refused.push(...templates);
  const [nearest] = await client.identify("g", unitVector(i, SPACE.dimension), { maxCandidates: 1, onRefused });
  return { nearest: nearest?.templateId, refused };
}

test("a search answers everybody but the damaged templates, and names those", async () => {
  const { nearest, refused } = await identify(PACKED + 20);
  assert.equal(nearest, `t-${PACKED + 20}`);
  const names = new Set(refused.map(({ templateId }) => templateId));
  assert.ok(names.has(`t-${PACKED + 3}`));
  // Whole blocks of 200 templates at stride 8 are one of 200; nobody else is refused.
  assert.deepEqual(names, new Set([`t-${PACKED + 3}`, ...Array.from({ length: PACKED }, (_, i) => `t-${i}`)]));
  assert.ok(
    refused.every(
      ({ reason, templateId, subjectId }) => reason === "STORED_CORRUPT" && subjectId === templateId.replace("t", "s"),
    ),
  );
  for (const i of [PACKED, PACKED + 2, PACKED + 4, PACKED + LOOSE - 1])
    assert.equal((await identify(i)).nearest, `t-${i}`);
});

test("who does not ask gets a warning of the process", async () => {
  const warned = new Promise<Error>((resolve) => process.once("warning", resolve));
  await client.identify("g", unitVector(PACKED, SPACE.dimension));
  assert.match(
    (await warned).message,
    /the server could not compare .*t-.* and 191 more \(STORED_CORRUPT\): delete and enroll them again/,
  );
});

test("a verification of a damaged template says so, and of another one works", async () => {
  for (const i of [3, PACKED + 3]) {
    await assert.rejects(
      client.verify("g", { subjectId: `s-${i}`, embedding: unitVector(i, SPACE.dimension) }, { threshold: 0.5 }),
      (error) => {
        assert.ok(error instanceof ClientError);
        assert.deepEqual([error.reason, error.serverReason], ["SERVER_REFUSED", "STORED_CORRUPT"]);
        assert.match(error.message, new RegExp(`could not compare t-${i} of s-${i} `));
        return true;
      },
    );
  }
  const other = await client.verify(
    "g",
    { subjectId: `s-${PACKED + 4}`, embedding: unitVector(PACKED + 4, SPACE.dimension) },
    {
      threshold: 0.5,
    },
  );
  assert.ok(other.accepted);
});

test("packing names what is damaged; once it is deleted the gallery is whole again", async () => {
  const isNamed = (error: unknown): boolean =>
    error instanceof ClientError &&
    /packed block of template "t-0" and 199 others|template "t-203"/.test(error.message);
  await assert.rejects(client.packGallery("g"), isNamed);
  const templateIds = [`t-${PACKED + 3}`, ...Array.from({ length: PACKED }, (_, i) => `t-${i}`)];
  assert.equal((await client.deleteTemplates("g", { templateIds })).deleted, templateIds.length);
  await client.packGallery("g");
  const { nearest, refused } = await identify(PACKED + 20);
  assert.deepEqual([nearest, refused], [`t-${PACKED + 20}`, []]);
});
