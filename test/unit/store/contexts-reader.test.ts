import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import type { PairwiseContext } from "../../../server/store/gallery-store.ts";
import { LmdbContextReader } from "../../../server/store/lmdb/readers/context-reader.ts";
import { openReadOnly } from "../../../server/store/lmdb/disk/environment.ts";
import { takeSnapshot } from "../../../server/store/lmdb/disk/internals.ts";
import { idKey, openTables } from "../../../server/store/lmdb/rows/schema.ts";
import type { Table } from "../../../server/store/lmdb/rows/schema.ts";
import { MIB, PAIRWISE, keysOf, sameKeys } from "./contexts-fixture.ts";
import { CONTEXT, StoreFixture, hasReason } from "./fixture.ts";

// Reads the context until it is told to stop; counts how often it was there, and how often not, and what else it met.
const WORKER = `
  import { parentPort, workerData } from "node:worker_threads";
  const { openBlockReader } = await import(workerData.module);
  const reader = openBlockReader(workerData.location.path);
  const stop = new Int32Array(workerData.stop);
  const met = { whole: 0, absent: 0, wrong: [] };
  parentPort.postMessage("started");
  while (Atomics.load(stop, 0) === 0) {
    try {
      const { keys } = reader.pairwiseContext(workerData.location.contextId);
      const same = (expected) => Buffer.compare(keys.relinKeys, expected.relinKeys) === 0 && Buffer.compare(keys.galoisKeys, expected.galoisKeys) === 0;
      if (workerData.keys.some(same)) met.whole++; else met.wrong.push("other bytes");
    } catch (error) {
      if (error.reason === "CONTEXT_NOT_FOUND") met.absent++; else met.wrong.push(String(error));
    }
  }
  await reader.close();
  parentPort.postMessage(met);
`;

test("a worker reads whole keys or finds no context while it is deleted, erased and created again", {
  timeout: 30_000,
}, async () => {
  await using fixture = new StoreFixture();
  const { store } = fixture;
  // The short ones are stored while the long ones are still being read and erased.
  const keys = [keysOf("long", 2 * MIB, 4 * MIB), keysOf("short", 10_000)] as const;
  await store.createContext({ contextId: CONTEXT, scheme: PAIRWISE }, keys[0]);
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const module = new URL("../../../server/store/lmdb/readers/block-reader.ts", import.meta.url).href;
  const workerData = { module, location: store.contextLocation(CONTEXT), keys, stop: stop.buffer };
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(WORKER)}`), {
    workerData,
    execArgv: ["--conditions=source"],
  });
  await message(worker);
  const answer = message(worker);
  for (let round = 0; round < 15; round++) {
    await new Promise((resolve) => setTimeout(resolve, 20 + 3 * round));
    await Promise.all([
      store.deleteContext(CONTEXT, false),
      store.createContext({ contextId: CONTEXT, scheme: PAIRWISE }, keys[1]),
    ]);
    await store.deleteContext(CONTEXT, false);
    await new Promise((resolve) => setTimeout(resolve, 3 * (round % 4)));
    await store.createContext({ contextId: CONTEXT, scheme: PAIRWISE }, keys[0]);
  }
  Atomics.store(stop, 0, 1);
  const met = (await answer) as { whole: number; absent: number; wrong: string[] };
  assert.deepEqual(met.wrong, []);
  assert.ok(met.whole > 5 && met.absent > 5, `it was there ${met.whole} times and absent ${met.absent} times`);
});

/** Reads as a reader does that looked up where the keys are, and then was held up until now. */
async function readLate({ path }: StoreFixture, whereTheyWere: Buffer): Promise<PairwiseContext> {
  const root = openReadOnly(path);
  const tables = openTables(root);
  const found = [whereTheyWere];
  const contextKeys: Pick<Table, "get"> = { get: (...about) => found.pop() ?? tables.contextKeys.get(...about) };
  try {
    return new LmdbContextReader(root, { ...tables, contextKeys }, takeSnapshot(root)).pairwiseContext(CONTEXT);
  } finally {
    await root.close();
  }
}

async function whereKeysAre({ path }: StoreFixture): Promise<Buffer> {
  const root = openReadOnly(path);
  const row = openTables(root).contextKeys.get(idKey(CONTEXT));
  await root.close();
  return row!;
}

test("keys that are erased while they are read are no damage: they are read where they are now, or the context is gone", async () => {
  await using fixture = new StoreFixture();
  const create = (seed: string) =>
    fixture.store.createContext({ contextId: CONTEXT, scheme: PAIRWISE }, keysOf(seed, 100_000));
  await create("before");
  const before = await whereKeysAre(fixture);
  assert.ok(sameKeys((await readLate(fixture, before)).keys, keysOf("before", 100_000)));
  await fixture.store.deleteContext(CONTEXT, false);
  await create("after");
  assert.ok(sameKeys((await readLate(fixture, before)).keys, keysOf("after", 100_000)));
  await fixture.store.deleteContext(CONTEXT, false);
  await assert.rejects(readLate(fixture, before), hasReason("CONTEXT_NOT_FOUND"));
});

function message(worker: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
}
