import { encodedDimension, looseLayout } from "@veilface/fhe";
import type { EnrollTemplatesRequest, LooseTemplate } from "@veilface/proto";
import type { Matcher } from "./matcher.ts";
import type { GalleryStore, RosterEntry, StoredGallery } from "./store/gallery-store.ts";
import { mapOrdered } from "./streams.ts";
import { ciphertext, embeddingSpace, fieldInvalid, resourceId, sameSpace } from "./validate.ts";

/** Templates of one stream that may be under way between receipt and disk: enough to fill a commit, at most 2 MiB of memory. */
const IN_FLIGHT = 32;

/**
 * Stores a stream of templates; yields each roster entry once it is durable, in the order received. The first message must be the
 * target. Ends with the first refusal, after the acknowledgements of what came before it.
 */
export async function* enroll(store: GalleryStore, matcher: Matcher, requests: AsyncIterable<EnrollTemplatesRequest>): AsyncGenerator<RosterEntry> {
  const messages = requests[Symbol.asyncIterator]();
  const first = await messages.next();
  const gallery = targetOf(store, first.done === true ? undefined : first.value);
  const { parameterSet } = store.getContext(gallery.contextId);
  yield* mapOrdered({ [Symbol.asyncIterator]: () => messages }, IN_FLIGHT, async (request) => {
    if (request.message?.$case !== "template") throw fieldInvalid("message", "must be a template after the first message");
    const template = request.message.value;
    const layout = looseLayout(encodedDimension(gallery.space));
    const { templateId, subjectId } = idsOf(template);
    const sealed = ciphertext("template.ciphertext", template.ciphertext, gallery.contextId);
    const placement = store.reservePlacement(gallery.galleryId, templateId, subjectId, layout.stride, layout.slots);
    const residues = await matcher.prepareTemplate(parameterSet, sealed, layout, placement.slot);
    return store.putLooseTemplate(gallery.galleryId, { templateId, subjectId, placement, residues });
  });
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
