import type { MatchingServiceImplementation } from "@veilface/proto";
import { compareTemplates, searchGallery } from "./comparison.ts";
import type { Matcher } from "./matcher.ts";
import type { GalleryStore } from "./store/gallery-store.ts";
import { distancesToWire, entryToWire } from "./to-wire.ts";

/** The rpcs of MatchingService over a store and a matcher. */
export function matchingService(store: GalleryStore, matcher: Matcher): MatchingServiceImplementation {
  return {
    async *compareTemplates(requests, { signal }) {
      for await (const { gallery, encoding, product, entries } of compareTemplates(store, matcher, requests, signal)) {
        yield { distances: distancesToWire(gallery.contextId, encoding, product), entries: entries.map(entryToWire) };
      }
    },
    async *searchGallery(requests, { signal }) {
      for await (const { gallery, encoding, revision, product } of searchGallery(store, matcher, requests, signal)) {
        yield { revision, distances: product && distancesToWire(gallery.contextId, encoding, product) };
      }
    },
  };
}
