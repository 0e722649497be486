import assert from "node:assert/strict";
import { test } from "node:test";
import { ListContextsResponse } from "@veilface/proto";
import { contextPage } from "../../../server/rpc/context-page.ts";
import type { GalleryStore, StoredContext } from "../../../server/store/gallery-store.ts";

const idOf = (i: number): string => i.toString(16).padStart(64, "0");

/** With the most rotations that there can be, in the longest form that they have. */
const context = (i: number): StoredContext => ({
  contextId: idOf(i),
  createTime: new Date(0),
  scheme: {
    kind: "pairwise",
    parameters: new Uint8Array(300),
    scale: 2 ** 40,
    degree: 16384,
    modulusBits: [60, 40, 60],
    rotationSteps: Array.from({ length: 4095 }, (_, step) => -step),
    maxDimension: 8192,
    maxDistance: 1,
  },
});

const store = {
  listContexts: (after: string, limit: number) => {
    const first = after === "" ? 0 : parseInt(after, 16) + 1;
    return Array.from({ length: Math.min(limit, 1000 - first) }, (_, i) => context(first + i));
  },
} as unknown as GalleryStore;

test("pages of contexts with the most rotations are shorter than gRPC's limit, and together have every context once", async () => {
  const ids: string[] = [];
  for (let token = ""; ; ) {
    const page = await contextPage(store, token, 1000);
    assert.ok(ListContextsResponse.encode(page).finish().length < 4 * 2 ** 20);
    ids.push(...page.contexts.map(({ contextId }) => contextId));
    token = page.nextPageToken;
    if (token === "") break;
  }
  assert.deepEqual(
    ids,
    Array.from({ length: 1000 }, (_, i) => idOf(i)),
  );
});

test("a page of few contexts is as long as was asked for", async () => {
  const { contexts, nextPageToken } = await contextPage(store, idOf(989), 7);
  assert.deepEqual([contexts.length, nextPageToken], [7, idOf(996)]);
  const last = await contextPage(store, nextPageToken, 7);
  assert.deepEqual([last.contexts.length, last.nextPageToken], [3, ""]);
});
