import assert from "node:assert/strict";
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { openBlockReader } from "../../../server/store/lmdb/readers/block-reader.ts";
import { FULL_BYTES, PACKED_STRIDE, StoreFixture, chunksOf, hasReason, residuesOf } from "./fixture.ts";

// Its types come with the DOM's.
const { WebAssembly } = globalThis as unknown as {
  WebAssembly: { Memory: new (size: { initial: number }) => { buffer: ArrayBuffer } };
};

const slots = [
  { templateId: "a", subjectId: "s" },
  { templateId: "b", subjectId: "s" },
];
const packFull = (fixture: StoreFixture, seed: string) =>
  fixture.putPacked(slots, seed, "g", PACKED_STRIDE, FULL_BYTES);

/** Flips one bit of a chunk where it lies in the data file. */
function damage(fixture: StoreFixture, chunk: Uint8Array): Uint8Array {
  const damaged = chunk.slice();
  damaged[FULL_BYTES / 2]! ^= 1;
  const offset = fixture.dataFile().indexOf(chunk.subarray(0, 64)) + FULL_BYTES / 2;
  const file = openSync(join(fixture.path, "data.mdb"), "r+");
  writeSync(file, damaged, FULL_BYTES / 2, 1, offset);
  closeSync(file);
  return damaged;
}

test("a flipped bit in a chunk is found when a reader first reads it, and again when it is told to look again", async () => {
  await using fixture = await StoreFixture.withGallery();
  await packFull(fixture, "x");
  const { gallery } = fixture.store.readerLocation("g");
  const [first, second] = [openBlockReader(fixture.path), openBlockReader(fixture.path)];
  const read = (reader: typeof first): Uint8Array[] =>
    Array.from(reader.packedChunks(gallery, 0), (chunk) => Uint8Array.from(chunk));
  assert.deepEqual(read(first), chunksOf("x", FULL_BYTES));
  const damaged = damage(fixture, chunksOf("x", FULL_BYTES)[1]!);
  assert.throws(() => read(second), hasReason("STORED_CORRUPT"));
  // No SHA-256 is computed a second time: a scan has to keep up with memory.
  assert.deepEqual(read(first)[1], damaged);
  first.verifyAgain();
  assert.throws(() => read(first), hasReason("STORED_CORRUPT"));
  await first.close();
  await second.close();
});

test("chunks are read into the memory that the caller gives, and into no other", async () => {
  await using fixture = await StoreFixture.withGallery();
  await fixture.put("loose", "s", residuesOf("loose", FULL_BYTES));
  await packFull(fixture, "x");
  const { gallery } = fixture.store.readerLocation("g");
  const reader = openBlockReader(fixture.path);
  const { buffer } = new WebAssembly.Memory({ initial: 3 });
  const into = new Uint8Array(buffer, 4096, FULL_BYTES + 10);
  const chunks = chunksOf("x", FULL_BYTES);
  let i = 0;
  for (const chunk of reader.packedChunks(gallery, 1, into)) {
    assert.deepEqual([chunk.buffer, chunk.byteOffset], [buffer, 4096]);
    assert.deepEqual(chunk, chunks[i++]);
    // Other reads of the same thread go elsewhere.
    for (const { residues } of reader.looseTemplates(gallery, 0))
      assert.deepEqual(Uint8Array.from(residues!), residuesOf("loose", FULL_BYTES));
    assert.deepEqual(chunk, chunks[i - 1]);
  }
  assert.equal(i, 3);
  const around = new Uint8Array(buffer);
  assert.ok(
    around.subarray(0, 4096).every((byte) => byte === 0) &&
      around.subarray(4096 + FULL_BYTES).every((byte) => byte === 0),
  );
  assert.throws(() => Array.from(reader.packedChunks(gallery, 1, new Uint8Array(FULL_BYTES - 1))), RangeError);
  await reader.close();
});

test("a reader knows the kinds of blocks, and tells a block without live templates from a gallery that is gone", async () => {
  await using fixture = await StoreFixture.withGallery();
  await fixture.put("loose", "s");
  await packFull(fixture, "x");
  const { gallery } = fixture.store.readerLocation("g");
  const reader = openBlockReader(fixture.path);
  assert.deepEqual(
    [0, 1, 2].map((block) => reader.blockKind(gallery, block)),
    ["loose", "packed", undefined],
  );
  await fixture.store.deleteTemplates("g", { templateIds: ["a", "b"] });
  assert.equal(reader.blockKind(gallery, 1), undefined);
  assert.throws(() => Array.from(reader.packedChunks(gallery, 0)), hasReason("GALLERY_CHANGED"));
  assert.throws(() => Array.from(reader.packedChunks(gallery, 1)), hasReason("GALLERY_CHANGED"));
  await fixture.store.deleteGallery("g");
  assert.throws(() => reader.blockKind(gallery, 0), hasReason("GALLERY_CHANGED"));
  await reader.close();
});

test("a block that goes while it is read ends the iteration with an error, and readBlocks likewise", async () => {
  await using fixture = await StoreFixture.withGallery();
  await packFull(fixture, "x");
  await fixture.put("loose", "s");
  const { gallery } = fixture.store.readerLocation("g");
  const reader = openBlockReader(fixture.path);
  const chunks = reader.packedChunks(gallery, 0)[Symbol.iterator]();
  assert.equal(chunks.next().done, false);
  const stored = fixture.store.readBlocks("g")[Symbol.asyncIterator]();
  assert.equal((await stored.next()).done, false);
  await packFull(fixture, "y");
  assert.throws(() => chunks.next(), hasReason("GALLERY_CHANGED"));
  // The block that replaced it comes later in the order of revisions.
  const rest = (await Array.fromAsync({ [Symbol.asyncIterator]: () => stored })).map((one) =>
    one.kind === "loose" ? one.entry.templateId : one.block,
  );
  assert.deepEqual(rest, ["loose", 2]);
  const late = fixture.store.readBlocks("g")[Symbol.asyncIterator]();
  assert.equal((await late.next()).done, false);
  await fixture.store.deleteGallery("g");
  await assert.rejects(late.next(), hasReason("GALLERY_CHANGED"));
  await reader.close();
});

// Reads the newest blocks until it is told to stop; counts chunks and blocks that went, or says what went wrong. The
// state: whether to stop, the newest block, the counts.
const WORKER = `
  import { parentPort, workerData } from "node:worker_threads";
  const { openBlockReader } = await import(workerData.module);
  const reader = openBlockReader(workerData.path);
  const state = new Int32Array(workerData.state);
  const into = new Uint8Array(new WebAssembly.Memory({ initial: 16 }).buffer);
  const foreign = [];
  parentPort.postMessage("started");
  try {
    while (Atomics.load(state, 0) === 0) {
      const newest = Atomics.load(state, 1);
      for (let block = Math.max(0, newest - 3); block <= newest; block++) {
        try {
          for (const chunk of reader.packedChunks(workerData.gallery, block, into)) {
            Atomics.add(state, 2, 1);
            if (chunk.some((byte) => byte !== 1 + block % 255)) foreign.push(block);
          }
        } catch (error) {
          if (error.reason !== "GALLERY_CHANGED") throw error;
          Atomics.add(state, 3, 1);
        }
      }
    }
    await reader.close();
    parentPort.postMessage({ foreign });
  } catch (error) {
    parentPort.postMessage({ error: String(error.stack) });
  }
`;

test("worker threads read only whole live chunks while blocks are replaced and erased", {
  timeout: 20_000,
}, async () => {
  await using fixture = await StoreFixture.withGallery();
  const { gallery } = fixture.store.readerLocation("g");
  // Block b holds the byte 1 + b % 255 throughout, so every replacement is told from what it replaced and from zeros.
  const put = (block: number) =>
    fixture.store.putPackedBlock("g", {
      gallery,
      stride: PACKED_STRIDE,
      slots: [{ templateId: `t-${block % 2}`, subjectId: "s" }],
      chunks: [1, 2, 3, 4].map(() => new Uint8Array(8 * FULL_BYTES).fill(1 + (block % 255))),
    });
  await put(0);
  const state = new Int32Array(new SharedArrayBuffer(16));
  const module = new URL("../../../server/store/lmdb/readers/block-reader.ts", import.meta.url).href;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(WORKER)}`), {
    workerData: { module, path: fixture.path, gallery, state: state.buffer },
    execArgv: ["--conditions=source"],
  });
  await message(worker);
  const answer = message(worker);
  for (let block = 1; block < 40 || Atomics.load(state, 2) < 50 || Atomics.load(state, 3) < 10; block++) {
    assert.equal((await put(block)).entry.block, block);
    Atomics.store(state, 1, block);
  }
  Atomics.store(state, 0, 1);
  const result = (await answer) as { foreign: number[]; error?: string };
  assert.equal(result.error, undefined);
  assert.deepEqual(result.foreign, []);
});

function message(worker: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
}
