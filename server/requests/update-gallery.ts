import type { UpdateGalleryRequest } from "@veilface/proto";
import { definedOnly } from "@veilface/proto";
import { fieldInvalid } from "../errors.ts";
import type { GalleryChanges } from "../store/gallery-store.ts";
import { expected } from "./create-gallery.ts";
import { labels, required, resourceId } from "./from-wire.ts";
import { readAll } from "./read-all.ts";

const CHANGEABLE = ["labels", "expected_templates"];

/** The changes of a gallery that were asked for. Throws ServerError FIELD_INVALID. */
export function galleryChanges(request: UpdateGalleryRequest): { galleryId: string; changes: GalleryChanges } {
  const asked = required("gallery", request.gallery);
  const paths = request.updateMask ?? [];
  const {
    galleryId,
    labels: newLabels,
    expectedTemplates,
  } = readAll({
    paths: () => {
      const isKnown = paths.length > 0 && paths.every((path) => CHANGEABLE.includes(path));
      if (!isKnown) throw fieldInvalid("update_mask", `must name what to change: ${CHANGEABLE.join(", ")}`);
    },
    galleryId: () => resourceId("gallery.gallery_id", asked.galleryId),
    labels: () => (paths.includes("labels") ? labels("gallery.labels", asked.labels) : undefined),
    expectedTemplates: () =>
      paths.includes("expected_templates")
        ? expected("gallery.expected_templates", asked.expectedTemplates)
        : undefined,
  });
  return {
    galleryId,
    changes: definedOnly({ labels: newLabels, expectedTemplates }),
  };
}
