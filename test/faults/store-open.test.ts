import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { open } from "lmdb";
import type { RootDatabase } from "lmdb";
import { ServerError } from "../../server/errors.ts";
import { LmdbStore } from "../../server/store/lmdb/lmdb-store.ts";
import { PAIRWISE, keysOf, readContext, sameKeys } from "../unit/store/contexts-fixture.ts";
import { CONTEXT, PACKED, PLAIN, STRIDE, StoreFixture, chunksOf, readAll, residuesOf } from "../unit/store/fixture.ts";

const CHILD = fileURLToPath(new URL("store-open-child.ts", import.meta.url));
const READER = new URL("../../server/store/lmdb/readers/block-reader.ts", import.meta.url).href;

/** A process that opens the folder, and its first line. */
async function openElsewhere(path: string): Promise<{ child: ChildProcess; said: string }> {
  const child = spawn(process.execPath, ["--conditions=source", CHILD, path], { stdio: ["pipe", "pipe", "inherit"] });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  return { child, said: line.toString().trim() };
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}

function unusable(path: string, words: RegExp): void {
  assert.throws(
    () => LmdbStore.open({ path }),
    (error) => error instanceof ServerError && error.reason === "STORE_UNUSABLE" && words.test(error.message),
  );
}

test("a second process is refused while the first lives, also after worker threads have opened and closed the store", async () => {
  await using fixture = await StoreFixture.withGallery();
  const worker = new Worker(
    new URL(
      `data:text/javascript,${encodeURIComponent(`const { openBlockReader } = await import("${READER}"); await openBlockReader(${JSON.stringify(fixture.path)}).close();`)}`,
    ),
    { execArgv: ["--conditions=source"] },
  );
  await once(worker, "exit");
  const refused = await openElsewhere(fixture.path);
  assert.match(
    refused.said,
    new RegExp(`^STORE_UNUSABLE .* is open in process ${process.pid}: stop that process first`),
  );
  await ended(refused.child);
  // The refused process has not disturbed the first.
  await fixture.put("t", "s");
  assert.equal((await readAll(fixture)).size, 1);
  await fixture.store.close();
  const taken = await openElsewhere(fixture.path);
  assert.equal(taken.said, "open");
  taken.child.stdin!.end();
  await ended(taken.child);
  await fixture.reopen();
});

test("a process that was killed does not keep the next one out", async () => {
  await using fixture = await StoreFixture.withGallery();
  await fixture.store.close();
  const { child, said } = await openElsewhere(fixture.path);
  assert.equal(said, "open");
  unusable(fixture.path, /is open in process \d+/);
  child.kill("SIGKILL");
  await ended(child);
  await fixture.reopen();
  assert.equal(fixture.store.getGallery("g").templateCount, 0);
});

test("one process cannot open a store twice", async () => {
  await using fixture = new StoreFixture();
  unusable(fixture.path, /is open already in this process/);
  await fixture.reopen();
});

const KEY = Buffer.from("veilface.schema");

// The version stands behind its key in the file; older copies of the page hold it too.
for (const [name, change, words] of [
  [
    "a store of a newer schema version",
    (file: Buffer, at: number) => file.writeUInt32BE(5, at + KEY.length),
    /has schema version 5, expected 4: use the server version that wrote it/,
  ],
  [
    "another program's LMDB file",
    (file: Buffer, at: number) => file.write("w", at),
    /holds another program's LMDB data/,
  ],
] as const) {
  test(`${name} is refused and left as it is`, async () => {
    await using fixture = await StoreFixture.withGallery();
    const path = join(fixture.path, "other");
    await LmdbStore.open({ path }).close();
    const file = readFileSync(join(path, "data.mdb"));
    for (let at = file.indexOf(KEY); at >= 0; at = file.indexOf(KEY, at + 1)) change(file, at);
    writeFileSync(join(path, "data.mdb"), file);
    unusable(path, words);
    assert.deepEqual(readFileSync(join(path, "data.mdb")), file);
  });
}

const BINARY = { encoding: "binary", keyEncoding: "binary" } as const;
const OTHER = "d".repeat(64);

/** Makes the rows of a closed store those that another version would have written. */
async function changeStore(path: string, change: (root: RootDatabase<Buffer, Buffer>) => unknown): Promise<void> {
  const root = open<Buffer, Buffer>(path, { ...BINARY, noSubdir: false, maxDbs: 32 });
  await change(root);
  await root.close();
}

test("a store of the version before packed blocks is taken over, with its templates", async () => {
  await using fixture = await StoreFixture.withGallery();
  const entry = await fixture.put("t", "s");
  await fixture.store.close();
  await changeStore(fixture.path, async (root) => {
    const galleries = root.openDB<Buffer, Buffer>("galleries", BINARY);
    const { gallery, contextId, space, createTime } = JSON.parse(galleries.get(Buffer.from("g"))!.toString()) as Record<
      string,
      unknown
    >;
    await galleries.put(Buffer.from("g"), Buffer.from(JSON.stringify({ gallery, contextId, space, createTime })));
    await root.put(KEY, Buffer.of(0, 0, 0, 1));
  });
  await fixture.reopen();
  const { packedStride, expectedTemplates, draftOf, templateCount } = fixture.store.getGallery("g");
  assert.deepEqual([packedStride, expectedTemplates, draftOf, templateCount], [STRIDE, 0, undefined, 1]);
  assert.deepEqual((await fixture.store.listEntries("g", 0, 9)).entries, [entry]);
  await fixture.putPacked([{ templateId: "t", subjectId: "s" }], "one");
  assert.deepEqual([...(await readAll(fixture)).values()], chunksOf("one"));
  await fixture.reopen();
  assert.equal(fixture.store.getGallery("g").templateCount, 1);
});

test("a store of the version before pairwise contexts is taken over, with its contexts and templates, and then takes pairwise ones", async () => {
  await using fixture = await StoreFixture.withGallery();
  await fixture.put("t", "s");
  const context = fixture.store.getContext(CONTEXT);
  await fixture.store.close();
  await changeStore(fixture.path, async (root) => {
    const contexts = root.openDB<Buffer, Buffer>("contexts", BINARY);
    const row = {
      parameterSet: "PACKED_N4096_Q60",
      keyId: "07".repeat(32),
      createTime: context.createTime.toISOString(),
    };
    await contexts.put(Buffer.from(CONTEXT), Buffer.from(JSON.stringify(row)));
    await root.openDB<Buffer, Buffer>("contextKeys", BINARY).drop();
    await root.put(KEY, Buffer.of(0, 0, 0, 2));
  });
  await fixture.reopen();
  assert.deepEqual(fixture.store.listContexts("", 9), [context]);
  assert.deepEqual([...(await readAll(fixture)).values()], [residuesOf("t")]);
  const keys = keysOf("k", 10_000);
  await fixture.store.createContext({ contextId: OTHER, scheme: PAIRWISE }, keys);
  await fixture.reopen();
  assert.ok(sameKeys((await readContext(fixture, OTHER)).keys, keys));
  assert.deepEqual(
    fixture.store.listContexts("", 9).map(({ scheme }) => scheme),
    [PACKED, PAIRWISE],
  );
  await fixture.store.close();
  // A server of the version before must not open it any more.
  await changeStore(fixture.path, (root) => {
    assert.deepEqual(root.get(KEY), Buffer.of(0, 0, 0, 4));
  });
  await fixture.reopen();
});

test("a folder whose data file is no LMDB file is refused", async () => {
  await using fixture = new StoreFixture();
  const path = join(fixture.path, "garbage");
  mkdirSync(path);
  writeFileSync(join(path, "data.mdb"), Buffer.alloc(65536, "garbage"));
  unusable(path, /has a data.mdb of another kind/);
});

test("a store of the version that kept drafts in their gallery's row is taken over, with its drafts, and they go with their gallery", async () => {
  await using fixture = await StoreFixture.withGallery();
  await fixture.store.createGallery({ ...PLAIN, galleryId: "d", contextId: CONTEXT, draftOf: "g" });
  await fixture.putPacked([{ templateId: "t", subjectId: "s" }], "one", "d");
  await fixture.store.close();
  await changeStore(fixture.path, async (root) => {
    const galleries = root.openDB<Buffer, Buffer>("galleries", BINARY);
    for (const [galleryId, drafts] of [
      ["g", ["d"]],
      ["d", []],
    ] as const) {
      const row = JSON.parse(galleries.get(Buffer.from(galleryId))!.toString()) as object;
      await galleries.put(Buffer.from(galleryId), Buffer.from(JSON.stringify({ ...row, drafts })));
    }
    await root.openDB<Buffer, Buffer>("drafts", BINARY).drop();
    await root.put(KEY, Buffer.of(0, 0, 0, 3));
  });
  await fixture.reopen();
  assert.deepEqual(
    fixture.store.listGalleries(undefined, "", 9).galleries.map(({ galleryId, draftOf }) => [galleryId, draftOf]),
    [
      ["d", "g"],
      ["g", undefined],
    ],
  );
  await fixture.reopen();
  await fixture.store.deleteGallery("g");
  assert.deepEqual(fixture.store.listGalleries(undefined, "", 9).galleries, []);
});

test("an erasure that fails at the start is logged with counts and without ids, and tried again after a minute", async (t) => {
  await using fixture = await StoreFixture.withGallery();
  await fixture.put("t", "s");
  await fixture.store.close();
  await changeStore(fixture.path, async (root) => {
    const gallery = Buffer.of(0, 0, 0, 77);
    await root.openDB<Buffer, Buffer>("doomedGalleries", BINARY).put(gallery, Buffer.alloc(0));
    // No block's row is that short.
    await root.openDB<Buffer, Buffer>("blocks", BINARY).put(Buffer.concat([gallery, Buffer.alloc(4)]), Buffer.of(9));
  });
  const warnings: Readonly<Record<string, unknown>>[] = [];
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const store = LmdbStore.open({ path: fixture.path, log: { warn: (fields) => void warnings.push(fields) } });
  const turns = async (count: number): Promise<void> => {
    const patience = performance.now() + 30_000;
    while (warnings.length < count && performance.now() < patience) await new Promise(setImmediate);
  };
  await turns(1);
  assert.deepEqual(
    warnings.map(({ err, ...counts }) => [err instanceof ServerError && err.reason, counts]),
    [["STORED_CORRUPT", { blobs: 0 }]],
  );
  t.mock.timers.tick(60_000);
  await turns(2);
  assert.equal(warnings.length, 2);
  await store.close();
  fixture.store = LmdbStore.open({ path: fixture.path });
});
