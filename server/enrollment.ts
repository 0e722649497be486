import { encodedDimension, looseLayout, parameterSet } from "@veilface/fhe";
import type { CiphertextEncoding } from "@veilface/fhe";
import type { EnrollTemplatesRequest } from "@veilface/proto";
import { enrollmentUnits } from "./enrollment-units.ts";
import type { BlockUnit, EnrollmentUnit, TemplateUnit } from "./enrollment-units.ts";
import { ServerError } from "./errors.ts";
import { IDLE_BETWEEN_UNITS_MS, PACE, RETRY_AFTER_MS } from "./limits.ts";
import type { Matcher } from "./matcher.ts";
import type { Matchers } from "./matchers.ts";
import type { PairwiseMatcher } from "./pairwise/pairwise-matcher.ts";
import { packedPieces, pairwisePieces } from "./piece-reader.ts";
import type { PieceReader } from "./piece-reader.ts";
import { readAll } from "./read-all.ts";
import type { PairwiseEncoding, SealedBytes } from "./sealed-bytes.ts";
import type { GalleryStore, PackedBlockEntry, PackedScheme, PairwiseScheme, RosterEntry, Stored, StoredGallery } from "./store/gallery-store.ts";
import { cutChunks } from "./store/packed-chunks.ts";
import { Patience, failingOn, mapOrdered, patiently } from "./streams.ts";
import { embeddingSpace, fieldInvalid, resourceId, sameSpace } from "./validate.ts";
import { StreamHoldings } from "./waiting-bytes.ts";
import type { WaitingBytes } from "./waiting-bytes.ts";

/**
 * Ciphertexts of one stream that may be under way between receipt and disk, each 60 KB (two primes): enough to receive a block while
 * another is written.
 */
const IN_FLIGHT = 384;
/** Templates enrolled alone are acknowledged sooner the fewer share a commit, and 32 fill one (2 MiB). */
const TEMPLATES_IN_FLIGHT = 32;

/** What became durable. */
export type Enrolled = ({ readonly entry: RosterEntry } | { readonly block: PackedBlockEntry }) & Pick<Stored<unknown>, "struckTemplateIds">;

/** Where templates go, and how the ciphertexts of the gallery's scheme become what is stored. */
interface Destination<Encoding> {
  readonly gallery: StoredGallery;
  /** The gallery's number in the store when the stream began. */
  readonly number: number;
  /** Of templates enrolled alone. */
  readonly stride: number;
  readonly slots: number;
  readonly reader: PieceReader<Encoding>;
  readonly prepareTemplate: (ciphertext: SealedBytes<Encoding>, slot: number) => Promise<Uint8Array>;
  readonly prepareBlock: (pieces: readonly SealedBytes<Encoding>[]) => Promise<Uint8Array[]>;
}

/** What enrollments are made with. */
export interface Enrolling {
  readonly store: GalleryStore;
  readonly matchers: Matchers;
  /** Blocks and templates that wait for the rest of them, or for the disk. */
  readonly units: WaitingBytes;
  /** Ends every enrollment once it aborts. */
  readonly stopping: AbortSignal;
}

/** The messages of a stream, and how long it still waits for them. */
interface Incoming {
  readonly messages: AsyncIterableIterator<EnrollTemplatesRequest>;
  readonly patience: Patience;
  readonly holdings: StreamHoldings;
}

/**
 * Stores a stream of templates and packed blocks; yields each once it is durable, in the order received. The first message must be the
 * target. Ends with the first refusal, with LIMIT_EXCEEDED if the client is too slow, or with SHUTTING_DOWN once `stopping` aborts,
 * after the acknowledgements of what came before it.
 */
export async function* enroll({ store, matchers, units, stopping }: Enrolling, requests: AsyncIterable<EnrollTemplatesRequest>): AsyncGenerator<Enrolled> {
  using holdings = new StreamHoldings(units);
  const patience = new Patience(PACE);
  const messages = failingOn(patiently(requests, patience, tooSlow), stopping, shuttingDown);
  const gallery = await targetOf(store, messages);
  patience.renew(IDLE_BETWEEN_UNITS_MS);
  const incoming = { messages, patience, holdings };
  const { number, scheme } = { number: store.readerLocation(gallery.galleryId).gallery, ...store.getContext(gallery.contextId) };
  if (scheme.kind === "packed") yield* enrollInto(store, incoming, packedDestination(matchers.packed, gallery, number, scheme));
  else yield* enrollInto(store, incoming, pairwiseDestination(store, matchers.pairwise, { gallery, number, scheme }));
}

async function* enrollInto<Encoding>(store: GalleryStore, incoming: Incoming, destination: Destination<Encoding>): AsyncGenerator<Enrolled> {
  const { gallery, reader } = destination;
  // Checks run side by side, writes begin in the order received: of two templates of one id the later one stays.
  let checkedSoFar: Promise<void> = Promise.resolve();
  const put = async (unit: EnrollmentUnit<Encoding>): Promise<Enrolled> => {
    const write = unit.kind === "template" ? checkTemplate(store, destination, unit) : checkBlock(store, destination, unit);
    checkedSoFar = Promise.all([checkedSoFar, write]).then(() => undefined);
    await checkedSoFar;
    const enrolled = await (await write)();
    incoming.holdings.close(unit.holding);
    return enrolled;
  };
  yield* mapOrdered(enrollmentUnits({ ...incoming, gallery, reader }), IN_FLIGHT, put, weight);
}

function weight(unit: EnrollmentUnit<unknown>): number {
  return unit.kind === "template" ? IN_FLIGHT / TEMPLATES_IN_FLIGHT : unit.pieces.length;
}

function shuttingDown(): ServerError {
  return new ServerError("SHUTTING_DOWN", "the server is shutting down: send what was not acknowledged again, here later or elsewhere");
}

function tooSlow(): ServerError {
  const [first, between] = [PACE.graceMs, IDLE_BETWEEN_UNITS_MS].map((ms) => ms / 1000);
  const expected = `expected the target and the pieces of a block without a pause of ${first} s and at ${PACE.bytesPerSecond} bytes a second at the least`;
  const message = `the client was silent, or too slow: ${expected}, and the next template or block within ${between} s; send what was not acknowledged again`;
  return new ServerError("LIMIT_EXCEEDED", message, { retryAfterMs: RETRY_AFTER_MS });
}

// A frame of its own, so that the message is not held for as long as the stream lasts.
async function targetOf(store: GalleryStore, messages: AsyncIterator<EnrollTemplatesRequest>): Promise<StoredGallery> {
  const first = await messages.next();
  return galleryOf(store, first.done === true ? undefined : first.value);
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
    gallery, number, stride: layout.stride, slots: layout.slots, reader: packedPieces(matcher, gallery, name),
    prepareTemplate: (template, slot) => matcher.prepareTemplate(name, template, layout, slot),
    prepareBlock: async (pieces) => cutChunks(await matcher.prepareBlock(name, pieces), parameterSet(name).dataPrimes.length),
  };
}

/** A gallery of the pairwise scheme. */
interface PairwiseGallery {
  readonly gallery: StoredGallery;
  readonly number: number;
  readonly scheme: PairwiseScheme;
}

/** A template is a block of its own: products of the pairwise scheme take one template each. */
function pairwiseDestination(store: GalleryStore, matcher: PairwiseMatcher, { gallery, number, scheme }: PairwiseGallery): Destination<PairwiseEncoding> {
  const { dimension } = gallery.space;
  const context = store.contextLocation(gallery.contextId);
  return {
    gallery, number, stride: dimension, slots: 1, reader: pairwisePieces(matcher, gallery, { context, scheme }),
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
  return () => store.putLooseTemplate(gallery.galleryId, { templateId, subjectId, placement, residues });
}

/** Checks a block; what it resolves with writes it. */
async function checkBlock<Encoding>(store: GalleryStore, { gallery, number, prepareBlock }: Destination<Encoding>, { stride, slots, pieces }: BlockUnit<Encoding>): Promise<() => Promise<Enrolled>> {
  const chunks = await prepareBlock(pieces);
  return async () => {
    const { entry: block, struckTemplateIds } = await store.putPackedBlock(gallery.galleryId, { gallery: number, stride, slots, chunks });
    return { block, struckTemplateIds };
  };
}
