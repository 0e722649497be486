import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import type { BlockAnswer } from "../../../server/compute/block-answer.ts";
import type { PackedMatcher } from "../../../server/compute/packed/packed-matcher.ts";
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

function search(id: number, blocks: readonly number[], signal = new AbortController().signal, pieces = 1): Search {
  return {
    parameterSet: "PACKED_N4096_Q60",
    location: { path: "nowhere", gallery: 1 },
    probes: new Map([[16, { id, pieces, tiles: new SharedArrayBuffer(0) }]]),
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

function setUp(): { matcher: SlowMatcher; scans: SharedScans } {
  const matcher = new SlowMatcher();
  return { matcher, scans: new SharedScans(matcher as unknown as PackedMatcher) };
}

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
  await assert.rejects(collect(vanished), { reason: "LIMIT_EXCEEDED" });
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
    else await assert.rejects(reading, { reason: "LIMIT_EXCEEDED" });
    assert.equal((await company).length, 12);
  });
}
