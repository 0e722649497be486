import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { ServerError } from "../../../server/errors.ts";
import type { ServerErrorReason } from "../../../server/errors.ts";
import { StreamHoldings, WaitingBytes } from "../../../server/requests/waiting-bytes.ts";

const refusedAs =
  (reason: ServerErrorReason) =>
  (error: unknown): boolean =>
    error instanceof ServerError && error.reason === reason && error.retryAfterMs! > 0;
const full = refusedAs("OVERLOADED");
const slowest = refusedAs("TOO_SLOW");
const KIB = 1024;

/** A bound of so many bytes, under a clock that the test moves. */
function bound(bytes: number, holders?: number) {
  const clock = { ms: 0 };
  const waiting = new WaitingBytes({
    what: "things",
    bytes,
    roomPatienceMs: 50,
    now: () => clock.ms,
    ...(holders === undefined ? {} : { holders }),
  });
  return { clock, waiting };
}

const steps = fc.array(
  fc.record({
    call: fc.integer({ min: 0, max: 5 }),
    bytes: fc.integer({ min: 0, max: 60 }),
    then: fc.constantFrom("take", "settle", "end"),
    ms: fc.integer({ min: 0, max: 4000 }),
  }),
  { maxLength: 60 },
);

test("a call that is over takes nothing any more, which nobody would give back", async () => {
  const { waiting } = bound(100);
  const holding = waiting.open();
  holding[Symbol.dispose]();
  assert.throws(() => {
    holding.take(10);
  }, full);
  await assert.rejects(holding.takeOrWait(10), full);
  assert.equal(waiting.held, 0);
});

test("whatever calls do, no more waits than the bound unless it is one call's, and nothing is counted once they are over", () => {
  fc.assert(
    fc.property(steps, (all) => {
      const { clock, waiting } = bound(100);
      const calls = new Map<number, ReturnType<WaitingBytes["open"]>>();
      for (const { call, bytes, then, ms } of all) {
        clock.ms += ms;
        if (calls.get(call)?.signal.aborted !== false) calls.set(call, waiting.open());
        const holding = calls.get(call)!;
        if (then === "settle") holding.settle();
        try {
          if (then === "take") holding.take(bytes);
        } catch (error) {
          assert.ok(full(error) || slowest(error));
        }
        if (then === "end") {
          holding[Symbol.dispose]();
          calls.delete(call);
        }
        const counted = [...calls.values()].filter(({ signal }) => !signal.aborted).map((each) => each.bytes);
        assert.equal(
          waiting.held,
          counted.reduce((sum, each) => sum + each, 0),
        );
        assert.ok(waiting.held <= 100 || counted.filter((each) => each > 0).length === 1, `${waiting.held}`);
      }
      for (const holding of calls.values()) holding[Symbol.dispose]();
      assert.equal(waiting.held, 0);
    }),
  );
});

test("where it is full, the slowest call that is no newcomer makes room, and a fast one does not", () => {
  const { clock, waiting } = bound(2000 * KIB);
  const [slow, slower, fast] = [waiting.open(), waiting.open(), waiting.open()];
  for (let second = 0; second < 10; second++) {
    clock.ms += 1000;
    for (const [holding, kib] of [
      [slow, 40],
      [slower, 20],
      [fast, 100],
    ] as const)
      holding.take(kib * KIB);
  }
  waiting.open().take(500 * KIB);
  assert.deepEqual(
    [slow, slower, fast].map(({ signal }) => signal.aborted),
    [false, true, false],
  );
  assert.ok(slowest(slower.signal.reason));
  assert.throws(() => {
    slower.take(1);
  }, slowest);
});

test("a newcomer is refused while all the others are newcomers too, and let in once they are slow", () => {
  const { clock, waiting } = bound(1000, 4);
  const silent = Array.from({ length: 4 }, () => waiting.open());
  assert.throws(() => waiting.open(), full);
  clock.ms += 5000;
  waiting.open().take(10);
  assert.equal(silent.filter(({ signal }) => signal.aborted).length, 1);
});

test("a call waits for what is complete to be over, in the order of asking, and is refused where nothing is complete", async () => {
  const { waiting } = bound(100);
  const done = waiting.open();
  done.take(90);
  const [first, second] = [waiting.open(), waiting.open()];
  await assert.rejects(first.takeOrWait(20), full);
  done.settle();
  const order: string[] = [];
  const waits = [
    first.takeOrWait(60).then(() => order.push("first")),
    second.takeOrWait(5).then(() => order.push("second")),
  ];
  await turn();
  assert.deepEqual(order, []);
  done[Symbol.dispose]();
  await Promise.all(waits);
  assert.deepEqual([order, waiting.held], [["first", "second"], 65]);
});

test("of calls that wait for one another's bytes one is refused, so that the other goes on", async () => {
  const { waiting } = bound(100);
  const [complete, one, other] = [waiting.open(), waiting.open(), waiting.open()];
  complete.take(10);
  complete.settle();
  one.take(45);
  other.take(45);
  const waits = [assert.rejects(one.takeOrWait(30), full), other.takeOrWait(30)];
  complete[Symbol.dispose]();
  await Promise.all(waits);
  assert.equal(waiting.held, 75);
});

test("a call does not wait for room for ever", async () => {
  const { waiting } = bound(100);
  const stuck = waiting.open();
  stuck.take(100);
  stuck.settle();
  await assert.rejects(waiting.open().takeOrWait(1), full);
  assert.equal(waiting.held, 100);
});

test("what a stream holds is over with it, also what it opened and nobody took on", () => {
  const { waiting } = bound(100);
  const holdings = new StreamHoldings(waiting);
  const [one, other] = [holdings.open(), holdings.open()];
  one.take(30);
  other.take(40);
  holdings.close(one);
  assert.equal(waiting.held, 40);
  holdings[Symbol.dispose]();
  assert.equal(waiting.held, 0);
  assert.throws(() => holdings.open(), ServerError);
});
