import type { EnrollTemplatesRequest } from "@veilface/proto";
import { enrollmentUnits } from "./enrollment-units.ts";
import type { BlockUnit, EnrollmentUnit, TemplateUnit } from "./enrollment-units.ts";
import { ServerError, tooSlow } from "../errors.ts";
import { IDLE_BETWEEN_UNITS_MS, PACE } from "../limits.ts";
import { schemeOf } from "./gallery-scheme.ts";
import type { GalleryScheme, Serving } from "./gallery-scheme.ts";
import { readAll } from "./read-all.ts";
import type { GalleryStore, PackedBlockEntry, RosterEntry, Stored, StoredGallery } from "../store/gallery-store.ts";
import { Patience, failingOn, mapOrdered, patiently } from "../streams.ts";
import { embeddingSpace, resourceId, sameSpace } from "./from-wire.ts";
import { fieldInvalid } from "../errors.ts";
import { StreamHoldings } from "./waiting-bytes.ts";
import type { WaitingBytes } from "./waiting-bytes.ts";

/**
 * Ciphertexts of one stream that may be under way between receipt and disk, each 60 KB (two primes): enough to receive
 * a block while another is written.
 */
const IN_FLIGHT = 384;
/** Templates enrolled alone are acknowledged sooner the fewer share a commit, and 32 fill one (2 MiB). */
const TEMPLATES_IN_FLIGHT = 32;

/** What became durable. */
export type Enrolled = ({ readonly entry: RosterEntry } | { readonly block: PackedBlockEntry }) &
  Pick<Stored<unknown>, "struckTemplateIds">;

/** Where templates go. */
interface Destination {
  readonly store: GalleryStore;
  readonly gallery: StoredGallery;
  /** The gallery's number in the store when the stream began. */
  readonly number: number;
  readonly scheme: GalleryScheme;
}

/** What enrollments are made with. */
interface Enrolling extends Serving {
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
 * Stores a stream of templates and packed blocks; yields each once it is durable, in the order received. The first
 * message must be the target. Ends with the first refusal, with TOO_SLOW if the client is too slow, or with
 * SHUTTING_DOWN once `stopping` aborts, after the acknowledgements of what came before it.
 */
export async function* enroll(
  enrolling: Enrolling,
  requests: AsyncIterable<EnrollTemplatesRequest>,
): AsyncGenerator<Enrolled> {
  const { store, units, stopping } = enrolling;
  using holdings = new StreamHoldings(units);
  const patience = new Patience(PACE);
  const messages = failingOn(patiently(requests, patience, cameTooSlowly), stopping, shuttingDown);
  const gallery = await targetOf(store, messages);
  patience.renew(IDLE_BETWEEN_UNITS_MS);
  const incoming = { messages, patience, holdings };
  const { gallery: number } = store.readerLocation(gallery.galleryId);
  yield* enrollInto(incoming, { store, gallery, number, scheme: schemeOf(enrolling, gallery) });
}

async function* enrollInto(incoming: Incoming, destination: Destination): AsyncGenerator<Enrolled> {
  const { gallery, scheme } = destination;
  // Checks run side by side, writes begin in the order received: of two templates of one id the later one stays.
  let checkedSoFar: Promise<void> = Promise.resolve();
  const put = async (unit: EnrollmentUnit): Promise<Enrolled> => {
    const write = unit.kind === "template" ? checkTemplate(destination, unit) : checkBlock(destination, unit);
    checkedSoFar = Promise.all([checkedSoFar, write]).then(() => undefined);
    await checkedSoFar;
    const enrolled = await (await write)();
    incoming.holdings.close(unit.holding);
    return enrolled;
  };
  const units = enrollmentUnits({ ...incoming, gallery, reader: scheme.reader });
  yield* mapOrdered(units, { limit: IN_FLIGHT, weigh: weight }, put);
}

function weight(unit: EnrollmentUnit): number {
  return unit.kind === "template" ? IN_FLIGHT / TEMPLATES_IN_FLIGHT : unit.pieces.length;
}

function shuttingDown(): ServerError {
  return new ServerError(
    "SHUTTING_DOWN",
    "the server is shutting down: send what was not acknowledged again, here later or elsewhere",
  );
}

function cameTooSlowly(): ServerError {
  const [first, between] = [PACE.graceMs, IDLE_BETWEEN_UNITS_MS].map((ms) => ms / 1000);
  const expected = `expected the target and the pieces of a block without a pause of ${first} s and at ${PACE.bytesPerSecond} bytes a second at the least`;
  const message = `the client was silent, or too slow: ${expected}, and the next template or block within ${between} s; send what was not acknowledged again`;
  return tooSlow(message);
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

/** Checks a template; what it resolves with writes it. */
async function checkTemplate(
  { store, gallery, scheme }: Destination,
  unit: TemplateUnit,
): Promise<() => Promise<Enrolled>> {
  const { templateId, subjectId } = unit;
  const form = { stride: scheme.looseStride, slots: scheme.looseSlots };
  const placement = store.reservePlacement(gallery.galleryId, { templateId, subjectId }, form);
  const residues = await scheme.prepareTemplate(unit.ciphertext, placement.slot);
  return () => store.putLooseTemplate(gallery.galleryId, { templateId, subjectId, placement, residues });
}

/** Checks a block; what it resolves with writes it. */
async function checkBlock(
  { store, gallery, number, scheme }: Destination,
  { stride, slots, pieces }: BlockUnit,
): Promise<() => Promise<Enrolled>> {
  const chunks = await scheme.prepareBlock(pieces);
  return async () => {
    const put = await store.putPackedBlock(gallery.galleryId, { gallery: number, stride, slots, chunks });
    return { block: put.entry, struckTemplateIds: put.struckTemplateIds };
  };
}
