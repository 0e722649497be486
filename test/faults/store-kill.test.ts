import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { RosterEntry } from "../../server/store/gallery-store.ts";
import { FULL_BYTES, StoreFixture, placeOf, readAll, residuesOf } from "../unit/store/fixture.ts";

const CHILD = fileURLToPath(new URL("store-kill-child.ts", import.meta.url));
const ROUNDS = 6;

/** What the child said of a template: versions that it began, and those acknowledged. 0 is a deletion. */
interface History {
  readonly begun: number[];
  readonly acknowledged: number[];
}

test("after kill -9 at any moment all that was acknowledged is there, and nothing is half-written", {
  timeout: 120_000,
}, async () => {
  await using fixture = await StoreFixture.withGallery();
  const histories = new Map<string, History>();
  let acknowledged = 0;
  for (let round = 0; round < ROUNDS; round++) {
    await fixture.store.close();
    const lines = await killed(fixture.path, 1 + round * 10_000, 15 + 60 * round);
    record(histories, lines);
    acknowledged += lines.filter((line) => line.startsWith("ack")).length;
    // Opening must not be held up by the dead process's locks.
    await fixture.reopen();
    await check(fixture, histories);
  }
  assert.ok(acknowledged > 10 * ROUNDS, `the child got some work done: ${acknowledged} acknowledgements`);
});

/** Runs the child and kills it `ms` after its first line; returns its whole lines. */
async function killed(path: string, firstVersion: number, ms: number): Promise<string[]> {
  const child = spawn(process.execPath, ["--conditions=source", CHILD, path, String(firstVersion)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const output = text(child.stdout);
  child.stdout.once("data", () => setTimeout(() => child.kill("SIGKILL"), ms));
  const [, signal] = (await once(child, "exit")) as [number | null, string | null];
  assert.equal(signal, "SIGKILL", "the child ran until it was killed");
  return (await output).split("\n").slice(0, -1);
}

function record(histories: Map<string, History>, lines: readonly string[]): void {
  for (const line of lines) {
    const [word, id, version] = line.split(" ");
    const history = histories.get(id!) ?? { begun: [], acknowledged: [] };
    histories.set(id!, history);
    (word === "try" ? history.begun : history.acknowledged).push(Number(version));
  }
}

async function check(fixture: StoreFixture, histories: Map<string, History>): Promise<void> {
  const { entries, revision } = await fixture.store.listEntries("g", 0, 1000);
  const live = entries.filter((entry) => entry.live !== undefined);
  const ciphertexts = await readAll(fixture);
  await checkCounts(fixture, entries, revision);
  assert.deepEqual([...ciphertexts.keys()].sort(), live.map(placeOf).sort());
  const file = fixture.dataFile();
  for (const [id, history] of histories) {
    const entry = entries.find(({ templateId }) => templateId === id);
    const version = versionOf(id, history, entry, ciphertexts);
    assert.ok(version !== undefined, `${id} is as its last acknowledgement left it, or as the change after that would`);
    for (const old of erasedVersions(history, version))
      assert.ok(!file.includes(middle(id, old)), `${id} version ${old} was erased`);
    settle(history, version);
  }
}

async function checkCounts({ store }: StoreFixture, entries: readonly RosterEntry[], revision: number): Promise<void> {
  const live = entries.filter((entry) => entry.live !== undefined);
  const revisions = entries.map((entry) => entry.revision);
  assert.deepEqual(
    revisions,
    [...new Set(revisions)].sort((a, b) => a - b),
  );
  assert.ok(Math.max(0, ...revisions) <= revision);
  assert.equal(store.getGallery("g").templateCount, live.length);
  const blocks = [...new Set(live.map((entry) => entry.live!.placement.block))].sort((a, b) => a - b);
  assert.deepEqual(
    (await store.listBlocks("g")).blocks.map(({ block }) => block),
    blocks,
  );
  const bySubject = (
    await Promise.all(["s-0", "s-1", "s-2"].map((subjectId) => store.entriesOfSubject("g", subjectId)))
  ).flat();
  assert.deepEqual(
    bySubject.map(({ templateId }) => templateId).sort(),
    live.map(({ templateId }) => templateId).sort(),
  );
}

/** The version that the store holds, if it is the last acknowledged one or the one begun after it. */
function versionOf(
  id: string,
  { begun, acknowledged }: History,
  entry: RosterEntry | undefined,
  ciphertexts: Map<string, Uint8Array>,
): number | undefined {
  const possible = [
    acknowledged[acknowledged.length - 1] ?? 0,
    ...(begun.length > acknowledged.length ? begun.slice(-1) : []),
  ];
  return possible.find((version) => {
    if (version === 0 || entry?.live === undefined) return version === 0 && entry?.live === undefined;
    return Buffer.from(ciphertexts.get(placeOf(entry))!).equals(residuesOf(`${id}/${version}`, FULL_BYTES));
  });
}

// An acknowledged version is erased before its acknowledged successor is; one whose successor was cut off may wait for
// the restart.
function erasedVersions({ acknowledged }: History, now: number): number[] {
  return [...new Set(acknowledged.slice(0, -1))].filter((version) => version !== 0 && version !== now);
}

function middle(id: string, version: number): Buffer {
  return Buffer.from(residuesOf(`${id}/${version}`, FULL_BYTES)).subarray(FULL_BYTES / 2, FULL_BYTES / 2 + 32);
}

/** The next round starts from what is there now. */
function settle(history: History, version: number): void {
  history.begun.splice(0, Infinity, version);
  history.acknowledged.splice(0, Infinity, version);
}
