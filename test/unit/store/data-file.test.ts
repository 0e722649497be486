import assert from "node:assert/strict";
import { closeSync, fstatSync, mkdtempSync, openSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { open } from "lmdb";
import type { Database, RootDatabase } from "lmdb";
import { freePages, lacksPages, readMeta } from "../../../server/store/lmdb/disk/data-file.ts";
import { checkTrees } from "../../../server/store/lmdb/disk/data-trees.ts";
import type { Meta, ReadAt } from "../../../server/store/lmdb/disk/data-file.ts";

const BINARY = { encoding: "binary", keyEncoding: "binary" } as const;
const PAGE_BYTES = 4096;
const META_PAGES = 2;

interface Counts {
  readonly treeBranchPageCount: number;
  readonly treeLeafPageCount: number;
  readonly overflowPages: number;
}

function pagesOf({ treeBranchPageCount, treeLeafPageCount, overflowPages }: Counts): number {
  return treeBranchPageCount + treeLeafPageCount + overflowPages;
}

function newerMeta(read: ReadAt): Meta {
  const metas = [0, PAGE_BYTES].map((offset) => readMeta(read(offset, PAGE_BYTES))!);
  return metas[0]!.transaction > metas[1]!.transaction ? metas[0]! : metas[1]!;
}

// A commit: keys that are put with values of so many bytes, or removed.
const commits = fc.array(
  fc.array(
    fc.record({
      key: fc.integer({ min: 0, max: 200 }),
      byteLength: fc.option(fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 60_000 }))),
    }),
    { minLength: 1, maxLength: 40 },
  ),
  { minLength: 1, maxLength: 40 },
);

async function commit(
  root: RootDatabase<Buffer, Buffer>,
  table: Database<Buffer, Buffer>,
  changes: readonly { key: number; byteLength: number | null }[],
): Promise<void> {
  await root.transaction(() => {
    for (const { key, byteLength } of changes) {
      if (byteLength === null) table.removeSync(Buffer.of(key, 0));
      else table.putSync(Buffer.of(key, 0), Buffer.alloc(byteLength, key));
    }
  });
}

test("after every commit the free pages that are read, and LMDB's counts of pages in use, are all pages there are", async () => {
  await fc.assert(
    fc.asyncProperty(commits, async (history) => {
      const path = mkdtempSync(join(tmpdir(), "veilface-pages-"));
      const root = open<Buffer, Buffer>(path, {
        ...BINARY,
        noSubdir: false,
        overlappingSync: false,
        maxDbs: 2,
        pageSize: PAGE_BYTES,
      });
      const table = root.openDB<Buffer, Buffer>("t", BINARY);
      const file = openSync(join(path, "data.mdb"), "r");
      const read: ReadAt = (offset, byteLength) => {
        const bytes = Buffer.alloc(byteLength);
        return bytes.subarray(0, readSync(file, bytes, 0, byteLength, offset));
      };
      try {
        for (const changes of history) {
          await commit(root, table, changes);
          const meta = newerMeta(read);
          const { free, ...main } = root.getStats() as Counts & { free: Counts };
          const listed = new Set<number>();
          for (const [first, last] of freePages(meta, read))
            for (let page = first; page <= last; page++) listed.add(page);
          const used = pagesOf(main) + pagesOf(free) + pagesOf(table.getStats() as Counts);
          assert.equal(META_PAGES + used + listed.size, meta.lastPage + 1);
          assert.equal(lacksPages(meta, fstatSync(file).size, read), false);
          checkTrees(meta, read, Infinity);
          const [lastUsed] = Array.from({ length: meta.lastPage + 1 }, (_, i) => meta.lastPage - i).filter(
            (page) => !listed.has(page),
          );
          assert.equal(
            lacksPages(meta, lastUsed! * PAGE_BYTES, (offset, byteLength) => read(offset, byteLength)),
            true,
          );
        }
      } finally {
        closeSync(file);
        await root.close();
        rmSync(path, { recursive: true, force: true });
      }
    }),
    { numRuns: 20 },
  );
});

test("bytes that are no meta page are none", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 4096 }), (bytes) => {
      assert.equal(readMeta(Buffer.from(bytes)), undefined);
    }),
  );
});
