import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { MAX_PROBES_PER_SEARCH } from "@veilface/proto";
import type { BlockAnswer } from "../../../server/compute/block-answer.ts";
import { allCancelled } from "../../../server/compute/block-task.ts";
import type { PackedMatcher } from "../../../server/compute/packed/packed-matcher.ts";
import { MAX_PROBES } from "../../../server/compute/packed/packed-task.ts";
import type { MatchBlocks, MatchedBlock } from "../../../server/compute/packed/packed-task.ts";
import { SharedScans } from "../../../server/compute/packed/shared-scans.ts";
import type { Search } from "../../../server/compute/packed/shared-scans.ts";

/**
 * Stands in for the worker threads: says which probes were multiplied with which blocks, and can be held up before each
 * block.
 */
class SlowMatcher {
  readonly scans: MatchBlocks[] = [];
  #gate = Promise.withResolvers<undefined>();
  #open = false;

  open(): void {
    this.#open = true;
    this.#gate.resolve(undefined);
  }

  /** For those blocks only that it holds up now. */
  openOnce(): void {
    this.#gate.resolve(undefined);
    this.#gate = Promise.withResolvers<undefined>();
  }

  async *scan(scan: MatchBlocks): AsyncGenerator<MatchedBlock> {
    this.scans.push(scan);
    for (const { block, stride } of scan.blocks) {
      if (!this.#open) await this.#gate.promise;
      const products = scan.probes.map((probe) => ({
        data: Uint8Array.of(probe.id, block),
        sha256: new Uint8Array(32),
      }));
      yield { block, stride, products, damagedSlots: [] };
    }
  }
}

function search(id: number, blocks: readonly number[], signal?: AbortSignal, pieces = 1): Search {
  return searchWith([id], blocks, signal, pieces);
}

/** A search with several probes, by their ids. */
function searchWith(
  ids: readonly number[],
  blocks: readonly number[],
  signal = new AbortController().signal,
  pieces = 1,
): Search {
  return {
    parameterSet: "PACKED_N4096_Q60",
    location: { path: "nowhere", gallery: 1 },
    probes: ids.map((id) => new Map([[16, { id, pieces, tiles: new SharedArrayBuffer(0) }]])),
    blocks: blocks.map((block) => ({ block, stride: 16 })),
    encoding: "PACKED_RESIDUES",
    signal,
  };
}

async function collect(answers: AsyncIterable<BlockAnswer>): Promise<string[]> {
  const found: string[] = [];
  for await (const answer of answers) {
    assert.ok("data" in answer);
    assert.equal(answer.data[1], answer.block);
    found.push(`${answer.data[0]!}:${answer.block}`);
  }
  return found;
}

/** As {@link collect}, of probes with the ids 10, 11, ... in this order, whose answers say which probe they are to. */
async function collectOfTens(answers: AsyncIterable<BlockAnswer>): Promise<string[]> {
  const found: string[] = [];
  for await (const answer of answers) {
    assert.ok("data" in answer && answer.probe !== undefined);
    assert.equal(answer.data[0], 10 + answer.probe);
    found.push(`${answer.probe}:${answer.block}`);
  }
  return found;
}

function setUp(): { matcher: SlowMatcher; scans: SharedScans } {
  const matcher = new SlowMatcher();
  return { matcher, scans: new SharedScans(matcher as unknown as PackedMatcher) };
}

void test("the probes of one search fit into one pass", () => {
  assert.equal(MAX_PROBES, MAX_PROBES_PER_SEARCH);
});

void test("searches that come while a pass is under way share the next one, and each gets its own products of its own blocks", async () => {
  const { matcher, scans } = setUp();
  const results = Promise.all(
    [search(1, [0, 1]), search(2, [0, 1, 2]), search(3, [1, 2])].map((each) => collect(scans.search(each))),
  );
  await turn();
  matcher.open();
  assert.deepEqual(await results, [
    ["1:0", "1:1"],
    ["2:0", "2:1", "2:2"],
    ["3:1", "3:2"],
  ]);
  assert.deepEqual(
    matcher.scans.map(({ probes, blocks }) => [probes.length, blocks.length]),
    [
      [1, 2],
      [2, 3],
    ],
  );
});

void test("a pass takes no more probes than its memory has room for", async () => {
  const { matcher, scans } = setUp();
  const searches = Array.from({ length: 12 }, (_, id) => search(id, [0], undefined, id < 9 ? 1 : 700));
  const results = Promise.all(searches.map((each) => collect(scans.search(each))));
  await turn();
  matcher.open();
  assert.deepEqual(
    (await results).flat(),
    Array.from({ length: 12 }, (_, id) => `${id}:0`),
  );
  assert.deepEqual(
    matcher.scans.map(({ probes }) => probes.length),
    [1, 8, 1, 1, 1],
  );
});

void test("a search with several probes takes them all in one pass, and each answer says to which probe it is", async () => {
  const { matcher, scans } = setUp();
  const ids = Array.from({ length: 8 }, (_, i) => 10 + i);
  const results = Promise.all([
    collectOfTens(scans.search(searchWith(ids, [0, 1]))),
    collect(scans.search(search(1, [1]))),
    collectOfTens(scans.search(searchWith(ids.slice(0, 7), [0]))),
    collect(scans.search(search(2, [0]))),
  ]);
  await turn();
  matcher.open();
  const [first, company, seven, last] = await results;
  assert.deepEqual(first, [...ids.map((_, i) => `${i}:0`), ...ids.map((_, i) => `${i}:1`)]);
  assert.deepEqual(
    seven,
    ids.slice(0, 7).map((_, i) => `${i}:0`),
  );
  assert.deepEqual([company, last], [["1:1"], ["2:0"]]);
  // Eight probes fill a pass, so that the last search waits for the next one.
  assert.deepEqual(
    matcher.scans.map(({ probes, blocks }) => [probes.map(({ id }) => id), blocks.length]),
    [
      [ids, 2],
      [[1, ...ids.slice(0, 7)], 2],
      [[2], 1],
    ],
  );
});

void test("a search with more pieces than one pass may have goes over its blocks in several rounds", async () => {
  const { matcher, scans } = setUp();
  matcher.open();
  const ids = [10, 11, 12, 13, 14];
  const found = await collectOfTens(scans.search(searchWith(ids, [0, 1], undefined, 400)));
  assert.deepEqual(
    found.toSorted(),
    ids.flatMap((_, probe) => [`${probe}:0`, `${probe}:1`]),
  );
  assert.deepEqual(
    matcher.scans.map(({ probes, blocks, cancelled }) => [probes.length, blocks.length, cancelled.byteLength]),
    [
      [2, 2, 8],
      [2, 2, 8],
      [1, 2, 4],
    ],
  );
  for (const { probes } of matcher.scans) {
    const pieces = probes.reduce((sum, probe) => sum + probe.pieces, 0);
    assert.ok(pieces <= 1024, `${pieces} pieces at once`);
  }
});

void test("a cancelled search frees all of its probes' places, in the pass that runs and in the rounds to come", async () => {
  const { matcher, scans } = setUp();
  const cancelled = new AbortController();
  const ids = [10, 11, 12, 13];
  const leaving = collectOfTens(scans.search(searchWith(ids, [0, 1], cancelled.signal, 400)));
  await turn();
  const waiting = collect(scans.search(search(1, [0])));
  cancelled.abort(new Error("enough"));
  await assert.rejects(leaving, /enough/);
  assert.deepEqual([...new Int32Array(matcher.scans[0]!.cancelled)], [1, 1]);
  matcher.open();
  assert.deepEqual(await waiting, ["1:0"]);
  for (const scan of matcher.scans.slice(0, -1)) assert.ok(allCancelled(new Int32Array(scan.cancelled)));
  assert.deepEqual(
    matcher.scans.at(-1)!.probes.map(({ id }) => id),
    [1],
  );
});

void test("of searches that share a pass only the cancelled one's probes are", async () => {
  const { matcher, scans } = setUp();
  const first = collect(scans.search(search(1, [0])));
  const cancelled = new AbortController();
  const leaving = collectOfTens(scans.search(searchWith([10, 11, 12], [0], cancelled.signal)));
  const company = collectOfTens(scans.search(searchWith([10, 11], [0])));
  await turn();
  matcher.openOnce();
  assert.deepEqual(await first, ["1:0"]);
  await turn();
  cancelled.abort(new Error("enough"));
  await assert.rejects(leaving, /enough/);
  assert.deepEqual([...new Int32Array(matcher.scans[1]!.cancelled)], [1, 1, 1, 0, 0]);
  matcher.open();
  assert.deepEqual(await company, ["0:0", "1:0"]);
});

void test("a search that is cancelled ends at once and tells the workers, while its company goes on", async () => {
  const { matcher, scans } = setUp();
  const cancelled = new AbortController();
  const first = collect(scans.search(search(1, [0])));
  const company = collect(scans.search(search(2, [0, 1])));
  const leaving = collect(scans.search(search(3, [0, 1], cancelled.signal)));
  await turn();
  cancelled.abort(new Error("enough"));
  await assert.rejects(leaving, /enough/);
  matcher.open();
  assert.deepEqual([await first, await company], [["1:0"], ["2:0", "2:1"]]);
  const alone = new AbortController();
  const closed = setUp();
  const only = collect(closed.scans.search(search(4, [0], alone.signal)));
  await turn();
  alone.abort(new Error("enough"));
  await assert.rejects(only, /enough/);
  assert.deepEqual([...new Int32Array(closed.matcher.scans[0]!.cancelled)], [1]);
});

void test("a client that stops reading tells the workers", async () => {
  const { matcher, scans } = setUp();
  matcher.open();
  for await (const { block } of scans.search(search(1, [0, 1, 2]))) {
    assert.equal(block, 0);
    break;
  }
  assert.deepEqual([...new Int32Array(matcher.scans[0]!.cancelled)], [1]);
});

void test("a pass that fails fails every search in it, and the next one is served", async () => {
  const { matcher, scans } = setUp();
  const failing = {
    scan: () => {
      throw new Error("damaged");
    },
  };
  const broken = new SharedScans(failing as unknown as PackedMatcher);
  await assert.rejects(collect(broken.search(search(1, [0]))), /damaged/);
  await assert.rejects(collect(broken.search(search(2, [0]))), /damaged/);
  matcher.open();
  assert.deepEqual(await collect(scans.search(search(3, [7]))), ["3:7"]);
});

void test("a search of nothing ends without a scan", async () => {
  const { matcher, scans } = setUp();
  assert.deepEqual(await collect(scans.search(search(1, []))), []);
  assert.equal(matcher.scans.length, 0);
});

const MIB = 2 ** 20;

/** Every block's product has 8 MiB: two fill what a search may leave unread. */
class LargeProducts {
  async *scan({ blocks, probes }: MatchBlocks): AsyncGenerator<MatchedBlock> {
    for (const { block, stride } of blocks) {
      await turn();
      const products = probes.map(({ id }) => ({
        data: new Uint8Array(8 * MIB).fill(id, 0, 1).fill(block, 1, 2),
        sha256: new Uint8Array(32),
      }));
      yield { block, stride, products, damagedSlots: [] };
    }
  }
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await turn();
}

void test("a search that is not read does not keep those waiting that come while it is stuck", async ({ mock }) => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const scans = new SharedScans(new LargeProducts() as unknown as PackedMatcher);
  const vanished = scans.search(search(1, [0, 1, 2, 3]));
  assert.equal((await vanished.next()).done, false);
  await turns(20);
  const next = collect(scans.search(search(2, [0])));
  await turns(20);
  // 5 s, and 8 s for the 8 MiB that it has read.
  mock.timers.tick(13_001);
  assert.deepEqual(await next, ["2:0"]);
  await assert.rejects(collect(vanished), { reason: "TOO_SLOW" });
});

for (const { gapMs, kept } of [
  { gapMs: 4000, kept: true },
  { gapMs: 20_000, kept: false },
]) {
  void test(`a search that reads 8 MiB every ${gapMs / 1000} s is ${kept ? "waited for" : "given up"} by its company`, async ({
    mock,
  }) => {
    let now = 0;
    mock.timers.enable({ apis: ["setTimeout"] });
    mock.method(performance, "now", () => now);
    const scans = new SharedScans(new LargeProducts() as unknown as PackedMatcher);
    const blocks = Array.from({ length: 12 }, (_, block) => block);
    const first = collect(scans.search(search(1, [0])));
    const slow = scans.search(search(2, blocks));
    const reading = (async () => {
      for await (const { block } of slow) {
        await turns(20);
        now += gapMs;
        mock.timers.tick(gapMs);
        if (block === 11) return true;
      }
      return false;
    })();
    const company = collect(scans.search(search(3, blocks)));
    assert.deepEqual(await first, ["1:0"]);
    if (kept) assert.equal(await reading, true);
    else await assert.rejects(reading, { reason: "TOO_SLOW" });
    assert.equal((await company).length, 12);
  });
}
