import { encodedDimension, looseLayout } from "@veilface/fhe";
import type { ParameterSetName } from "@veilface/fhe";
import type { EnrollTemplatesRequest, LooseTemplate } from "@veilface/proto";
import { ServerError } from "./errors.ts";
import type { Matcher } from "./matcher.ts";
import type { GalleryStore, RosterEntry, StoredGallery, LooseTemplate as StoredTemplate } from "./store/gallery-store.ts";
import { failingOn, mapOrdered } from "./streams.ts";
import { ciphertext, embeddingSpace, fieldInvalid, resourceId, sameSpace } from "./validate.ts";

/** Templates of one stream that may be under way between receipt and disk: enough to fill a commit, at most 2 MiB of memory. */
const IN_FLIGHT = 32;

/**
 * Stores a stream of templates; yields each roster entry once it is durable, in the order received. The first message must be the
 * target. Ends with the first refusal, or with SHUTTING_DOWN once `stopping` aborts, after the acknowledgements of what came before it;
 * what came after it is not stored.
 */
export async function* enroll(store: GalleryStore, matcher: Matcher, requests: AsyncIterable<EnrollTemplatesRequest>, stopping: AbortSignal): AsyncGenerator<RosterEntry> {
  const messages = failingOn(requests, stopping, shuttingDown);
  const first = await messages.next();
  const gallery = targetOf(store, first.done === true ? undefined : first.value);
  const { parameterSet } = store.getContext(gallery.contextId);
  // Checks run side by side, writes begin in the order received: of two templates of one id the later one stays.
  let checkedSoFar: Promise<void> = Promise.resolve();
  yield* mapOrdered(messages, IN_FLIGHT, async (request) => {
    const checked = check(store, matcher, gallery, parameterSet, request);
    checkedSoFar = Promise.all([checkedSoFar, checked]).then(() => undefined);
    await checkedSoFar;
    return store.putLooseTemplate(gallery.galleryId, await checked);
  });
}

function shuttingDown(): ServerError {
  return new ServerError("SHUTTING_DOWN", "the server is shutting down: send what was not acknowledged again, here later or elsewhere");
}

async function check(store: GalleryStore, matcher: Matcher, gallery: StoredGallery, parameterSet: ParameterSetName, request: EnrollTemplatesRequest): Promise<StoredTemplate> {
  if (request.message?.$case !== "template") throw fieldInvalid("message", "must be a template after the first message");
  const template = request.message.value;
  const layout = looseLayout(encodedDimension(gallery.space));
  const { templateId, subjectId } = idsOf(template);
  const sealed = ciphertext("template.ciphertext", template.ciphertext, gallery.contextId);
  const placement = store.reservePlacement(gallery.galleryId, templateId, subjectId, layout.stride, layout.slots);
  const residues = await matcher.prepareTemplate(parameterSet, sealed, layout, placement.slot);
  return { templateId, subjectId, placement, residues };
}

function targetOf(store: GalleryStore, request: EnrollTemplatesRequest | undefined): StoredGallery {
  if (request?.message?.$case !== "target") throw fieldInvalid("target", "is required in the first message");
  const target = request.message.value;
  const gallery = store.getGallery(resourceId("target.gallery_id", target.galleryId));
  sameSpace("target.space", embeddingSpace("target.space", target.space), gallery.space);
  return gallery;
}

function idsOf(template: LooseTemplate): { templateId: string; subjectId: string } {
  return {
    templateId: resourceId("template.template_id", template.templateId),
    subjectId: resourceId("template.subject_id", template.subjectId),
  };
}
