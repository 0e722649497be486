import type { MatchingServiceImplementation } from "@veilface/proto";
import type { BlockAnswer } from "../compute/block-answer.ts";
import { compareTemplates } from "../requests/compare-templates.ts";
import { searchGallery } from "../requests/search-gallery.ts";
import type { Serving } from "../requests/gallery-scheme.ts";
import type { Logger } from "pino";
import { WAITING_BYTES } from "../limits.ts";
import { compareCiphertexts } from "../requests/compare-ciphertexts.ts";
import { ciphertextToWire, compareStepToWire, searchStepToWire } from "./to-wire.ts";
import { WaitingBytes } from "../requests/waiting-bytes.ts";

/** What the rpcs of MatchingService work with. */
interface Matching extends Serving {
  readonly log: Logger;
}

/** The rpcs of MatchingService over a store and the matchers. */
export function matchingService({ store, matchers, log }: Matching): MatchingServiceImplementation {
  const comparing = { store, matchers, probes: new WaitingBytes({ what: "probes", bytes: WAITING_BYTES }) };
  return {
    async *compareTemplates(requests, { signal }) {
      for await (const step of compareTemplates(comparing, requests, signal)) {
        if (step.kind === "comparison") logDamage(log, step.gallery.galleryId, step.product);
        yield { message: compareStepToWire(step) };
      }
    },
    async *searchGallery(requests, { signal }) {
      for await (const step of searchGallery(comparing, requests, signal)) {
        if (step.kind === "product") logDamage(log, step.gallery.galleryId, step.product);
        yield { message: searchStepToWire(step) };
      }
    },
    async compareCiphertexts(request) {
      const { contextId, encoding, product } = await compareCiphertexts(store, matchers.pairwise, request);
      return { distance: product && ciphertextToWire(contextId, encoding, product), identical: product === undefined };
    },
  };
}

/** For whoever runs the server: the client is told of it too, but the disk is not theirs. */
function logDamage(log: Logger, galleryId: string, answer: BlockAnswer): void {
  const { block } = answer;
  const because = "because" in answer ? answer.because : undefined;
  if (because === "INTERNAL") {
    log.error({ galleryId, block, reason: because }, "a block could not be compared");
  } else if (because === "STORED_CORRUPT") {
    log.warn({ galleryId, block, reason: because }, "a block is damaged on disk");
  } else if ("damagedSlots" in answer && answer.damagedSlots.length > 0) {
    log.warn(
      { galleryId, block, slots: answer.damagedSlots, reason: "STORED_CORRUPT" },
      "templates are damaged on disk",
    );
  }
}
