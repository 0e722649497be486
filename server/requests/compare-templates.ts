import type { CompareTarget } from "@veilface/proto";
import type { BlockAnswer } from "../compute/block-answer.ts";
import type { BlockTask } from "../compute/block-task.ts";
import { ServerError } from "../errors.ts";
import type { RosterEntry, StoredGallery } from "../store/gallery-store.ts";
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
  const byBlock = entriesByBlock(entries);
  const blocks = [...byBlock.values()].map(blockTask);
  const { encoding, products } = await probe.compare({ blocks, location, signal });
  for await (const product of products) yield { gallery, encoding, product, entries: byBlock.get(product.block) ?? [] };
  checkUnchanged(store, gallery, location);
}

function notFound(galleryId: string, subjectId: string): ServerError {
  return new ServerError("SUBJECT_NOT_FOUND", `gallery "${galleryId}" has no template of subject "${subjectId}"`);
}

type LiveEntry = RosterEntry & { live: NonNullable<RosterEntry["live"]> };

function entriesByBlock(entries: readonly RosterEntry[]): Map<number, LiveEntry[]> {
  const live = entries.filter((entry): entry is LiveEntry => entry.live !== undefined);
  return Map.groupBy(live, (entry) => entry.live.placement.block);
}

function blockTask(entries: readonly LiveEntry[]): BlockTask {
  const { block, stride } = entries[0]!.live.placement;
  return { block, stride, slots: entries.map((entry) => entry.live.placement.slot) };
}
