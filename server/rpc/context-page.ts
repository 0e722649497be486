import { setImmediate } from "node:timers/promises";
import { Context } from "@veilface/proto";
import type { GalleryStore } from "../store/gallery-store.ts";
import { contextToWire } from "./to-wire.ts";

/**
 * With the context that crosses it a page stays below 4 MiB, the most that gRPC's clients take: the largest contexts
 * have some 30 KB.
 */
const PAGE_BYTES = 3 * 2 ** 20;
/** Contexts with all the rotations there can be take a third of a millisecond each. */
const CONTEXTS_AT_ONCE = 16;

/** Contexts, and the id of the last where more follow. */
export interface ContextPage {
  readonly contexts: Context[];
  readonly last: string | undefined;
}

/** Contexts after the id `after`: at most `limit`, and fewer where they are large. */
export async function contextPage(store: GalleryStore, after: string, limit: number): Promise<ContextPage> {
  const contexts: Context[] = [];
  let last = after;
  for (let bytes = 0; contexts.length < limit && bytes < PAGE_BYTES; ) {
    const wanted = Math.min(CONTEXTS_AT_ONCE, limit - contexts.length);
    const found = store.listContexts(last, wanted).map(contextToWire);
    for (const context of found) {
      contexts.push(context);
      bytes += Context.encode(context).finish().length;
      last = context.contextId;
    }
    if (found.length < wanted) return { contexts, last: undefined };
    await setImmediate();
  }
  return { contexts, last };
}
