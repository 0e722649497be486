import { encodedDimension } from "@veilface/fhe";
import type { CiphertextEncoding } from "@veilface/fhe";
import type { CompareTarget, EmbeddingSpace, ProbePiece, SearchTarget } from "@veilface/proto";
import { ServerError } from "./errors.ts";
import type { BlockTask, PreparedProbe } from "./matcher-task.ts";
import type { Matcher } from "./matcher.ts";
import { ProbeAssembly } from "./probe.ts";
import type { Product, Search, SharedScans } from "./shared-scans.ts";
import type { GalleryStore, ReaderLocation, RosterEntry, StoredGallery } from "./store/gallery-store.ts";
import { absent, embeddingSpace, replyEncoding, required, resourceId, sameSpace } from "./validate.ts";

/** A message of a comparison or a search: the first one has the target, any may have pieces of the probe. */
interface ProbeMessage<Target> {
  readonly target: Target | undefined;
  readonly pieces: readonly ProbePiece[];
}

/** A gallery with the probe that was sent for it. */
interface Question<Target> {
  readonly target: Target;
  readonly gallery: StoredGallery;
  readonly encoding: CiphertextEncoding;
  readonly probe: ProbeAssembly;
}

/** The product with one block of a subject's templates, and which of its slots are theirs. */
export interface Comparison {
  readonly gallery: StoredGallery;
  readonly encoding: CiphertextEncoding;
  readonly product: Product;
  readonly entries: readonly RosterEntry[];
}

/** A step of a search: first the revision alone, then products. */
export interface SearchStep {
  readonly gallery: StoredGallery;
  readonly encoding: CiphertextEncoding;
  readonly revision: number;
  readonly product: Product | undefined;
}

/** Compares a probe with the live templates of one subject, block by block. Throws ServerError SUBJECT_NOT_FOUND if there are none. */
export async function* compareTemplates(store: GalleryStore, matcher: Matcher, scans: SharedScans, messages: AsyncIterable<ProbeMessage<CompareTarget>>, signal: AbortSignal): AsyncGenerator<Comparison> {
  const question = await receive(store, messages);
  const { gallery, encoding, target } = question;
  const entries = store.entriesOfSubject(gallery.galleryId, resourceId("target.subject_id", target.subjectId));
  if (entries.length === 0) throw new ServerError("SUBJECT_NOT_FOUND", `gallery "${gallery.galleryId}" has no template of subject "${target.subjectId}"`);
  const byBlock = entriesByBlock(entries);
  const blocks = [...byBlock.values()].map(blockTask);
  const location = store.readerLocation(gallery.galleryId);
  const search = await prepare(store, matcher, question, { blocks, location, signal });
  for await (const product of scans.compare(search)) yield { gallery, encoding, product, entries: byBlock.get(product.block) ?? [] };
  checkUnchanged(store, gallery, location);
}

/** Compares a probe with every block of a gallery. */
export async function* searchGallery(store: GalleryStore, matcher: Matcher, scans: SharedScans, messages: AsyncIterable<ProbeMessage<SearchTarget>>, signal: AbortSignal): AsyncGenerator<SearchStep> {
  const question = await receive(store, messages);
  const { gallery, encoding } = question;
  const { blocks, revision } = store.listBlocks(gallery.galleryId);
  const location = store.readerLocation(gallery.galleryId);
  yield { gallery, encoding, revision, product: undefined };
  const search = await prepare(store, matcher, question, { blocks, location, signal });
  for await (const product of scans.search(search)) yield { gallery, encoding, revision, product };
  checkUnchanged(store, gallery, location);
}

async function receive<Target extends { galleryId: string; space: EmbeddingSpace | undefined; replyEncoding: number }>(
  store: GalleryStore,
  messages: AsyncIterable<ProbeMessage<Target>>,
): Promise<Question<Target>> {
  let question: Question<Target> | undefined;
  for await (const { target, pieces } of messages) {
    if (question === undefined) question = questionOf(store, required("target", target));
    else absent("target", target);
    question.probe.add(pieces);
  }
  return required("target", question);
}

function questionOf<Target extends { galleryId: string; space: EmbeddingSpace | undefined; replyEncoding: number }>(store: GalleryStore, target: Target): Question<Target> {
  const gallery = store.getGallery(resourceId("target.gallery_id", target.galleryId));
  sameSpace("target.space", embeddingSpace("target.space", target.space), gallery.space);
  const probe = new ProbeAssembly(gallery.contextId, encodedDimension(gallery.space), gallery.strides);
  return { target, gallery, encoding: replyEncoding("target.reply_encoding", target.replyEncoding as never), probe };
}

/** The probe, prepared for each stride of the blocks. Throws ServerError PROBE_INCOMPLETE, and what is wrong with a piece. */
async function prepare(store: GalleryStore, matcher: Matcher, { gallery, encoding, probe }: Question<unknown>, where: Pick<Search, "blocks" | "location" | "signal">): Promise<Search> {
  const { parameterSet } = store.getContext(gallery.contextId);
  const probes = new Map<number, PreparedProbe>();
  for (const stride of new Set(where.blocks.map((block) => block.stride))) {
    probes.set(stride, await matcher.prepareProbe(parameterSet, probe.complete(stride)));
  }
  return { parameterSet, probes, encoding, ...where };
}

function checkUnchanged(store: GalleryStore, { galleryId }: StoredGallery, location: ReaderLocation): void {
  if (store.readerLocation(galleryId).gallery === location.gallery) return;
  throw new ServerError("GALLERY_CHANGED", `gallery "${galleryId}" was replaced while it was read: read it again and retry`);
}

type LiveEntry = RosterEntry & { live: NonNullable<RosterEntry["live"]> };

function entriesByBlock(entries: readonly RosterEntry[]): Map<number, LiveEntry[]> {
  return Map.groupBy(entries.filter((entry): entry is LiveEntry => entry.live !== undefined), (entry) => entry.live.placement.block);
}

function blockTask(entries: readonly LiveEntry[]): BlockTask {
  const { block, stride } = entries[0]!.live.placement;
  return { block, stride, slots: entries.map((entry) => entry.live.placement.slot) };
}
