import type { SearchTarget } from "@veilface/proto";
import type { BlockAnswer } from "../compute/block-answer.ts";
import type { StoredGallery } from "../store/gallery-store.ts";
import type { AnyEncoding } from "./gallery-scheme.ts";
import { checkUnchanged, receiveQuestion } from "./probe-question.ts";
import type { Comparing, ProbeMessage } from "./probe-question.ts";

/** A step of a search: first the revision alone, then products. */
export interface SearchStep {
  readonly gallery: StoredGallery;
  readonly revision: number;
  readonly answer: { readonly encoding: AnyEncoding; readonly product: BlockAnswer } | undefined;
}

/** Compares a probe with every block of a gallery. */
export async function* searchGallery(
  comparing: Comparing,
  messages: AsyncIterable<ProbeMessage<SearchTarget>>,
  signal: AbortSignal,
): AsyncGenerator<SearchStep> {
  const { store, probes } = comparing;
  using holding = probes.open();
  const { gallery, probe } = await receiveQuestion(comparing, messages, holding);
  const location = store.readerLocation(gallery.galleryId);
  const { blocks, revision } = await store.listBlocks(gallery.galleryId);
  yield { gallery, revision, answer: undefined };
  const { encoding, products } = await probe.search({ blocks, location, signal });
  for await (const product of products) yield { gallery, revision, answer: { encoding, product } };
  checkUnchanged(store, gallery, location);
}
