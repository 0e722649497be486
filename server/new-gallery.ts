import { chooseStride, encodedDimension, parameterSet } from "@veilface/fhe";
import type { Gallery } from "@veilface/proto";
import type { GalleryStore, NewGallery } from "./store/gallery-store.ts";
import { contextId, embeddingSpace, fieldInvalid, resourceId } from "./validate.ts";

const USUAL_EXPECTED_TEMPLATES = 10_000;
const MOST_EXPECTED_TEMPLATES = 1e9;

/** A gallery as it was asked for, checked, with the stride of its packed blocks chosen where it was left open. */
export function newGallery(store: GalleryStore, asked: Gallery): NewGallery {
  const context = contextId("gallery.context_id", asked.contextId);
  const space = embeddingSpace("gallery.space", asked.space);
  const expectedTemplates = expected(asked.expectedTemplates);
  const dimension = encodedDimension(space);
  if (asked.packedStride < 0 || asked.packedStride > dimension) throw fieldInvalid("gallery.packed_stride", `must be in [1, ${dimension}], or 0 to let the server choose`);
  const set = parameterSet(store.getContext(context).parameterSet);
  return {
    galleryId: resourceId("gallery.gallery_id", asked.galleryId),
    contextId: context,
    space,
    expectedTemplates,
    packedStride: asked.packedStride === 0 ? chooseStride(set, dimension, expectedTemplates) : asked.packedStride,
    draftOf: asked.draftOf === "" ? undefined : resourceId("gallery.draft_of", asked.draftOf),
  };
}

function expected(templates: number): number {
  if (templates < 0 || templates > MOST_EXPECTED_TEMPLATES) throw fieldInvalid("gallery.expected_templates", `must be in [0, ${MOST_EXPECTED_TEMPLATES}]`);
  return templates === 0 ? USUAL_EXPECTED_TEMPLATES : templates;
}
