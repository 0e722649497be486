import { encodedDimension } from "@veilface/fhe";
import type { CiphertextEncoding, ParameterSetName } from "@veilface/fhe";
import type { CompareTarget, EmbeddingSpace, ProbePiece, SearchTarget } from "@veilface/proto";
import { ServerError } from "./errors.ts";
import type { BlockTask, PreparedProbe } from "./matcher-task.ts";
import type { Matchers } from "./matchers.ts";
import { scanPairwise } from "./pairwise/gallery-scan.ts";
import type { PairwiseAnswer } from "./pairwise/pairwise-task.ts";
import { ProbeAssembly } from "./probe.ts";
import type { PairwiseEncoding } from "./sealed-bytes.ts";
import type { Product, Search, SharedScans } from "./shared-scans.ts";
import type { ContextLocation, GalleryStore, ReaderLocation, RosterEntry, StoredGallery } from "./store/gallery-store.ts";
import { absent, ciphertext, embeddingSpace, pairwiseCiphertext, pairwiseReplyEncoding, replyEncoding, required, resourceId, sameSpace } from "./validate.ts";

/** What comparisons are made with. */
export interface Comparing {
  readonly store: GalleryStore;
  readonly matchers: Matchers;
  readonly scans: SharedScans;
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
  readonly products: AsyncIterable<PairwiseAnswer>;
}

/** The product with one block of a subject's templates, and which of its slots are theirs. */
export interface Comparison {
  readonly gallery: StoredGallery;
  readonly encoding: Answers["encoding"];
  readonly product: PairwiseAnswer;
  readonly entries: readonly RosterEntry[];
}

/** A step of a search: first the revision alone, then products. */
export interface SearchStep {
  readonly gallery: StoredGallery;
  readonly revision: number;
  readonly answer: { readonly encoding: Answers["encoding"]; readonly product: PairwiseAnswer } | undefined;
}

/** Compares a probe with the live templates of one subject, block by block. Throws ServerError SUBJECT_NOT_FOUND if there are none. */
export async function* compareTemplates(comparing: Comparing, messages: AsyncIterable<ProbeMessage<CompareTarget>>, signal: AbortSignal): AsyncGenerator<Comparison> {
  const { store, scans } = comparing;
  const question = await receive(store, messages);
  const { gallery, target } = question;
  const entries = store.entriesOfSubject(gallery.galleryId, resourceId("target.subject_id", target.subjectId));
  if (entries.length === 0) throw new ServerError("SUBJECT_NOT_FOUND", `gallery "${gallery.galleryId}" has no template of subject "${target.subjectId}"`);
  const byBlock = entriesByBlock(entries);
  const blocks = [...byBlock.values()].map(blockTask);
  const location = store.readerLocation(gallery.galleryId);
  const { encoding, products } = await answer(comparing, question, { blocks, location, signal }, (search) => scans.compare(search));
  for await (const product of products) yield { gallery, encoding, product, entries: byBlock.get(product.block) ?? [] };
  checkUnchanged(store, gallery, location);
}

/** Compares a probe with every block of a gallery. */
export async function* searchGallery(comparing: Comparing, messages: AsyncIterable<ProbeMessage<SearchTarget>>, signal: AbortSignal): AsyncGenerator<SearchStep> {
  const { store, scans } = comparing;
  const question = await receive(store, messages);
  const { gallery } = question;
  const { blocks, revision } = store.listBlocks(gallery.galleryId);
  const location = store.readerLocation(gallery.galleryId);
  yield { gallery, revision, answer: undefined };
  const { encoding, products } = await answer(comparing, question, { blocks, location, signal }, (search) => scans.search(search));
  for await (const product of products) yield { gallery, revision, answer: { encoding, product } };
  checkUnchanged(store, gallery, location);
}

async function receive<Target extends AnyTarget>(store: GalleryStore, messages: AsyncIterable<ProbeMessage<Target>>): Promise<Question<Target>> {
  let question: Question<Target> | undefined;
  for await (const { target, pieces } of messages) {
    if (question === undefined) question = questionOf(store, required("target", target));
    else absent("target", target);
    question.probe.pieces.add(pieces);
  }
  return required("target", question);
}

function questionOf<Target extends AnyTarget>(store: GalleryStore, target: Target): Question<Target> {
  const gallery = store.getGallery(resourceId("target.gallery_id", target.galleryId));
  sameSpace("target.space", embeddingSpace("target.space", target.space), gallery.space);
  return { target, gallery, probe: probeFor(store, gallery, target) };
}

function probeFor(store: GalleryStore, { contextId, space, strides }: StoredGallery, target: AnyTarget): SchemeProbe {
  const { scheme } = store.getContext(contextId);
  const field = "target.reply_encoding";
  if (scheme.kind === "pairwise") {
    const pieces = new ProbeAssembly(pairwiseCiphertext, contextId, space.dimension, strides);
    return { kind: "pairwise", context: store.contextLocation(contextId), pieces, encoding: pairwiseReplyEncoding(field, target.replyEncoding) };
  }
  const pieces = new ProbeAssembly(ciphertext, contextId, encodedDimension(space), strides);
  return { kind: "packed", parameterSet: scheme.parameterSet, pieces, encoding: replyEncoding(field, target.replyEncoding) };
}

/** Compares the probe as the scheme does it. Throws ServerError PROBE_INCOMPLETE, and what is wrong with a piece. */
async function answer(
  { matchers }: Comparing,
  { gallery, probe }: Question<AnyTarget>,
  where: Pick<Search, "blocks" | "location" | "signal">,
  scan: (search: Search) => AsyncIterable<Product>,
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

async function* nothing(): AsyncGenerator<Product> {
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
