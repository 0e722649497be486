import { encodedDimension, looseLayout, parameterSet } from "@veilface/fhe";
import type { ParameterSetName } from "@veilface/fhe";
import type { EnrollTemplatesRequest } from "@veilface/proto";
import { enrollmentUnits } from "./enrollment-units.ts";
import type { BlockUnit, EnrollmentUnit, TemplateUnit } from "./enrollment-units.ts";
import { ServerError } from "./errors.ts";
import type { Matcher } from "./matcher.ts";
import type { GalleryStore, PackedBlockEntry, RosterEntry, StoredGallery } from "./store/gallery-store.ts";
import { cutChunks } from "./store/packed-chunks.ts";
import { failingOn, mapOrdered } from "./streams.ts";
import { embeddingSpace, fieldInvalid, resourceId, sameSpace } from "./validate.ts";

/**
 * Ciphertexts of one stream that may be under way between receipt and disk, each 60 KB (two primes): enough to receive a block while
 * another is written.
 */
const IN_FLIGHT = 384;
/** Templates enrolled alone are acknowledged sooner the fewer share a commit, and 32 fill one (2 MiB). */
const TEMPLATES_IN_FLIGHT = 32;

/** What became durable. */
export type Enrolled = { readonly entry: RosterEntry } | { readonly block: PackedBlockEntry };

/** Where templates go, and how their ciphertexts are read. */
interface Destination {
  readonly gallery: StoredGallery;
  /** The gallery's number in the store when the stream began. */
  readonly number: number;
  readonly parameterSet: ParameterSetName;
}

/**
 * Stores a stream of templates and packed blocks; yields each once it is durable, in the order received. The first message must be the
 * target. Ends with the first refusal, or with SHUTTING_DOWN once `stopping` aborts, after the acknowledgements of what came before it.
 */
export async function* enroll(store: GalleryStore, matcher: Matcher, requests: AsyncIterable<EnrollTemplatesRequest>, stopping: AbortSignal): AsyncGenerator<Enrolled> {
  const messages = failingOn(requests, stopping, shuttingDown);
  const first = await messages.next();
  const destination = destinationOf(store, first.done === true ? undefined : first.value);
  // Checks run side by side, writes begin in the order received: of two templates of one id the later one stays.
  let checkedSoFar: Promise<void> = Promise.resolve();
  const put = async (unit: EnrollmentUnit): Promise<Enrolled> => {
    const write = unit.kind === "template" ? checkTemplate(store, matcher, destination, unit) : checkBlock(store, matcher, destination, unit);
    checkedSoFar = Promise.all([checkedSoFar, write]).then(() => undefined);
    await checkedSoFar;
    return (await write)();
  };
  yield* mapOrdered(enrollmentUnits(messages, destination.gallery), IN_FLIGHT, put, weight);
}

function weight(unit: EnrollmentUnit): number {
  return unit.kind === "template" ? IN_FLIGHT / TEMPLATES_IN_FLIGHT : unit.pieces.length;
}

function shuttingDown(): ServerError {
  return new ServerError("SHUTTING_DOWN", "the server is shutting down: send what was not acknowledged again, here later or elsewhere");
}

function destinationOf(store: GalleryStore, request: EnrollTemplatesRequest | undefined): Destination {
  if (request?.message?.$case !== "target") throw fieldInvalid("target", "is required in the first message");
  const target = request.message.value;
  const gallery = store.getGallery(resourceId("target.gallery_id", target.galleryId));
  sameSpace("target.space", embeddingSpace("target.space", target.space), gallery.space);
  return { gallery, number: store.readerLocation(gallery.galleryId).gallery, parameterSet: store.getContext(gallery.contextId).parameterSet };
}

/** Checks a template; what it resolves with writes it. */
async function checkTemplate(store: GalleryStore, matcher: Matcher, { gallery, parameterSet }: Destination, unit: TemplateUnit): Promise<() => Promise<Enrolled>> {
  const { templateId, subjectId, ciphertext } = unit;
  const layout = looseLayout(encodedDimension(gallery.space));
  const placement = store.reservePlacement(gallery.galleryId, templateId, subjectId, layout.stride, layout.slots);
  const residues = await matcher.prepareTemplate(parameterSet, ciphertext, layout, placement.slot);
  return async () => ({ entry: await store.putLooseTemplate(gallery.galleryId, { templateId, subjectId, placement, residues }) });
}

/** Checks a block; what it resolves with writes it. */
async function checkBlock(store: GalleryStore, matcher: Matcher, { gallery, number, parameterSet: name }: Destination, unit: BlockUnit): Promise<() => Promise<Enrolled>> {
  const { stride, slots, pieces } = unit;
  const tiles = await matcher.prepareBlock(name, pieces);
  const chunks = cutChunks(tiles, parameterSet(name).dataPrimes.length);
  return async () => ({ block: await store.putPackedBlock(gallery.galleryId, { gallery: number, stride, slots, chunks }) });
}
