import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { FULL_BYTES, StoreFixture, hasReason, residuesOf } from "../unit/store-fixture.ts";

const CHILD = fileURLToPath(new URL("store-full-child.ts", import.meta.url));

interface Report {
  readonly first: number;
  readonly deleted: number;
  readonly second: number;
  readonly reasons: string[];
  readonly heldWhenFull: boolean;
  readonly heldAfterReopening: boolean;
  readonly heldAtEnd: boolean;
}

test("when the disk takes no more, what is stored stays, reads go on, and deletions make room", { timeout: 60_000 }, () => {
  // 8192 blocks of 512 or 1024 bytes, as the shell counts.
  const child = spawnSync("sh", ["-c", 'ulimit -f 8192 && exec "$@"', "sh", process.execPath, "--conditions=source", CHILD], { encoding: "utf8" });
  assert.equal(child.status, 0, child.stderr);
  const report = JSON.parse(child.stdout) as Report;
  assert.deepEqual(report.reasons, ["STORAGE_FULL"]);
  assert.ok(report.first > 30);
  assert.ok(report.heldWhenFull && report.heldAfterReopening && report.heldAtEnd, child.stdout);
  assert.ok(report.second >= report.deleted / 2, `${report.second} fitted where ${report.deleted} had been`);
});

test("a store with a limit refuses what goes beyond it, and takes templates again once others are deleted", async () => {
  const maxBytes = 4 * 2 ** 20;
  await using fixture = await StoreFixture.withGallery({ maxBytes });
  const put = (id: string) => fixture.put(id, "s", residuesOf(id, FULL_BYTES));
  const stored: string[] = [];
  let refused: unknown;
  while (refused === undefined) {
    const ids = Array.from({ length: 6 }, (_, i) => `t-${stored.length + i}`);
    for (const [i, result] of (await Promise.allSettled(ids.map(put))).entries()) {
      if (result.status === "fulfilled") stored.push(ids[i]!);
      else refused = result.reason;
    }
  }
  assert.ok(hasReason("STORAGE_FULL")(refused));
  // A ciphertext of 64 KiB takes 17 pages of 4 KiB.
  assert.ok(stored.length > 45 && stored.length * 17 * 4096 <= maxBytes, `${stored.length} fit`);
  assert.equal(fixture.store.getGallery("g").templateCount, stored.length);
  await fixture.store.deleteTemplates("g", stored.slice(0, 10), []);
  assert.equal((await put("late")).templateId, "late");
});
