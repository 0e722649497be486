import assert from "node:assert/strict";
import { test } from "node:test";
import { ListContextsResponse } from "@veilface/proto";
import { contextPage } from "../../../server/rpc/context-page.ts";
import type { ContextPage } from "../../../server/rpc/context-page.ts";
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
  for (let after: string | undefined = ""; after !== undefined; ) {
    const { contexts, last }: ContextPage = await contextPage(store, after, 1000);
    assert.ok(ListContextsResponse.encode({ contexts, nextPageToken: last ?? "" }).finish().length < 4 * 2 ** 20);
    ids.push(...contexts.map(({ contextId }) => contextId));
    after = last;
  }
  assert.deepEqual(
    ids,
    Array.from({ length: 1000 }, (_, i) => idOf(i)),
  );
});

test("a page of few contexts is as long as was asked for", async () => {
  const first = await contextPage(store, idOf(989), 7);
  assert.deepEqual([first.contexts.length, first.last], [7, idOf(996)]);
  const second = await contextPage(store, idOf(996), 7);
  assert.deepEqual([second.contexts.length, second.last], [3, undefined]);
});
