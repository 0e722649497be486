import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { openBlockReader } from "../../../server/store/lmdb/readers/block-reader.ts";
import type { RosterEntry } from "../../../server/store/gallery-store.ts";
import { LmdbStore } from "../../../server/store/lmdb/lmdb-store.ts";
import {
  CONTEXT,
  PACKED,
  PLAIN,
  SLOTS,
  STRIDE,
  StoreFixture,
  hasReason,
  placeOf,
  readAll,
  residuesOf,
} from "./fixture.ts";

const OTHER = "d".repeat(64);

test("a context is stored once: creating it again returns the first one", async () => {
  await using fixture = new StoreFixture();
  const first = await fixture.store.createContext({ contextId: CONTEXT, scheme: PACKED });
  const second = await fixture.store.createContext({ contextId: CONTEXT, scheme: PACKED });
  assert.deepEqual(second, first);
  assert.deepEqual(second.scheme, PACKED);
  await fixture.reopen();
  assert.deepEqual(fixture.store.getContext(CONTEXT), first);
});

test("contexts and galleries are listed in the order of their ids, page by page", async () => {
  await using fixture = new StoreFixture();
  const { store } = fixture;
  for (const contextId of [OTHER, CONTEXT]) await store.createContext({ contextId, scheme: PACKED });
  for (const [galleryId, contextId] of [
    ["b", CONTEXT],
    ["a", OTHER],
    ["a-2", CONTEXT],
    ["c", CONTEXT],
  ] as const)
    await store.createGallery({ galleryId, contextId, ...PLAIN });
  const galleries = (contextId: string | undefined, after: string, limit: number): string[] =>
    store.listGalleries(contextId, after, limit).galleries.map(({ galleryId }) => galleryId);
  assert.deepEqual(
    store.listContexts("", 1).map(({ contextId }) => contextId),
    [CONTEXT],
  );
  assert.deepEqual(
    store.listContexts(CONTEXT, 5).map(({ contextId }) => contextId),
    [OTHER],
  );
  assert.deepEqual(galleries(undefined, "", 3), ["a", "a-2", "b"]);
  assert.deepEqual(galleries(undefined, "b", 3), ["c"]);
  assert.deepEqual(galleries(CONTEXT, "", 2), ["a-2", "b"]);
  assert.deepEqual(galleries(CONTEXT, "b", 2), ["c"]);
  assert.deepEqual(galleries(OTHER, "", 9), ["a"]);
  assert.deepEqual(galleries("e".repeat(64), "", 9), []);
});

test("what is not there is refused by its own reason", async () => {
  await using fixture = await StoreFixture.withGallery();
  const { store } = fixture;
  assert.throws(() => store.getContext(OTHER), hasReason("CONTEXT_NOT_FOUND"));
  await assert.rejects(store.deleteContext(OTHER, true), hasReason("CONTEXT_NOT_FOUND"));
  await assert.rejects(
    store.createGallery({ galleryId: "h", contextId: OTHER, ...PLAIN }),
    hasReason("CONTEXT_NOT_FOUND"),
  );
  await assert.rejects(
    store.createGallery({ galleryId: "g", contextId: CONTEXT, ...PLAIN, uid: new Uint8Array(16).fill(8) }),
    hasReason("GALLERY_EXISTS"),
  );
  await assert.rejects(
    store.createGallery({ galleryId: "g", contextId: CONTEXT, ...PLAIN, labels: { other: "labels" } }),
    hasReason("GALLERY_EXISTS"),
  );
  const asked = { galleryId: "g", contextId: CONTEXT, ...PLAIN };
  assert.deepEqual(await store.createGallery(asked), store.getGallery("g"), "the very same may be asked for again");
  await assert.rejects(store.deleteGallery("h"), hasReason("GALLERY_NOT_FOUND"));
  await assert.rejects(store.deleteTemplates("h", { templateIds: [] }), hasReason("GALLERY_NOT_FOUND"));
  for (const read of [
    () => store.listEntries("h", 0, 1),
    () => store.entriesOfSubject("h", "s"),
    () => store.listBlocks("h"),
  ]) {
    await assert.rejects(read, hasReason("GALLERY_NOT_FOUND"));
  }
  for (const read of [
    () => store.getGallery("h"),
    () => store.readerLocation("h"),
    () => store.reservePlacement("h", { templateId: "t", subjectId: "s" }, { stride: STRIDE, slots: SLOTS }),
  ]) {
    assert.throws(read, hasReason("GALLERY_NOT_FOUND"));
  }
});

test("a context with galleries is deleted only by force, and its galleries with it", async () => {
  await using fixture = await StoreFixture.withGallery();
  await fixture.put("t", "s");
  await assert.rejects(fixture.store.deleteContext(CONTEXT, false), hasReason("CONTEXT_IN_USE"));
  assert.equal(fixture.store.getGallery("g").templateCount, 1);
  await fixture.store.deleteContext(CONTEXT, true);
  assert.throws(() => fixture.store.getContext(CONTEXT), hasReason("CONTEXT_NOT_FOUND"));
  assert.throws(() => fixture.store.getGallery("g"), hasReason("GALLERY_NOT_FOUND"));
  assert.deepEqual(fixture.store.listGalleries(undefined, "", 9), { galleries: [], next: undefined });
});

test("loose templates fill the slots of a block in order, and block numbers are shared by all strides", async () => {
  await using fixture = await StoreFixture.withGallery();
  const { store } = fixture;
  const places = [2, 2, 3, 2, 3].map((stride, i) => {
    const { block, slot } = store.reservePlacement("g", { templateId: `t-${i}`, subjectId: "s" }, { stride, slots: 2 });
    return [stride, block, slot];
  });
  assert.deepEqual(places, [
    [2, 0, 0],
    [2, 0, 1],
    [3, 1, 0],
    [2, 2, 0],
    [3, 1, 1],
  ]);
});

test("a template keeps its place under the same subject and gets a new one under another", async () => {
  await using fixture = await StoreFixture.withGallery();
  const first = await fixture.put("t", "s");
  const again = await fixture.put("t", "s", residuesOf("again"));
  const moved = await fixture.put("t", "other");
  assert.deepEqual(again.live?.placement, first.live?.placement);
  assert.notDeepEqual(moved.live?.placement, first.live?.placement);
  assert.deepEqual(await fixture.store.entriesOfSubject("g", "s"), []);
  assert.deepEqual(await fixture.store.entriesOfSubject("g", "other"), [moved]);
  assert.deepEqual([first.revision, again.revision, moved.revision], [1, 2, 3]);
});

test("places of templates that are gone are not given out again, not even after a restart", async () => {
  await using fixture = await StoreFixture.withGallery();
  const before: (RosterEntry | undefined)[] = [];
  for (let i = 0; i < SLOTS + 3; i++) before.push(await fixture.put(`t-${i}`, "s"));
  await fixture.store.deleteTemplates("g", { templateIds: [], subjectIds: ["s"] });
  await fixture.reopen();
  const after = [];
  for (let i = 0; i < SLOTS; i++) after.push(await fixture.put(`t-${i}`, "s"));
  const places = [...before, ...after].map((entry) => JSON.stringify(entry?.live?.placement));
  assert.equal(new Set(places).size, places.length);
});

test("puts of one template at the same time leave one live ciphertext", async () => {
  await using fixture = await StoreFixture.withGallery();
  const entries = await Promise.all(
    Array.from({ length: 20 }, (_, i) => fixture.put("t", `s-${i % 3}`, residuesOf(`v-${i}`))),
  );
  const last = entries.reduce((a, b) => (a.revision > b.revision ? a : b));
  assert.equal(fixture.store.getGallery("g").templateCount, 1);
  assert.deepEqual((await fixture.store.listEntries("g", 0, 9)).entries, [last]);
  assert.deepEqual(await readAll(fixture), new Map([[placeOf(last), residuesOf(`v-${entries.indexOf(last)}`)]]));
});

test("the blocks hold exactly the live ciphertexts, read back in slot order", async () => {
  await using fixture = await StoreFixture.withGallery();
  const entries = [];
  for (let i = 0; i < 2 * SLOTS; i++) entries.push(await fixture.put(`t-${i}`, `s-${i % 5}`));
  await fixture.store.deleteTemplates("g", { templateIds: ["t-3", "t-40", "unknown"], subjectIds: ["s-2"] });
  const live = entries.filter(({ templateId }, i) => i % 5 !== 2 && !["t-3", "t-40"].includes(templateId));
  assert.deepEqual(
    await readAll(fixture),
    new Map(live.map((entry) => [placeOf(entry), residuesOf(entry.templateId)])),
  );
  const reader = openBlockReader(fixture.path);
  const { gallery } = fixture.store.readerLocation("g");
  assert.deepEqual(
    Array.from(reader.looseTemplates(gallery, 0, [9, 4, 3, 30, 99]), ({ slot }) => slot),
    [4, 9, 30],
  );
  assert.deepEqual(Array.from(reader.looseTemplates(gallery, 99)), []);
  await reader.close();
});

test("a client that asks for changes since a revision learns of each template's latest change once, oldest first", async () => {
  await using fixture = await StoreFixture.withGallery();
  for (const id of ["a", "b", "c"]) await fixture.put(id, "s");
  await fixture.put("a", "s");
  const deleted = await fixture.store.deleteTemplates("g", { templateIds: ["b"] });
  assert.deepEqual(deleted, {
    count: 1,
    revision: 5,
    struck: [],
    erasedBlocks: [],
    unknownSubjectIds: [],
    unknownTemplateIds: [],
    more: false,
  });
  const first = await fixture.store.listEntries("g", 0, 2);
  assert.deepEqual(
    first.entries.map(({ templateId, revision }) => [templateId, revision]),
    [
      ["c", 3],
      ["a", 4],
    ],
  );
  assert.deepEqual([first.revision, first.next], [5, 4]);
  const last = await fixture.store.listEntries("g", first.next!, 2);
  assert.deepEqual([last.entries, last.next], [[{ templateId: "b", revision: 5, live: undefined }], undefined]);
  assert.deepEqual(await fixture.store.listEntries("g", 5, 2), { entries: [], revision: 5, next: undefined });
});

test("deleting what is not there changes nothing", async () => {
  await using fixture = await StoreFixture.withGallery();
  await fixture.put("t", "s");
  assert.deepEqual(await fixture.store.deleteTemplates("g", { templateIds: ["x"], subjectIds: ["y"] }), {
    count: 0,
    revision: 1,
    struck: [],
    erasedBlocks: [],
    unknownSubjectIds: ["y"],
    unknownTemplateIds: ["x"],
    more: false,
  });
  const { count } = await fixture.store.deleteTemplates("g", { templateIds: ["t", "t"], subjectIds: ["s"] });
  assert.deepEqual([count, fixture.store.getGallery("g").revision], [1, 2]);
});

test("a gallery made again under the same id is empty, and a place reserved in the former one is refused", async () => {
  await using fixture = await StoreFixture.withGallery();
  const { store } = fixture;
  await fixture.put("t", "s");
  const former = store.readerLocation("g");
  const placement = store.reservePlacement("g", { templateId: "u", subjectId: "s" }, { stride: STRIDE, slots: SLOTS });
  await store.deleteGallery("g");
  const made = await store.createGallery({ galleryId: "g", contextId: CONTEXT, ...PLAIN });
  assert.deepEqual([made.revision, made.templateCount, made.strides], [0, 0, []]);
  await assert.rejects(
    store.putLooseTemplate("g", { templateId: "u", subjectId: "s", placement, residues: residuesOf("u") }),
    hasReason("GALLERY_NOT_FOUND"),
  );
  assert.notEqual(store.readerLocation("g").gallery, former.gallery);
  assert.deepEqual(await readAll(fixture), new Map());
});

test("a closed store refuses changes and has made those that it took", async () => {
  await using fixture = await StoreFixture.withGallery();
  const taken = Array.from({ length: 40 }, (_, i) => fixture.put(`t-${i}`, "s"));
  const placement = fixture.store.reservePlacement(
    "g",
    { templateId: "late", subjectId: "s" },
    { stride: STRIDE, slots: SLOTS },
  );
  const closed = fixture.store.close();
  await assert.rejects(
    fixture.store.putLooseTemplate("g", {
      templateId: "late",
      subjectId: "s",
      placement,
      residues: residuesOf("late"),
    }),
    hasReason("SHUTTING_DOWN"),
  );
  await closed;
  assert.equal((await Promise.all(taken)).length, 40);
  await fixture.reopen();
  assert.equal(fixture.store.getGallery("g").templateCount, 40);
});

test("only the server's user may read the folder and its files", async () => {
  await using fixture = new StoreFixture();
  const path = join(fixture.path, "made", "here");
  await LmdbStore.open({ path }).close();
  assert.equal(statSync(path).mode & 0o777, 0o700);
  for (const name of ["data.mdb", "lock.mdb"]) assert.equal(statSync(join(path, name)).mode & 0o077, 0);
});
