import type { MatchingServiceImplementation } from "@veilface/proto";
import { compareTemplates, searchGallery } from "./comparison.ts";
import type { Matchers } from "./matchers.ts";
import { WAITING_BYTES } from "./limits.ts";
import { compareCiphertexts } from "./pairwise/compare-ciphertexts.ts";
import { SharedScans } from "./shared-scans.ts";
import type { GalleryStore } from "./store/gallery-store.ts";
import { ciphertextToWire, distancesToWire, entryToWire } from "./to-wire.ts";
import { WaitingBytes } from "./waiting-bytes.ts";

/** The rpcs of MatchingService over a store and the matchers. */
export function matchingService(store: GalleryStore, matchers: Matchers): MatchingServiceImplementation {
  const comparing = { store, matchers, scans: new SharedScans(matchers.packed), probes: new WaitingBytes({ what: "probes", bytes: WAITING_BYTES }) };
  return {
    async *compareTemplates(requests, { signal }) {
      for await (const { gallery, encoding, product, entries } of compareTemplates(comparing, requests, signal)) {
        yield { distances: distancesToWire(gallery.contextId, encoding, product), entries: entries.map(entryToWire) };
      }
    },
    async *searchGallery(requests, { signal }) {
      for await (const { gallery, revision, answer } of searchGallery(comparing, requests, signal)) {
        yield { revision, distances: answer && distancesToWire(gallery.contextId, answer.encoding, answer.product) };
      }
    },
    async compareCiphertexts(request) {
      const { contextId, encoding, product } = await compareCiphertexts(store, matchers.pairwise, request);
      return { distance: product && ciphertextToWire(contextId, encoding, product), identical: product === undefined };
    },
  };
}
