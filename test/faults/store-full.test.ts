import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  FULL_BYTES,
  PACKED_STRIDE,
  StoreFixture,
  chunksOf,
  hasReason,
  readAll,
  residuesOf,
} from "../unit/store/fixture.ts";

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

for (const [kind, least] of [
  ["loose", 30],
  ["packed", 8],
] as const) {
  test(`when the disk takes no more, what is stored stays, reads go on, and deletions make room: ${kind} templates`, {
    timeout: 60_000,
  }, () => {
    // 8192 blocks of 512 or 1024 bytes, as the shell counts.
    const child = spawnSync(
      "sh",
      ["-c", 'ulimit -f 8192 && exec "$@"', "sh", process.execPath, "--conditions=source", CHILD, kind],
      { encoding: "utf8" },
    );
    assert.equal(child.status, 0, child.stderr);
    const report = JSON.parse(child.stdout) as Report;
    assert.deepEqual(report.reasons, ["STORAGE_FULL"]);
    assert.ok(report.first > least);
    assert.ok(report.heldWhenFull && report.heldAfterReopening && report.heldAtEnd, child.stdout);
    assert.ok(report.second >= report.deleted / 2, `${report.second} fitted where ${report.deleted} had been`);
  });
}

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
  await fixture.store.deleteTemplates("g", { templateIds: stored.slice(0, 10) });
  assert.equal((await put("late")).templateId, "late");
});

test("a packed block that goes beyond the limit is refused whole, and a shorter one is taken", async () => {
  await using fixture = await StoreFixture.withGallery({ maxBytes: 2 * 2 ** 20 });
  const slots = [
    { templateId: "a", subjectId: "s" },
    { templateId: "b", subjectId: "s" },
  ];
  await fixture.putPacked(slots, "one", "g", PACKED_STRIDE, FULL_BYTES);
  const { gallery } = fixture.store.readerLocation("g");
  const chunks = Array.from({ length: 40 }, (_, i) => residuesOf(`chunk ${i}`, FULL_BYTES));
  await assert.rejects(
    fixture.store.putPackedBlock("g", { gallery, stride: PACKED_STRIDE, slots, chunks }),
    hasReason("STORAGE_FULL"),
  );
  assert.deepEqual(
    [fixture.store.getGallery("g").revision, (await fixture.store.listBlocks("g")).blocks.length],
    [2, 1],
  );
  assert.deepEqual([...(await readAll(fixture)).values()], chunksOf("one", FULL_BYTES));
  await fixture.store.putPackedBlock("g", { gallery, stride: PACKED_STRIDE, slots, chunks: chunks.slice(0, 10) });
  assert.deepEqual([...(await readAll(fixture)).values()], chunks.slice(0, 10));
});
