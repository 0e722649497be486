import assert from "node:assert/strict";
import { test } from "node:test";
import { openBlockReader } from "../../../server/store/lmdb/readers/block-reader.ts";
import { CONTEXT, FULL_BYTES, PACKED_STRIDE, PLAIN, SLOTS, StoreFixture, residuesOf } from "./fixture.ts";

const templateIds = (count: number): string[] => Array.from({ length: count }, (_, i) => `t-${i}`);

/** 32 bytes from the start, the middle and the end of a ciphertext: none may be left. */
function markers(seed: string): Buffer[] {
  const residues = Buffer.from(residuesOf(seed, FULL_BYTES));
  return [0, FULL_BYTES / 2, FULL_BYTES - 32].map((start) => residues.subarray(start, start + 32));
}

/** Those of the seeds whose ciphertext is in the data file, whole or in part. */
function found(fixture: StoreFixture, seeds: readonly string[]): string[] {
  const file = fixture.dataFile();
  return seeds.filter((seed) => markers(seed).some((marker) => file.includes(marker)));
}

async function enroll(fixture: StoreFixture, ids: readonly string[]): Promise<void> {
  await Promise.all(ids.map((id, i) => fixture.put(id, `s-${i % 4}`, residuesOf(id, FULL_BYTES))));
}

/** Those of the seeds of which a chunk is in the data file, whole or in part. */
function foundPacked(fixture: StoreFixture, seeds: readonly string[]): string[] {
  const names = seeds.flatMap((seed) => [1, 2, 3].map((i) => `${seed} chunk ${i}`));
  const left = found(fixture, names);
  return seeds.filter((seed) => left.some((name) => name.startsWith(`${seed} `)));
}

const slotsOf = (ids: readonly string[]) => ids.map((templateId, i) => ({ templateId, subjectId: `s-${i % 4}` }));

// The small map makes the file outgrow it several times, which moves it in memory.
for (const [name, options] of [
  ["", {}],
  [" in a file that outgrew its map", { mapSizeBytes: 2 ** 18 }],
] as const) {
  test(`no byte of a deleted ciphertext is in the data file once the deletion is acknowledged${name}`, async () => {
    await using fixture = await StoreFixture.withGallery(options);
    const ids = templateIds(40);
    await enroll(fixture, ids);
    assert.deepEqual(found(fixture, ids), ids);
    await fixture.store.deleteTemplates("g", { templateIds: ["t-1", "t-6", "t-39"], subjectIds: ["s-0"] });
    const left = ids.filter((id, i) => !["t-1", "t-6", "t-39"].includes(id) && i % 4 !== 0);
    assert.deepEqual(found(fixture, ids), left);
    await fixture.reopen();
    assert.deepEqual(found(fixture, ids), left);
  });
}

test("no byte of a replaced ciphertext is in the data file once its successor is acknowledged", async () => {
  await using fixture = await StoreFixture.withGallery();
  for (const [version, subjectId] of [
    ["v-1", "s"],
    ["v-2", "s"],
    ["v-3", "other"],
  ] as const) {
    await fixture.put("t", subjectId, residuesOf(version, FULL_BYTES));
    assert.deepEqual(found(fixture, ["v-1", "v-2", "v-3"]), [version]);
  }
});

test("no byte of a packed block is in the data file once its last live template is deleted or replaced", async () => {
  await using fixture = await StoreFixture.withGallery();
  const pack = (ids: readonly string[], seed: string) =>
    fixture.putPacked(slotsOf(ids), seed, "g", PACKED_STRIDE, FULL_BYTES);
  await pack(["a", "b", "c"], "first");
  await pack(["d", "e"], "second");
  await fixture.store.deleteTemplates("g", { templateIds: ["a", "d"] });
  assert.deepEqual(foundPacked(fixture, ["first", "second"]), ["first", "second"]);
  await fixture.store.deleteTemplates("g", { templateIds: ["e"] });
  assert.deepEqual(foundPacked(fixture, ["first", "second"]), ["first"]);
  await pack(["b"], "third");
  assert.deepEqual(foundPacked(fixture, ["first", "third"]), ["first", "third"]);
  await fixture.put("c", "s", residuesOf("loose c", FULL_BYTES));
  assert.deepEqual(foundPacked(fixture, ["first", "third"]), ["third"]);
  await pack(["b"], "again");
  await pack(["c"], "fourth");
  assert.deepEqual(
    [foundPacked(fixture, ["first", "second", "third", "again", "fourth"]), found(fixture, ["loose c"])],
    [["again", "fourth"], []],
  );
  await fixture.reopen();
  assert.deepEqual(foundPacked(fixture, ["first", "second", "third", "again", "fourth"]), ["again", "fourth"]);
});

test("no byte of what a gallery held is in the data file once it is replaced", async () => {
  await using fixture = await StoreFixture.withGallery();
  const { store } = fixture;
  await fixture.putPacked(slotsOf(["a", "b"]), "old", "g", PACKED_STRIDE, FULL_BYTES);
  await fixture.put("c", "s", residuesOf("old loose", FULL_BYTES));
  await store.createGallery({ ...PLAIN, galleryId: "d", contextId: CONTEXT, draftOf: "g" });
  await fixture.putPacked(slotsOf(["a", "b"]), "new", "d", PACKED_STRIDE, FULL_BYTES);
  await fixture.put("c", "s", residuesOf("new loose", FULL_BYTES), "d");
  assert.deepEqual(foundPacked(fixture, ["old", "new"]), ["old", "new"]);
  await store.replaceGallery("g", "d", store.getGallery("g").revision);
  assert.deepEqual(
    [foundPacked(fixture, ["old", "new"]), found(fixture, ["old loose", "new loose"])],
    [["new"], ["new loose"]],
  );
});

test("a deleted gallery of many packed blocks leaves none of their bytes, nor do its drafts", async () => {
  await using fixture = await StoreFixture.withGallery();
  await fixture.store.createGallery({ ...PLAIN, galleryId: "d", contextId: CONTEXT, draftOf: "g" });
  const seeds = Array.from({ length: 70 }, (_, i) => `block ${i}`);
  await Promise.all(
    seeds.map((seed, i) =>
      fixture.putPacked(slotsOf([`t-${i}`]), seed, i % 7 === 0 ? "d" : "g", PACKED_STRIDE, FULL_BYTES),
    ),
  );
  assert.deepEqual(foundPacked(fixture, seeds.slice(0, 8)), seeds.slice(0, 8));
  await fixture.store.deleteGallery("g");
  assert.deepEqual(foundPacked(fixture, seeds), []);
});

test("a reader that still holds its place does not keep a deleted ciphertext in the data file", async () => {
  await using fixture = await StoreFixture.withGallery();
  await enroll(fixture, templateIds(6));
  const reader = openBlockReader(fixture.path);
  const iteration = reader.looseTemplates(fixture.store.readerLocation("g").gallery, 0)[Symbol.iterator]();
  assert.equal(iteration.next().done, false);
  await fixture.store.deleteTemplates("g", { templateIds: ["t-0", "t-3"] });
  assert.deepEqual(found(fixture, templateIds(6)), ["t-1", "t-2", "t-4", "t-5"]);
  const rest = [];
  for (let step = iteration.next(); step.done !== true; step = iteration.next()) rest.push(step.value.slot);
  assert.deepEqual(rest, [1, 2, 4, 5]);
  await reader.close();
});

test("a deleted gallery leaves no ciphertext in the data file, and its neighbour keeps all of its own", async () => {
  await using fixture = await StoreFixture.withGallery();
  const ids = templateIds(3 * SLOTS);
  await fixture.store.createGallery({ galleryId: "h", contextId: CONTEXT, ...PLAIN });
  await enroll(fixture, ids);
  await fixture.put("kept", "s", residuesOf("kept", FULL_BYTES), "h");
  await fixture.store.deleteGallery("g");
  assert.deepEqual(found(fixture, [...ids, "kept"]), ["kept"]);
});

test("an erasure that the end of the process cut short is finished at the next opening", async () => {
  await using fixture = await StoreFixture.withGallery();
  const ids = templateIds(12 * SLOTS);
  await enroll(fixture, ids);
  const sample = ids.filter((_, i) => i % 60 === 0 || i === ids.length - 1);
  const deleted = fixture.store.deleteGallery("g");
  const closed = fixture.store.close();
  await Promise.all([deleted, closed]);
  assert.deepEqual(found(fixture, sample), sample, "the close came before the erasure");
  await fixture.reopen();
  assert.deepEqual(fixture.store.listGalleries(undefined, "", 9), { galleries: [], next: undefined });
  await waitUntil(() => found(fixture, sample).length === 0);
});

test("the pages of deleted templates are used again", async () => {
  await using fixture = await StoreFixture.withGallery();
  const sizes = [];
  for (let round = 0; round < 12; round++) {
    await enroll(fixture, templateIds(20));
    await fixture.store.deleteTemplates("g", { templateIds: templateIds(20) });
    sizes.push(fixture.dataFile().length);
  }
  assert.ok(sizes[11]! < 1.2 * sizes[1]!, "twelve rounds take little more room than two");
});

test("a worker's reads let go of their snapshot, so that pages can be used again", async () => {
  await using fixture = await StoreFixture.withGallery();
  const reader = openBlockReader(fixture.path);
  const sizes = [];
  for (let round = 0; round < 12; round++) {
    await enroll(fixture, templateIds(20));
    // Left open on purpose, as by a search that was cancelled.
    const block = (await fixture.store.listBlocks("g")).blocks[0]!.block;
    assert.equal(
      reader.looseTemplates(fixture.store.readerLocation("g").gallery, block)[Symbol.iterator]().next().done,
      false,
    );
    await fixture.store.deleteTemplates("g", { templateIds: templateIds(20) });
    sizes.push(fixture.dataFile().length);
  }
  await reader.close();
  assert.ok(sizes[11]! < 1.2 * sizes[1]!, "twelve rounds take little more room than two");
});

async function waitUntil(condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 100 && !condition(); tries++) await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok(condition());
}
