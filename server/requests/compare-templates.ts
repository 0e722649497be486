import type { CompareTarget } from "@veilface/proto";
import type { BlockAnswer } from "../compute/block-answer.ts";
import type { BlockTask } from "../compute/block-task.ts";
import { ServerError } from "../errors.ts";
import type { GalleryStore, LiveEntry, RosterEntry, StoredGallery } from "../store/gallery-store.ts";
import type { AnyEncoding } from "./gallery-scheme.ts";
import { Question } from "./probe-question.ts";
import type { Comparing, ProbeMessage } from "./probe-question.ts";

/** A step of a comparison: what will be compared, then the product with each block of the subject's templates. */
export type CompareStep =
  | { readonly kind: "subject"; readonly gallery: StoredGallery; readonly strides: readonly number[] }
  | {
      readonly kind: "comparison";
      readonly gallery: StoredGallery;
      readonly encoding: AnyEncoding;
      readonly product: BlockAnswer;
      /** Which of the block's slots are the subject's. */
      readonly entries: readonly RosterEntry[];
    };

/**
 * Compares a probe with the live templates of one subject, block by block. Throws ServerError SUBJECT_NOT_FOUND if
 * there are none.
 */
export async function* compareTemplates(
  comparing: Comparing,
  requests: AsyncIterable<ProbeMessage<CompareTarget>>,
  signal: AbortSignal,
): AsyncGenerator<CompareStep> {
  const { store, probes } = comparing;
  using holding = probes.open();
  const question = await Question.open(comparing, requests, holding);
  const { gallery, location, target } = question;
  const found = await entriesOf(store, target);
  yield { kind: "subject", gallery, strides: stridesOf(found) };
  const probe = await question.receiveProbe();
  // Looking for a subject takes a look at every packed block: once is enough where nothing changed.
  const isCurrent = store.getGallery(gallery.galleryId).revision === gallery.revision;
  const byBlock = blocksOf(isCurrent ? found : await entriesOf(store, target));
  const blocks = Array.from(byBlock, ([block, { stride, slots }]): BlockTask => ({ block, stride, slots }));
  const { encoding, products } = await probe.compare({ blocks, location, signal });
  for await (const product of products) {
    yield { kind: "comparison", gallery, encoding, product, entries: byBlock.get(product.block)?.entries ?? [] };
  }
  question.checkUnchanged();
}

async function entriesOf(store: GalleryStore, { galleryId, subjectId }: CompareTarget): Promise<LiveEntry[]> {
  const entries = await store.entriesOfSubject(galleryId, subjectId);
  if (entries.length > 0) return entries;
  throw new ServerError("SUBJECT_NOT_FOUND", `gallery "${galleryId}" has no template of subject "${subjectId}"`);
}

function stridesOf(entries: readonly LiveEntry[]): number[] {
  return [...new Set(entries.map(({ live }) => live.placement.stride))].sort((a, b) => a - b);
}

/** The entries that lie in one block, and their slots. */
interface BlockOfSubject {
  readonly stride: number;
  readonly slots: number[];
  readonly entries: RosterEntry[];
}

function blocksOf(entries: readonly LiveEntry[]): Map<number, BlockOfSubject> {
  const blocks = new Map<number, BlockOfSubject>();
  for (const entry of entries) {
    const { block, stride, slot } = entry.live.placement;
    const known = blocks.get(block) ?? { stride, slots: [], entries: [] };
    known.slots.push(slot);
    known.entries.push(entry);
    blocks.set(block, known);
  }
  return blocks;
}
