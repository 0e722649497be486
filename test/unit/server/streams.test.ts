import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { Patience, failingOn, forEachItem, mapOrdered, mapUnordered, patiently } from "../../../server/streams.ts";

async function collect<T>(stream: AsyncIterable<T>): Promise<{ results: T[]; error: unknown }> {
  const results: T[] = [];
  try {
    for await (const result of stream) results.push(result);
    return { results, error: undefined };
  } catch (error) {
    return { results, error };
  }
}

async function* from<T>(items: readonly T[], failure?: Error): AsyncGenerator<T> {
  for (const item of items) {
    await Promise.resolve();
    yield item;
  }
  if (failure !== undefined) throw failure;
}

/** Counts how many of its calls are under way. */
function gauge() {
  let now = 0;
  const state = { most: 0 };
  const during = async <T>(work: () => Promise<T>): Promise<T> => {
    state.most = Math.max(state.most, ++now);
    try {
      return await work();
    } finally {
      now--;
    }
  };
  return { state, during };
}

const delays = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 20 });

void test("results keep the order of the stream and never more than the limit are under way", async () => {
  await fc.assert(
    fc.asyncProperty(delays, fc.integer({ min: 1, max: 5 }), async (ms, limit) => {
      const { state, during } = gauge();
      const { results } = await collect(
        mapOrdered(from([...ms.entries()]), { limit }, ([index, delay]) => during(async () => sleep(delay, index))),
      );
      assert.deepEqual(results, [...ms.keys()]);
      assert.ok(state.most <= limit);
    }),
    { numRuns: 30 },
  );
});

void test("unordered results are all there, each once, and never more than the limit are under way", async () => {
  await fc.assert(
    fc.asyncProperty(delays, fc.integer({ min: 1, max: 5 }), async (ms, limit) => {
      const { state, during } = gauge();
      const { results } = await collect(
        mapUnordered(ms.entries(), limit, ([index, delay]) => during(async () => sleep(delay, index))),
      );
      assert.deepEqual(
        results.sort((a, b) => a - b),
        [...ms.keys()],
      );
      assert.ok(state.most <= limit);
    }),
    { numRuns: 30 },
  );
});

void test("a result goes out while the source is silent", async () => {
  const stream = mapOrdered(
    (async function* () {
      yield 1;
      await new Promise(() => undefined);
    })(),
    { limit: 4 },
    (item) => Promise.resolve(item),
  );
  assert.deepEqual(await stream.next(), { done: false, value: 1 });
});

void test("what came before a failing item, or a failing source, is still yielded", async () => {
  const failure = new Error("no");
  const third = await collect(
    mapOrdered(from([1, 2, 3, 4]), { limit: 4 }, async (item) => {
      await sleep(5 - item);
      if (item === 3) throw failure;
      return item;
    }),
  );
  assert.deepEqual(third, { results: [1, 2], error: failure });
  const broken = await collect(mapOrdered(from([1, 2], failure), { limit: 4 }, async (item) => sleep(5, item)));
  assert.deepEqual(broken, { results: [1, 2], error: failure });
});

void test("a failure ends the stream even while the source is silent", async () => {
  const failure = new Error("no");
  const stream = mapOrdered(
    (async function* () {
      yield 1;
      await new Promise(() => undefined);
    })(),
    { limit: 4 },
    () => Promise.reject(failure),
  );
  assert.deepEqual(await collect(stream), { results: [], error: failure });
});

void test("a silent stream fails when its signal aborts, and passes everything on until then", async () => {
  const stop = new AbortController();
  const stream = failingOn(
    (async function* () {
      yield 1;
      yield 2;
      await new Promise(() => undefined);
    })(),
    stop.signal,
    () => new Error("stopped"),
  );
  assert.deepEqual([(await stream.next()).value, (await stream.next()).value], [1, 2]);
  const next = stream.next();
  stop.abort();
  await assert.rejects(next, /stopped/);
});

const tooSlow = new Error("too slow");

/**
 * An item of so many bytes after each pause, in milliseconds of a mocked clock; then silence. How long the stream
 * lasted.
 */
async function lasted(pauses: readonly number[], bytes: number): Promise<number> {
  mock.timers.enable({ apis: ["setTimeout"] });
  let now = 0;
  const clock = mock.method(performance, "now", () => now);
  try {
    const patience = new Patience({ graceMs: 30_000, bytesPerSecond: 4096 });
    const source = (async function* () {
      for (const pause of pauses) yield new Promise<number>((resolve) => setTimeout(resolve, pause, bytes));
      await new Promise(() => undefined);
    })();
    let over = false as boolean;
    const reading = forEachItem(
      patiently(source, patience, () => tooSlow),
      (got) => {
        patience.earn(got);
      },
    );
    const ended = assert.rejects(reading, tooSlow).then(() => {
      over = true;
    });
    for (; now < 1_000_000; now += 1000) {
      await new Promise(setImmediate);
      if (over) break;
      mock.timers.tick(1000);
    }
    await ended;
    return now;
  } finally {
    mock.timers.reset();
    clock.mock.restore();
  }
}

void test("a stream that is silent, or sends a byte now and then, ends when its patience does", async () => {
  for (const pauses of [[], new Array<number>(100).fill(20_000), new Array<number>(1000).fill(1000)]) {
    const ms = await lasted(pauses, 1);
    assert.ok(ms >= 29_000 && ms <= 33_000, `${ms} ms`);
  }
});

void test("a stream that keeps the least rate lasts, and one below it does not", async () => {
  assert.ok((await lasted(new Array<number>(20).fill(10_000), 41_000)) >= 200_000);
  const ms = await lasted(new Array<number>(20).fill(10_000), 20_000);
  assert.ok(ms > 30_000 && ms < 70_000, `${ms} ms`);
});

void test("a stream that its consumer is slow to read keeps its patience", async () => {
  const patience = new Patience({ graceMs: 50, bytesPerSecond: 4096 });
  let seen = 0;
  await forEachItem(
    patiently(from([1, 2, 3]), patience, () => tooSlow),
    async () => {
      seen++;
      await sleep(60);
    },
  );
  assert.equal(seen, 3);
});

void test("a stream whose patience is paused may be silent, until it is resumed in the middle of a wait", async () => {
  const patience = new Patience({ graceMs: 50, bytesPerSecond: 4096 });
  patience.pause();
  const silent = (async function* () {
    yield 1;
    await new Promise(() => undefined);
  })();
  const stream = patiently(silent, patience, () => tooSlow);
  assert.deepEqual(await stream.next(), { value: 1, done: false });
  const next = stream.next();
  assert.equal(await Promise.race([next, sleep(150, "waits")]), "waits");
  patience.resume();
  patience.resume();
  await assert.rejects(next, tooSlow);
});

void test("a stream ends with its interrupt's reason, even if the source is silent", async () => {
  const patience = new Patience({ graceMs: 60_000, bytesPerSecond: 4096 });
  const stop = new AbortController();
  patience.interrupt = stop.signal;
  const stream = patiently(
    (async function* () {
      yield 1;
      await new Promise(() => undefined);
    })(),
    patience,
    () => tooSlow,
  );
  await stream.next();
  const next = stream.next();
  stop.abort(new Error("room for others"));
  await assert.rejects(next, /room for others/);
});
