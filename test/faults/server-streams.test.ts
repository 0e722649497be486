import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Patience, failingOn, forEachItem, mapOrdered, patiently } from "../../server/streams.ts";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

test("a long enrollment stream keeps no item alive once it is done with it, and leaves no listener behind", async () => {
  const stopping = new AbortController();
  const seen: WeakRef<object>[] = [];
  let mostAlive = 0;
  async function* items(): AsyncGenerator<object> {
    for (let i = 0; i < 400; i++) {
      const item = { bytes: new Uint8Array(1000) };
      seen.push(new WeakRef(item));
      if (i % 100 === 99) {
        await turn();
        collectGarbage();
        mostAlive = Math.max(mostAlive, seen.filter((ref) => ref.deref() !== undefined).length);
      }
      yield item;
    }
  }
  const stream = mapOrdered(
    failingOn(items(), stopping.signal, () => new Error("stopping")),
    { limit: 32 },
    async () => turn(),
  );
  let results = 0;
  for await (const result of stream) results += result === undefined ? 1 : 0;
  assert.equal(results, 400);
  assert.ok(mostAlive <= 150, `${mostAlive} of 400 items were alive at once`);
  assert.equal(getEventListeners(stopping.signal, "abort").length, 0);
});

test("a stream keeps no item alive while its source is silent", async () => {
  const stopping = new AbortController();
  const patience = new Patience({ graceMs: 60_000, bytesPerSecond: 4096 });
  const seen: WeakRef<object>[] = [];
  async function* items(): AsyncGenerator<object> {
    for (let i = 0; i < 3; i++) {
      const make = (): object => {
        const item = { bytes: new Uint8Array(1000) };
        seen.push(new WeakRef(item));
        return item;
      };
      yield make();
    }
    await new Promise(() => undefined);
  }
  const stream = failingOn(
    patiently(items(), patience, () => new Error("slow")),
    stopping.signal,
    () => new Error("stopping"),
  );
  const reading = assert.rejects(
    forEachItem(stream, () => undefined),
    /stopping/,
  );
  for (let i = 0; i < 5; i++) await turn();
  collectGarbage();
  assert.deepEqual(
    seen.map((ref) => ref.deref()),
    [undefined, undefined, undefined],
  );
  stopping.abort();
  await reading;
});
