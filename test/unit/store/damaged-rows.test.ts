// Rows as a damaged disk may give them back.
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { open } from "lmdb";
import { ServerError } from "../../../server/errors.ts";
import { LmdbStore } from "../../../server/store/lmdb/lmdb-store.ts";
import { blockKind, blockStride, decodeBlock } from "../../../server/store/lmdb/rows/block-rows.ts";
import { decodeContext, encodeContext } from "../../../server/store/lmdb/rows/context-rows.ts";
import {
  decodeGallery,
  decodeState,
  encodeGallery,
  encodeState,
} from "../../../server/store/lmdb/rows/gallery-rows.ts";
import { decodeIndex } from "../../../server/store/lmdb/rows/id-index.ts";
import { BlockRoster } from "../../../server/store/lmdb/rows/packed-rows.ts";
import {
  BINARY,
  MAX_TABLES,
  NEW_GALLERY,
  blockKey,
  decodeChange,
  decodeEntry,
} from "../../../server/store/lmdb/rows/schema.ts";
import { decodeKeysRow } from "../../../server/store/lmdb/tables/context-keys.ts";
import { PACKED, SPACE, StoreFixture, hasReason } from "./fixture.ts";

const DECODERS: Readonly<Record<string, (bytes: Buffer) => unknown>> = {
  context: (bytes) => decodeContext("c", bytes),
  gallery: (bytes) => decodeGallery("g", bytes),
  state: decodeState,
  entry: decodeEntry,
  change: decodeChange,
  block: decodeBlock,
  "kind of a block": blockKind,
  "stride of a block": blockStride,
  keys: decodeKeysRow,
  index: decodeIndex,
  roster: (bytes) => new BlockRoster(bytes).count,
};

const ROWS = [
  encodeContext({ scheme: PACKED, createTime: new Date(0) }),
  encodeGallery({
    gallery: 1,
    contextId: "c",
    space: SPACE,
    createTime: new Date(0),
    packedStride: 16,
    expectedTemplates: 0,
    draftOf: { galleryId: "g", revision: 3 },
    uid: "0".repeat(32),
    labels: { site: "north" },
  }),
  encodeState({ ...NEW_GALLERY, strides: { 16: { block: 1, nextSlot: 2, liveBlocks: 3 } } }),
];

/** A row as it was written, with some bytes changed and its end cut off or not. */
const damagedRow = fc
  .tuple(fc.constantFrom(...ROWS), fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 3 }), fc.nat(400))
  .map(([row, changes, end]) => {
    const bytes = Buffer.from(row.subarray(0, end));
    for (const [at, byte] of changes) bytes[at] = byte;
    return bytes;
  });
const anyBytes = fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes));

for (const [what, decode] of Object.entries(DECODERS)) {
  test(`bytes in the place of a row (${what}) are read or refused as STORED_CORRUPT`, () => {
    fc.assert(
      fc.property(fc.oneof(anyBytes, damagedRow), (bytes) => {
        try {
          decode(bytes);
        } catch (error) {
          assert.ok(error instanceof ServerError && error.reason === "STORED_CORRUPT", String(error));
        }
      }),
      { numRuns: 2000 },
    );
  });
}

test("a change that meets a damaged row in its middle leaves nothing of itself", async () => {
  await using fixture = await StoreFixture.withGallery();
  const { placement } = (await fixture.put("t", "s")).live ?? assert.fail();
  const { gallery } = fixture.store.readerLocation("g");
  await fixture.store.close();
  const key = blockKey(gallery, placement.block);
  const root = open<Buffer, Buffer>(fixture.path, { ...BINARY, maxDbs: MAX_TABLES, noSubdir: false });
  await root.openDB<Buffer, Buffer>("blocks", BINARY).put(key, Buffer.of(9, 9));
  await root.close();
  fixture.store = LmdbStore.open({ path: fixture.path });
  const before = fixture.store.getGallery("g");
  await assert.rejects(fixture.store.deleteTemplates("g", { templateIds: ["t"] }), hasReason("STORED_CORRUPT"));
  assert.deepEqual(fixture.store.getGallery("g"), before);
  assert.equal((await fixture.store.entriesOfSubject("g", "s")).length, 1);
});
