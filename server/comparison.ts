import { encodedDimension } from "@veilface/fhe";
import type { CiphertextEncoding, ParameterSetName } from "@veilface/fhe";
import type { CompareTarget, EmbeddingSpace, ProbePiece, SearchTarget } from "@veilface/proto";
import type { BlockAnswer } from "./block-answer.ts";
import { ServerError } from "./errors.ts";
import type { BlockTask, PreparedProbe } from "./matcher-task.ts";
import type { Matchers } from "./matchers.ts";
import { scanPairwise } from "./pairwise/gallery-scan.ts";
import { PACE, RETRY_AFTER_MS } from "./limits.ts";
import { packedPieces, pairwisePieces } from "./piece-reader.ts";
import { ProbeAssembly } from "./probe.ts";
import { readAll } from "./read-all.ts";
import type { PairwiseEncoding } from "./sealed-bytes.ts";
import type { Search, SharedScans } from "./shared-scans.ts";
import type { ContextLocation, GalleryStore, ReaderLocation, RosterEntry, StoredGallery } from "./store/gallery-store.ts";
import { Patience, forEachItem, patiently } from "./streams.ts";
import { absent, anyReplyEncoding, embeddingSpace, pairwiseReplyEncoding, replyEncoding, required, resourceId, sameSpace } from "./validate.ts";
import type { Holding, WaitingBytes } from "./waiting-bytes.ts";

/** What comparisons are made with. */
export interface Comparing {
  readonly store: GalleryStore;
  readonly matchers: Matchers;
  readonly scans: SharedScans;
  /** Probes that wait for the rest of them, or for their answers. */
  readonly probes: WaitingBytes;
}

/** A message of a comparison or a search: the first one has the target, any may have pieces of the probe. */
interface ProbeMessage<Target> {
  readonly target: Target | undefined;
  readonly pieces: readonly ProbePiece[];
}

/** What both kinds of target have. */
interface AnyTarget {
  readonly galleryId: string;
  readonly space: EmbeddingSpace | undefined;
  readonly replyEncoding: CompareTarget["replyEncoding"];
  /** In a comparison with one subject's templates. */
  readonly subjectId?: string;
}

/** A gallery with the probe that was sent for it. */
interface Question<Target> {
  readonly target: Target;
  readonly gallery: StoredGallery;
  readonly probe: SchemeProbe;
}

/** The probe as the gallery's scheme has it, and the encoding of the answers; undefined for the probe's own. */
type SchemeProbe =
  | { readonly kind: "packed"; readonly parameterSet: ParameterSetName; readonly pieces: ProbeAssembly<CiphertextEncoding>; readonly encoding: CiphertextEncoding }
  | { readonly kind: "pairwise"; readonly context: ContextLocation; readonly pieces: ProbeAssembly<PairwiseEncoding>; readonly encoding: PairwiseEncoding | undefined };

/** Products with the blocks of a gallery, and how they are sent. */
interface Answers {
  readonly encoding: CiphertextEncoding | PairwiseEncoding;
  readonly products: AsyncIterable<BlockAnswer>;
}

/** The product with one block of a subject's templates, and which of its slots are theirs. */
export interface Comparison {
  readonly gallery: StoredGallery;
  readonly encoding: Answers["encoding"];
  readonly product: BlockAnswer;
  readonly entries: readonly RosterEntry[];
}

/** A step of a search: first the revision alone, then products. */
export interface SearchStep {
  readonly gallery: StoredGallery;
  readonly revision: number;
  readonly answer: { readonly encoding: Answers["encoding"]; readonly product: BlockAnswer } | undefined;
}

/** Compares a probe with the live templates of one subject, block by block. Throws ServerError SUBJECT_NOT_FOUND if there are none. */
export async function* compareTemplates(comparing: Comparing, messages: AsyncIterable<ProbeMessage<CompareTarget>>, signal: AbortSignal): AsyncGenerator<Comparison> {
  const { store, scans, probes } = comparing;
  using holding = probes.open();
  const question = await receive(comparing, messages, holding);
  const { gallery, target } = question;
  const location = store.readerLocation(gallery.galleryId);
  const entries = await store.entriesOfSubject(gallery.galleryId, target.subjectId);
  if (entries.length === 0) throw new ServerError("SUBJECT_NOT_FOUND", `gallery "${gallery.galleryId}" has no template of subject "${target.subjectId}"`);
  const byBlock = entriesByBlock(entries);
  const blocks = [...byBlock.values()].map(blockTask);
  const { encoding, products } = await answer(comparing, question, { blocks, location, signal }, (search) => scans.compare(search));
  for await (const product of products) yield { gallery, encoding, product, entries: byBlock.get(product.block) ?? [] };
  checkUnchanged(store, gallery, location);
}

/** Compares a probe with every block of a gallery. */
export async function* searchGallery(comparing: Comparing, messages: AsyncIterable<ProbeMessage<SearchTarget>>, signal: AbortSignal): AsyncGenerator<SearchStep> {
  const { store, scans, probes } = comparing;
  using holding = probes.open();
  const question = await receive(comparing, messages, holding);
  const { gallery } = question;
  const location = store.readerLocation(gallery.galleryId);
  const { blocks, revision } = await store.listBlocks(gallery.galleryId);
  yield { gallery, revision, answer: undefined };
  const { encoding, products } = await answer(comparing, question, { blocks, location, signal }, (search) => scans.search(search));
  for await (const product of products) yield { gallery, revision, answer: { encoding, product } };
  checkUnchanged(store, gallery, location);
}

/** The question of a stream, once its client has sent all of it. Throws ServerError LIMIT_EXCEEDED for a client that is too slow. */
async function receive<Target extends AnyTarget>(comparing: Comparing, messages: AsyncIterable<ProbeMessage<Target>>, holding: Holding): Promise<Question<Target>> {
  const patience = new Patience(PACE);
  patience.interrupt = holding.signal;
  let question: Question<Target> | undefined;
  await forEachItem(patiently(messages, patience, tooSlow), async ({ target, pieces }) => {
    if (question === undefined) question = questionOf(comparing, required("target", target), holding);
    else absent("target", target);
    const before = holding.bytes;
    await question.probe.pieces.add(pieces);
    patience.earn(holding.bytes - before);
  });
  const received = required("target", question);
  holding.settle();
  return received;
}

function tooSlow(): ServerError {
  const { graceMs, bytesPerSecond } = PACE;
  const expected = `expected all of it without a pause of ${graceMs / 1000} s, and ${bytesPerSecond} bytes a second at the least`;
  const message = `the probe came too slowly: ${expected}; send it again, in smaller messages on a slow link`;
  return new ServerError("LIMIT_EXCEEDED", message, { retryAfterMs: RETRY_AFTER_MS });
}

function questionOf<Target extends AnyTarget>(comparing: Comparing, target: Target, holding: Holding): Question<Target> {
  const { galleryId, space } = readAll({
    galleryId: () => resourceId("target.gallery_id", target.galleryId),
    space: () => embeddingSpace("target.space", target.space),
    subjectId: () => target.subjectId !== undefined && resourceId("target.subject_id", target.subjectId),
    replyEncoding: () => { anyReplyEncoding("target.reply_encoding", target.replyEncoding); },
  });
  const gallery = comparing.store.getGallery(galleryId);
  const { probe } = readAll({
    space: () => { sameSpace("target.space", space, gallery.space); },
    probe: () => probeFor(comparing, { gallery, target, holding }),
  });
  return { target, gallery, probe };
}

interface NewProbe {
  readonly gallery: StoredGallery;
  readonly target: AnyTarget;
  readonly holding: Holding;
}

function probeFor({ store, matchers }: Comparing, { gallery, target, holding }: NewProbe): SchemeProbe {
  const { contextId, space, strides } = gallery;
  const { scheme } = store.getContext(contextId);
  const field = "target.reply_encoding";
  if (scheme.kind === "pairwise") {
    const context = store.contextLocation(contextId);
    const reader = pairwisePieces(matchers.pairwise, gallery, { context, scheme });
    const pieces = new ProbeAssembly(reader, holding, space.dimension, strides);
    return { kind: "pairwise", context, pieces, encoding: pairwiseReplyEncoding(field, target.replyEncoding) };
  }
  const { parameterSet } = scheme;
  const pieces = new ProbeAssembly(packedPieces(matchers.packed, gallery, parameterSet), holding, encodedDimension(space), strides);
  return { kind: "packed", parameterSet, pieces, encoding: replyEncoding(field, target.replyEncoding) };
}

/** Compares the probe as the scheme does it. Throws ServerError PROBE_INCOMPLETE, and what is wrong with a piece. */
async function answer(
  { matchers }: Comparing,
  { gallery, probe }: Question<AnyTarget>,
  where: Pick<Search, "blocks" | "location" | "signal">,
  scan: (search: Search) => AsyncIterable<BlockAnswer>,
): Promise<Answers> {
  if (probe.kind === "pairwise") {
    if (where.blocks.length === 0) return { encoding: "SEAL", products: nothing() };
    const [piece] = probe.pieces.complete(gallery.space.dimension);
    const encoding = probe.encoding ?? piece!.encoding;
    return { encoding, products: await scanPairwise(matchers.pairwise, gallery.space, piece!, { context: probe.context, encoding, ...where }) };
  }
  const { parameterSet, encoding } = probe;
  const probes = new Map<number, PreparedProbe>();
  for (const stride of new Set(where.blocks.map((block) => block.stride))) {
    probes.set(stride, await matchers.packed.prepareProbe(parameterSet, probe.pieces.complete(stride)));
  }
  return { encoding, products: scan({ parameterSet, probes, encoding, ...where }) };
}

async function* nothing(): AsyncGenerator<BlockAnswer> {
  // A gallery without templates has no products.
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
