import type { CompareTarget } from "@veilface/proto";
import type { BlockAnswer } from "../compute/block-answer.ts";
import type { BlockTask } from "../compute/block-task.ts";
import { ServerError } from "../errors.ts";
import type { LiveEntry, RosterEntry, StoredGallery } from "../store/gallery-store.ts";
import type { AnyEncoding } from "./gallery-scheme.ts";
import { checkUnchanged, receiveQuestion } from "./probe-question.ts";
import type { Comparing, ProbeMessage } from "./probe-question.ts";

/** The product with one block of a subject's templates, and which of its slots are theirs. */
export interface Comparison {
  readonly gallery: StoredGallery;
  readonly encoding: AnyEncoding;
  readonly product: BlockAnswer;
  readonly entries: readonly RosterEntry[];
}

/**
 * Compares a probe with the live templates of one subject, block by block. Throws ServerError SUBJECT_NOT_FOUND if
 * there are none.
 */
export async function* compareTemplates(
  comparing: Comparing,
  messages: AsyncIterable<ProbeMessage<CompareTarget>>,
  signal: AbortSignal,
): AsyncGenerator<Comparison> {
  const { store, probes } = comparing;
  using holding = probes.open();
  const { gallery, probe, target } = await receiveQuestion(comparing, messages, holding);
  const { galleryId } = gallery;
  const location = store.readerLocation(galleryId);
  const entries = await store.entriesOfSubject(galleryId, target.subjectId);
  if (entries.length === 0) throw notFound(galleryId, target.subjectId);
  const byBlock = blocksOf(entries);
  const blocks = Array.from(byBlock, ([block, { stride, slots }]): BlockTask => ({ block, stride, slots }));
  const { encoding, products } = await probe.compare({ blocks, location, signal });
  for await (const product of products) {
    yield { gallery, encoding, product, entries: byBlock.get(product.block)?.entries ?? [] };
  }
  checkUnchanged(store, gallery, location);
}

function notFound(galleryId: string, subjectId: string): ServerError {
  return new ServerError("SUBJECT_NOT_FOUND", `gallery "${galleryId}" has no template of subject "${subjectId}"`);
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
