import { encodedDimension, looseLayout, parameterSet } from "@veilface/fhe";
import type { CiphertextEncoding } from "@veilface/fhe";
import type { EnrollTemplatesRequest } from "@veilface/proto";
import { enrollmentUnits } from "./enrollment-units.ts";
import type { BlockUnit, EnrollmentUnit, TemplateUnit } from "./enrollment-units.ts";
import { ServerError } from "./errors.ts";
import type { Matcher } from "./matcher.ts";
import type { Matchers } from "./matchers.ts";
import type { PairwiseMatcher } from "./pairwise/pairwise-matcher.ts";
import { readAll } from "./read-all.ts";
import type { PairwiseEncoding, SealedBytes } from "./sealed-bytes.ts";
import type { ContextLocation, GalleryStore, PackedBlockEntry, PackedScheme, RosterEntry, StoredGallery } from "./store/gallery-store.ts";
import { cutChunks } from "./store/packed-chunks.ts";
import { failingOn, mapOrdered } from "./streams.ts";
import { ciphertext, embeddingSpace, fieldInvalid, pairwiseCiphertext, resourceId, sameSpace } from "./validate.ts";
import type { CheckCiphertext } from "./validate.ts";

/**
 * Ciphertexts of one stream that may be under way between receipt and disk, each 60 KB (two primes): enough to receive a block while
 * another is written.
 */
const IN_FLIGHT = 384;
/** Templates enrolled alone are acknowledged sooner the fewer share a commit, and 32 fill one (2 MiB). */
const TEMPLATES_IN_FLIGHT = 32;

/** What became durable. */
export type Enrolled = { readonly entry: RosterEntry } | { readonly block: PackedBlockEntry };

/** Where templates go, and how the ciphertexts of the gallery's scheme become what is stored. */
interface Destination<Encoding> {
  readonly gallery: StoredGallery;
  /** The gallery's number in the store when the stream began. */
  readonly number: number;
  /** Of templates enrolled alone. */
  readonly stride: number;
  readonly slots: number;
  readonly check: CheckCiphertext<Encoding>;
  readonly prepareTemplate: (ciphertext: SealedBytes<Encoding>, slot: number) => Promise<Uint8Array>;
  readonly prepareBlock: (pieces: readonly SealedBytes<Encoding>[]) => Promise<Uint8Array[]>;
}

/**
 * Stores a stream of templates and packed blocks; yields each once it is durable, in the order received. The first message must be the
 * target. Ends with the first refusal, or with SHUTTING_DOWN once `stopping` aborts, after the acknowledgements of what came before it.
 */
export async function* enroll(store: GalleryStore, matchers: Matchers, requests: AsyncIterable<EnrollTemplatesRequest>, stopping: AbortSignal): AsyncGenerator<Enrolled> {
  const messages = failingOn(requests, stopping, shuttingDown);
  const first = await messages.next();
  const gallery = galleryOf(store, first.done === true ? undefined : first.value);
  const { number, scheme } = { number: store.readerLocation(gallery.galleryId).gallery, ...store.getContext(gallery.contextId) };
  if (scheme.kind === "packed") yield* enrollInto(store, messages, packedDestination(matchers.packed, gallery, number, scheme));
  else yield* enrollInto(store, messages, pairwiseDestination(matchers.pairwise, gallery, number, store.contextLocation(gallery.contextId)));
}

async function* enrollInto<Encoding>(store: GalleryStore, messages: AsyncIterable<EnrollTemplatesRequest>, destination: Destination<Encoding>): AsyncGenerator<Enrolled> {
  // Checks run side by side, writes begin in the order received: of two templates of one id the later one stays.
  let checkedSoFar: Promise<void> = Promise.resolve();
  const put = async (unit: EnrollmentUnit<Encoding>): Promise<Enrolled> => {
    const write = unit.kind === "template" ? checkTemplate(store, destination, unit) : checkBlock(store, destination, unit);
    checkedSoFar = Promise.all([checkedSoFar, write]).then(() => undefined);
    await checkedSoFar;
    return (await write)();
  };
  yield* mapOrdered(enrollmentUnits(messages, destination.gallery, destination.check), IN_FLIGHT, put, weight);
}

function weight(unit: EnrollmentUnit<unknown>): number {
  return unit.kind === "template" ? IN_FLIGHT / TEMPLATES_IN_FLIGHT : unit.pieces.length;
}

function shuttingDown(): ServerError {
  return new ServerError("SHUTTING_DOWN", "the server is shutting down: send what was not acknowledged again, here later or elsewhere");
}

function galleryOf(store: GalleryStore, request: EnrollTemplatesRequest | undefined): StoredGallery {
  if (request?.message?.$case !== "target") throw fieldInvalid("target", "is required in the first message");
  const target = request.message.value;
  const { galleryId, space } = readAll({
    galleryId: () => resourceId("target.gallery_id", target.galleryId),
    space: () => embeddingSpace("target.space", target.space),
  });
  const gallery = store.getGallery(galleryId);
  sameSpace("target.space", space, gallery.space);
  return gallery;
}

function packedDestination(matcher: Matcher, gallery: StoredGallery, number: number, { parameterSet: name }: PackedScheme): Destination<CiphertextEncoding> {
  const layout = looseLayout(encodedDimension(gallery.space));
  return {
    gallery, number, stride: layout.stride, slots: layout.slots, check: ciphertext,
    prepareTemplate: (template, slot) => matcher.prepareTemplate(name, template, layout, slot),
    prepareBlock: async (pieces) => cutChunks(await matcher.prepareBlock(name, pieces), parameterSet(name).dataPrimes.length),
  };
}

/** A template is a block of its own: products of the pairwise scheme take one template each. */
function pairwiseDestination(matcher: PairwiseMatcher, gallery: StoredGallery, number: number, context: ContextLocation): Destination<PairwiseEncoding> {
  const { dimension } = gallery.space;
  return {
    gallery, number, stride: dimension, slots: 1, check: pairwiseCiphertext,
    prepareTemplate: (template) => matcher.prepare({ context, ciphertext: template, dimension }),
    // Unreachable: a block's head is refused where the gallery has no packed stride.
    prepareBlock: () => Promise.reject(fieldInvalid("block", "is of the packed scheme", "SCHEME_MISMATCH")),
  };
}

/** Checks a template; what it resolves with writes it. */
async function checkTemplate<Encoding>(store: GalleryStore, { gallery, stride, slots, prepareTemplate }: Destination<Encoding>, unit: TemplateUnit<Encoding>): Promise<() => Promise<Enrolled>> {
  const { templateId, subjectId } = unit;
  const placement = store.reservePlacement(gallery.galleryId, templateId, subjectId, stride, slots);
  const residues = await prepareTemplate(unit.ciphertext, placement.slot);
  return async () => ({ entry: await store.putLooseTemplate(gallery.galleryId, { templateId, subjectId, placement, residues }) });
}

/** Checks a block; what it resolves with writes it. */
async function checkBlock<Encoding>(store: GalleryStore, { gallery, number, prepareBlock }: Destination<Encoding>, { stride, slots, pieces }: BlockUnit<Encoding>): Promise<() => Promise<Enrolled>> {
  const chunks = await prepareBlock(pieces);
  return async () => ({ block: await store.putPackedBlock(gallery.galleryId, { gallery: number, stride, slots, chunks }) });
}
