import assert from "node:assert/strict";
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { ServerError } from "../../../server/errors.ts";
import { openBlockReader } from "../../../server/store/lmdb/readers/block-reader.ts";
import { FULL_BYTES, SLOTS, StoreFixture, residuesOf } from "./fixture.ts";

/** Overwrites one bit of a ciphertext where it lies in the data file. */
function damage(fixture: StoreFixture, residues: Uint8Array): void {
  const offset = fixture.dataFile().indexOf(residues.subarray(0, 64)) + residues.length / 2;
  const file = openSync(join(fixture.path, "data.mdb"), "r+");
  writeSync(file, Uint8Array.of(residues[residues.length / 2]! ^ 1), 0, 1, offset);
  closeSync(file);
}

test("one flipped bit in the data file leaves the other templates readable, and whoever reads the whole gallery is told which it is", async () => {
  await using fixture = await StoreFixture.withGallery();
  for (let i = 0; i < 5; i++) await fixture.put(`t-${i}`, "s");
  const { gallery } = fixture.store.readerLocation("g");
  const reader = openBlockReader(fixture.path);
  damage(fixture, residuesOf("t-2"));
  const read = Array.from(reader.looseTemplates(gallery, 0), ({ slot, residues }) => [slot, residues !== undefined]);
  assert.deepEqual(read, [
    [0, true],
    [1, true],
    [2, false],
    [3, true],
    [4, true],
  ]);
  const reading = Array.fromAsync(fixture.store.readBlocks("g"), () => undefined);
  await assert.rejects(
    reading,
    (error) => error instanceof ServerError && error.reason === "STORED_CORRUPT" && /"t-2"/.test(error.message),
  );
  await reader.close();
});

// Reads block 0 until it is told to stop; counts what it saw, or says what went wrong.
const WORKER = `
  import { parentPort, workerData } from "node:worker_threads";
  const { openBlockReader } = await import(workerData.module);
  const reader = openBlockReader(workerData.path);
  const stop = new Int32Array(workerData.stop);
  let read = 0;
  const foreign = [];
  parentPort.postMessage("started");
  try {
    while (Atomics.load(stop, 0) === 0) {
      for (const { slot, residues } of reader.looseTemplates(workerData.gallery, 0)) {
        read++;
        // Every version of a slot is one byte value, which is never 0, repeated.
        if (residues[0] === 0 || residues.some((byte) => byte !== residues[0])) foreign.push(slot);
      }
    }
    await reader.close();
    parentPort.postMessage({ read, foreign });
  } catch (error) {
    parentPort.postMessage({ error: String(error) });
  }
`;

test("worker threads read only whole live ciphertexts while templates are replaced, deleted and erased", {
  timeout: 20_000,
}, async () => {
  await using fixture = await StoreFixture.withGallery();
  const ids = Array.from({ length: SLOTS }, (_, i) => `t-${i}`);
  const put = (id: string, version: number) =>
    fixture.put(id, "s", new Uint8Array(FULL_BYTES).fill(1 + (version % 255)));
  await Promise.all(ids.map((id) => put(id, 0)));
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const module = new URL("../../../server/store/lmdb/readers/block-reader.ts", import.meta.url).href;
  const workerData = {
    module,
    path: fixture.path,
    gallery: fixture.store.readerLocation("g").gallery,
    stop: stop.buffer,
  };
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(WORKER)}`), {
    workerData,
    execArgv: ["--conditions=source"],
  });
  await message(worker);
  const answer = message(worker);
  for (let version = 1; version <= 12; version++) await Promise.all(ids.map((id) => put(id, version)));
  await fixture.store.deleteTemplates("g", { templateIds: ids.slice(0, 20) });
  await fixture.store.deleteGallery("g");
  Atomics.store(stop, 0, 1);
  const result = (await answer) as { read: number; foreign: number[]; error?: string };
  assert.equal(result.error, undefined);
  assert.deepEqual(result.foreign, []);
  assert.ok(result.read > SLOTS, "the worker read while templates changed");
});

function message(worker: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
}
