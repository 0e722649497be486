import type { MatchingServiceImplementation } from "@veilface/proto";
import { compareTemplates, searchGallery } from "./comparison.ts";
import type { Matcher } from "./matcher.ts";
import { SharedScans } from "./shared-scans.ts";
import type { GalleryStore } from "./store/gallery-store.ts";
import { distancesToWire, entryToWire } from "./to-wire.ts";

/** The rpcs of MatchingService over a store and a matcher. */
export function matchingService(store: GalleryStore, matcher: Matcher): MatchingServiceImplementation {
  const scans = new SharedScans(matcher);
  return {
    async *compareTemplates(requests, { signal }) {
      for await (const { gallery, encoding, product, entries } of compareTemplates(store, matcher, scans, requests, signal)) {
        yield { distances: distancesToWire(gallery.contextId, encoding, product), entries: entries.map(entryToWire) };
      }
    },
    async *searchGallery(requests, { signal }) {
      for await (const { gallery, encoding, revision, product } of searchGallery(store, matcher, scans, requests, signal)) {
        yield { revision, distances: product && distancesToWire(gallery.contextId, encoding, product) };
      }
    },
  };
}
