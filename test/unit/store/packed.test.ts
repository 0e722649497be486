import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { WantedIds, indexIds } from "../../../server/store/lmdb/rows/id-index.ts";
import { openReadOnly } from "../../../server/store/lmdb/disk/environment.ts";
import { openTables } from "../../../server/store/lmdb/rows/schema.ts";
import { LARGEST_CHUNK_BYTES, cutChunks } from "../../../server/store/lmdb/rows/packed-chunks.ts";
import { PackedLookup, SoughtIds } from "../../../server/store/lmdb/tables/packed-lookup.ts";
import {
  CONTEXT,
  PACKED_STRIDE,
  PLAIN,
  SMALL_BYTES,
  STRIDE,
  StoreFixture,
  chunksOf,
  hasReason,
  readAll,
  residuesOf,
} from "./fixture.ts";

const slotsOf = (...ids: string[]) => ids.map((templateId, i) => ({ templateId, subjectId: `s-${i % 2}` }));

/** Ids of the templates that were deleted after a revision, in that order. */
async function deletedSince({ store }: StoreFixture, revision: number): Promise<string[]> {
  const { entries } = await store.listEntries("g", revision, 1000);
  return entries.filter(({ live }) => live === undefined).map(({ templateId }) => templateId);
}

test("a packed block is read back chunk by chunk, and its templates are listed with their slots and revisions", async () => {
  await using fixture = await StoreFixture.withGallery();
  await fixture.put("loose", "s-0");
  const entry = await fixture.putPacked(slotsOf("a", "b", "c"), "one");
  assert.deepEqual(entry, { block: 1, stride: PACKED_STRIDE, count: 3, firstRevision: 2 });
  const { templateCount, revision, strides } = fixture.store.getGallery("g");
  assert.deepEqual([templateCount, revision, strides], [4, 4, [PACKED_STRIDE, STRIDE]]);
  assert.deepEqual(
    await readAll(fixture),
    new Map([["0/0", residuesOf("loose")], ...chunksOf("one").map((chunk, i) => [`1#${i}`, chunk] as const)]),
  );
  const lines = (await fixture.store.listEntries("g", 0, 9)).entries.map(({ templateId, revision, live }) => [
    templateId,
    revision,
    live?.subjectId,
    live?.placement,
  ]);
  const place = (slot: number) => ({ block: 1, slot, stride: PACKED_STRIDE });
  assert.deepEqual(lines, [
    ["loose", 1, "s-0", { block: 0, slot: 0, stride: STRIDE }],
    ["a", 2, "s-0", place(0)],
    ["b", 3, "s-1", place(1)],
    ["c", 4, "s-0", place(2)],
  ]);
  assert.deepEqual(
    (await fixture.store.entriesOfSubject("g", "s-0")).map(({ templateId }) => templateId),
    ["loose", "a", "c"],
  );
  assert.deepEqual((await fixture.store.listBlocks("g")).blocks, [
    { block: 0, stride: STRIDE },
    { block: 1, stride: PACKED_STRIDE },
  ]);
});

test("deletions strike templates of a packed block, and the last one takes the block along", async () => {
  await using fixture = await StoreFixture.withGallery();
  await fixture.putPacked(slotsOf("a", "b", "c"), "one");
  await fixture.put("loose", "s-1");
  const first = await fixture.store.deleteTemplates("g", { templateIds: ["a", "unknown"] });
  assert.deepEqual(first, {
    count: 1,
    revision: 5,
    struck: [{ templateId: "a", block: 0 }],
    erasedBlocks: [],
    unknownSubjectIds: [],
    unknownTemplateIds: ["unknown"],
    more: false,
  });
  const second = await fixture.store.deleteTemplates("g", { templateIds: ["c", "a"], subjectIds: ["s-1"] });
  assert.deepEqual([second.count, second.unknownTemplateIds], [3, ["a"]]);
  assert.deepEqual(await deletedSince(fixture, 5), ["c", "loose", "b"]);
  assert.deepEqual([second.struck, second.erasedBlocks], [[], [0]], "their bits are erased, not struck");
  assert.deepEqual((await fixture.store.listBlocks("g")).blocks, []);
  assert.deepEqual(fixture.store.getGallery("g").strides, []);
  assert.deepEqual(await readAll(fixture), new Map());
});

test("a block that is sent again, because its acknowledgement was lost, is there once", async () => {
  await using fixture = await StoreFixture.withGallery();
  const first = await fixture.putPacked(slotsOf("a", "b", "c"), "one");
  const again = await fixture.putPacked(slotsOf("a", "b", "c"), "one");
  assert.notEqual(again.block, first.block);
  assert.equal(again.firstRevision, 4);
  const { templateCount, revision } = fixture.store.getGallery("g");
  assert.deepEqual([templateCount, revision], [3, 6]);
  assert.deepEqual((await fixture.store.listBlocks("g")).blocks, [{ block: again.block, stride: PACKED_STRIDE }]);
  assert.deepEqual(
    (await fixture.store.listEntries("g", 0, 9)).entries.map((entry) => entry.revision),
    [4, 5, 6],
  );
});

test("a block that is not sound in itself is refused, and nothing of it is stored", async () => {
  await using fixture = await StoreFixture.withGallery();
  const { gallery } = fixture.store.readerLocation("g");
  const refused = async (slots: { templateId: string; subjectId: string }[], chunks: Uint8Array[]): Promise<void> => {
    await assert.rejects(
      fixture.store.putPackedBlock("g", { gallery, stride: PACKED_STRIDE, slots, chunks }),
      hasReason("BLOCK_INVALID"),
    );
  };
  const sound = chunksOf("x");
  await refused(slotsOf("a", "b", "a"), sound);
  await refused([], sound);
  await refused(slotsOf(...Array.from({ length: 4097 }, (_, i) => `t-${i}`)), sound);
  await refused(slotsOf("a"), []);
  await refused(slotsOf("a"), [...sound, new Uint8Array(SMALL_BYTES - 1)]);
  await refused(slotsOf("a"), [...sound, new Uint8Array(LARGEST_CHUNK_BYTES + 1)]);
  assert.equal(fixture.store.getGallery("g").revision, 0);
  assert.deepEqual(await readAll(fixture), new Map());
});

test("a block begun in a gallery that was deleted and made again is refused", async () => {
  await using fixture = await StoreFixture.withGallery();
  const { gallery } = fixture.store.readerLocation("g");
  await fixture.store.deleteGallery("g");
  await fixture.store.createGallery({ galleryId: "g", contextId: CONTEXT, ...PLAIN });
  const block = { gallery, stride: PACKED_STRIDE, slots: slotsOf("a"), chunks: chunksOf("x") };
  await assert.rejects(fixture.store.putPackedBlock("g", block), hasReason("GALLERY_NOT_FOUND"));
  assert.equal(fixture.store.getGallery("g").templateCount, 0);
});

test("loose templates of a stride that only packed blocks had begin a block of their own, also after a restart", async () => {
  await using fixture = await StoreFixture.withGallery();
  await fixture.putPacked(slotsOf("a", "b"), "one", "g", STRIDE);
  await fixture.reopen();
  assert.deepEqual((await fixture.put("loose", "s")).live?.placement, { block: 1, slot: 0, stride: STRIDE });
  await fixture.putPacked(slotsOf("c"), "two", "g", STRIDE);
  assert.deepEqual((await fixture.put("loose-2", "s")).live?.placement, { block: 1, slot: 1, stride: STRIDE });
});

// Pairs of words with the same FNV-1a hash of 32 bits, from the lists of its authors.
test("ids whose hashes are the same are told apart", async () => {
  await using fixture = await StoreFixture.withGallery();
  await fixture.putPacked(
    [
      { templateId: "costarring", subjectId: "declinate" },
      { templateId: "other", subjectId: "macallums" },
    ],
    "one",
  );
  await fixture.putPacked(
    [
      { templateId: "liquid", subjectId: "altarage" },
      { templateId: "last", subjectId: "zinke" },
    ],
    "two",
  );
  assert.deepEqual(
    (await fixture.store.entriesOfSubject("g", "macallums")).map(({ templateId }) => templateId),
    ["other"],
  );
  assert.deepEqual(
    (await fixture.store.entriesOfSubject("g", "zinke")).map(({ templateId }) => templateId),
    ["last"],
  );
  await fixture.store.deleteTemplates("g", { templateIds: ["liquid"], subjectIds: ["declinate"] });
  assert.deepEqual(await deletedSince(fixture, 4), ["liquid", "costarring"]);
  assert.equal(fixture.store.getGallery("g").templateCount, 2);
});

test("ids of 64 characters and blocks of 4096 templates are found, listed and deleted", async () => {
  await using fixture = await StoreFixture.withGallery();
  const slots = Array.from({ length: 4096 }, (_, i) => ({
    templateId: `t-${i}`.padEnd(64, "x"),
    subjectId: `s-${i % 1000}`.padEnd(64, "y"),
  }));
  await fixture.putPacked(slots, "one", "g", 1);
  const page = await fixture.store.listEntries("g", 4000, 10);
  assert.deepEqual(
    page.entries.map(({ templateId }) => templateId),
    slots.slice(4000, 4010).map(({ templateId }) => templateId),
  );
  assert.deepEqual(
    (await fixture.store.entriesOfSubject("g", slots[7]!.subjectId)).map(({ live }) => live.placement.slot),
    [7, 1007, 2007, 3007, 4007],
  );
  const most = slots.slice(1).map(({ templateId }) => templateId);
  assert.deepEqual(
    (await fixture.store.deleteTemplates("g", { templateIds: most })).struck,
    most.map((templateId) => ({ templateId, block: 0 })),
  );
  assert.deepEqual((await fixture.store.listEntries("g", 0, 1)).entries[0]?.templateId, slots[0]!.templateId);
  assert.equal(fixture.store.getGallery("g").templateCount, 1);
});

test("templates are found whether or not the indexes of all blocks fit into memory", async () => {
  await using fixture = await StoreFixture.withGallery();
  const ids = Array.from({ length: 12 }, (_, i) => `t-${i}`);
  for (const id of ids)
    await fixture.putPacked(
      [
        { templateId: id, subjectId: `of-${id}` },
        { templateId: `other-${id}`, subjectId: "s" },
      ],
      id,
    );
  const root = openReadOnly(fixture.path);
  const { gallery } = fixture.store.readerLocation("g");
  // An index of two templates takes 24 bytes: none, three, all of them.
  for (const cacheBytes of [0, 80, 1e6]) {
    const lookup = new PackedLookup(openTables(root), cacheBytes);
    const sought = new SoughtIds(["s"], "subjects");
    for (let round = 0; round < 3; round++) {
      assert.deepEqual(
        ids.flatMap((_, block) => lookup.findIn(gallery, block, sought)).map(({ templateId }) => templateId),
        ids.map((id) => `other-${id}`),
      );
      for (const [block, id] of ids.entries())
        assert.deepEqual(
          lookup.templates(gallery, [id, "unknown"]),
          new Map([[id, { block, slot: 0, templateId: id, subjectId: `of-${id}` }]]),
        );
    }
  }
  await root.close();
});

test("matches of two indexes are all pairs of slots with the same hash", () => {
  // Few and many wanted, hashes that repeat and hashes that only look alike to a filter by their low bits.
  const hash = fc.tuple(fc.nat(20), fc.constantFrom(0, 2 ** 18, 2 ** 31)).map(([low, high]) => low + high);
  fc.assert(
    fc.property(fc.array(hash, { maxLength: 40 }), fc.array(hash, { maxLength: 100 }), (wanted, there) => {
      const indexOf = (list: number[]) => {
        const order = list.map((hash, slot) => ({ hash, slot })).sort((a, b) => a.hash - b.hash);
        return {
          hashes: Uint32Array.from(order, ({ hash }) => hash),
          slots: Uint16Array.from(order, ({ slot }) => slot),
        };
      };
      const found: string[] = [];
      new WantedIds(indexOf(wanted)).eachMatch(indexOf(there), (a, b) => found.push(`${a}-${b}`));
      const expected = wanted.flatMap((hash, a) => there.flatMap((other, b) => (hash === other ? [`${a}-${b}`] : [])));
      assert.deepEqual(found.sort(), expected.sort());
    }),
  );
});

test("an index is sorted by hash and names every slot once", () => {
  fc.assert(
    fc.property(fc.array(fc.string({ minLength: 1, maxLength: 64 }), { maxLength: 300 }), (ids) => {
      const { hashes, slots } = indexIds(ids);
      assert.deepEqual(hashes, hashes.slice().sort());
      assert.deepEqual(
        [...slots].sort((a, b) => a - b),
        ids.map((_, i) => i),
      );
      ids.forEach((id, slot) => {
        assert.equal(hashes[slots.indexOf(slot)], indexIds([id]).hashes[0]);
      });
    }),
    { numRuns: 50 },
  );
});

test("chunks are the tiles in order, whole tiles of one prime each, and of about 512 KiB where there is so much", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 600 }), fc.integer({ min: 1, max: 2 }), (pieces, primes) => {
      const tileBytes = 32 * pieces;
      const tiles = new Uint8Array(primes * 1024 * tileBytes);
      const chunks = cutChunks(tiles, primes);
      let at = 0;
      for (const chunk of chunks) {
        assert.deepEqual([chunk.buffer, chunk.byteOffset, chunk.length % tileBytes], [tiles.buffer, at, 0]);
        assert.equal(
          Math.floor(at / (1024 * tileBytes)),
          Math.floor((at + chunk.length - 1) / (1024 * tileBytes)),
          "of one prime",
        );
        assert.ok(chunk.length <= LARGEST_CHUNK_BYTES && (chunk.length >= 2 ** 18 || chunks.length === primes));
        at += chunk.length;
      }
      assert.equal(at, tiles.length);
    }),
    { numRuns: 50 },
  );
});
