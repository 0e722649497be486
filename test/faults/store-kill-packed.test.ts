import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { RosterEntry } from "../../server/store/gallery-store.ts";
import { FULL_BYTES, StoreFixture, chunksOf, placeOf, readAll, residuesOf } from "../unit/store/fixture.ts";

const CHILD = fileURLToPath(new URL("store-kill-packed-child.ts", import.meta.url));
const ROUNDS = 5;

/**
 * What the child said of a lane: the version that it began last, the last one acknowledged, and those acknowledged
 * before.
 */
interface Lane {
  begun: number;
  acknowledged: number;
  readonly former: Set<number>;
}

/** Runs the child and kills it `ms` after its first line; returns its lanes. */
async function killed(
  path: string,
  mode: string,
  firstVersion: number,
  ms: number,
  lanes: Map<number, Lane>,
): Promise<void> {
  const child = spawn(process.execPath, ["--conditions=source", CHILD, path, mode, String(firstVersion)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const output = text(child.stdout);
  child.stdout.once("data", () => setTimeout(() => child.kill("SIGKILL"), ms));
  const [, signal] = (await once(child, "exit")) as [number | null, string | null];
  assert.equal(signal, "SIGKILL", "the child ran until it was killed");
  for (const line of (await output).split("\n").slice(0, -1)) {
    const [word, number, version] = line.split(" ");
    const lane = lanes.get(Number(number)) ?? { begun: 0, acknowledged: 0, former: new Set<number>() };
    lanes.set(Number(number), lane);
    if (word === "try") lane.begun = Number(version);
    else {
      if (lane.acknowledged > 0) lane.former.add(lane.acknowledged);
      lane.acknowledged = Number(version);
    }
  }
}

async function rounds(
  fixture: StoreFixture,
  mode: string,
  check: (lanes: Map<number, Lane>) => Promise<void>,
): Promise<void> {
  const lanes = new Map<number, Lane>();
  const isWorked = (): boolean => [...lanes.values()].every(({ former }) => former.size > 2 * ROUNDS);
  // A slow machine is given more rounds.
  for (let round = 0; round < ROUNDS || (round < 5 * ROUNDS && !isWorked()); round++) {
    await fixture.store.close();
    await killed(fixture.path, mode, 1 + round * 10_000, 15 + 67 * round, lanes);
    await fixture.reopen();
    await check(lanes);
  }
  assert.ok(isWorked(), "the child got some work done");
}

/** The one version of the subjects of these entries, if it is the last acknowledged one or the one begun after it. */
function versionOf(lane: Lane, entries: readonly RosterEntry[]): number {
  const found = new Set(entries.map(({ live }) => Number(live?.subjectId.slice(2) ?? 0)));
  const [version = 0] = found;
  assert.ok(found.size <= 1, "all of a version or nothing");
  assert.ok(
    version === lane.acknowledged || version === lane.begun,
    `version ${version} is the last acknowledged (${lane.acknowledged}) or the one after it (${lane.begun})`,
  );
  return version;
}

/** Goes on from what is there now. */
function settle(lane: Lane, version: number): void {
  if (version !== lane.acknowledged) lane.former.add(lane.acknowledged);
  lane.acknowledged = version;
}

function checkBlock(
  bytes: Map<string, Uint8Array>,
  entries: readonly RosterEntry[],
  lane: number,
  version: number,
): void {
  const [block, ...others] = new Set(entries.map((entry) => entry.live!.placement.block));
  assert.deepEqual([others, entries.map((entry) => entry.live!.placement.slot)], [[], [0, 1, 2, 3, 4, 5, 6, 7]]);
  chunksOf(`${lane}/${version}`, FULL_BYTES).forEach((chunk, i) => {
    assert.ok(chunk.every((byte, at) => byte === bytes.get(`${block}#${i}`)![at]));
  });
}

async function entriesOf({ store }: StoreFixture, prefix: string): Promise<RosterEntry[]> {
  return (await store.listEntries("g", 0, 1000)).entries.filter(({ templateId }) => templateId.startsWith(prefix));
}

function found(fixture: StoreFixture, seeds: readonly Uint8Array[]): boolean {
  const file = fixture.dataFile();
  return seeds.some((bytes) => file.includes(Buffer.from(bytes).subarray(FULL_BYTES / 2, FULL_BYTES / 2 + 32)));
}

test("after kill -9 at any moment a packed block is there whole or not at all, and what it replaced is erased", {
  timeout: 120_000,
}, async () => {
  await using fixture = await StoreFixture.withGallery();
  await rounds(fixture, "pack", async (lanes) => {
    const bytes = await readAll(fixture);
    for (const [number, lane] of lanes) {
      const entries = await entriesOf(fixture, `t-${number}-`);
      const version = versionOf(lane, entries);
      if (version > 0) checkBlock(bytes, entries, number, version);
      assert.ok(
        !found(
          fixture,
          [...lane.former]
            .filter((old) => old < lane.acknowledged)
            .flatMap((old) => chunksOf(`${number}/${old}`, FULL_BYTES)),
        ),
      );
      settle(lane, version);
    }
    const live = [...lanes.values()].filter(({ acknowledged }) => acknowledged > 0).length;
    assert.deepEqual([fixture.store.getGallery("g").templateCount, bytes.size], [8 * live, 3 * live]);
    for (const lane of lanes.values())
      assert.equal((await fixture.store.entriesOfSubject("g", `s-${lane.acknowledged}`)).length % 8, 0);
  });
});

test("after kill -9 at any moment a gallery that was being replaced is the old one or the new one, whole", {
  timeout: 120_000,
}, async () => {
  await using fixture = await StoreFixture.withGallery();
  await rounds(fixture, "replace", async (lanes) => {
    const lane = lanes.get(0)!;
    const entries = await entriesOf(fixture, "");
    const version = versionOf(lane, entries);
    const bytes = await readAll(fixture);
    for (const number of version > 0 ? [0, 1] : [])
      checkBlock(
        bytes,
        entries.filter(({ templateId }) => templateId.startsWith(`t-${number}-`)),
        number,
        version,
      );
    const loose = entries.filter(({ templateId }) => templateId === "loose");
    for (const entry of loose) assert.deepEqual(bytes.get(placeOf(entry)), residuesOf(`loose/${version}`, FULL_BYTES));
    assert.deepEqual(
      [entries.length, bytes.size, fixture.store.getGallery("g").templateCount],
      version > 0 ? [17, 7, 17] : [0, 0, 0],
    );
    const [draft, ...more] = fixture.store
      .listGalleries(undefined, "", 9)
      .galleries.filter(({ draftOf }) => draftOf === "g");
    if (draft !== undefined) await fixture.store.deleteGallery(draft.galleryId);
    assert.deepEqual(more, []);
    settle(lane, version);
    const old = [...lane.former]
      .filter((one) => one > 0)
      .flatMap((one) => [
        residuesOf(`loose/${one}`, FULL_BYTES),
        ...chunksOf(`0/${one}`, FULL_BYTES),
        ...chunksOf(`1/${one}`, FULL_BYTES),
      ]);
    // What the kill interrupted goes on at the opening.
    for (let tries = 0; tries < 100 && found(fixture, old); tries++)
      await new Promise((resolve) => setTimeout(resolve, 50));
    assert.ok(!found(fixture, old), "the replaced ciphertexts are erased");
  });
});
