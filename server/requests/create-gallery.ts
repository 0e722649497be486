import { randomBytes } from "node:crypto";
import { USUAL_TEMPLATES, checkRotationSteps, chooseStride, encodedDimension, parameterSet } from "@veilface/fhe";
import { MAX_EXPECTED_TEMPLATES, MAX_PACKED_DIMENSION, UID_BYTES } from "@veilface/proto";
import type { Gallery } from "@veilface/proto";
import { galleryTask } from "../compute/pairwise/gallery-task.ts";
import { readAll } from "./read-all.ts";
import { inField } from "../compute/envelope.ts";
import type { GalleryStore, ModelSpace, NewGallery, PackedScheme, PairwiseScheme } from "../store/gallery-store.ts";
import { contextId, embeddingSpace, isContextId, labels, resourceId, uid } from "./from-wire.ts";
import { fieldInvalid } from "../errors.ts";

/** A gallery as it was asked for, checked, with the stride of its packed blocks chosen where it was left open. */
export function newGallery(store: GalleryStore, asked: Gallery): NewGallery {
  const scheme = isContextId(asked.contextId) ? store.getContext(asked.contextId).scheme : undefined;
  const space = (): ModelSpace => embeddingSpace("gallery.space", asked.space, scheme && mostDimension(scheme));
  const expectedTemplates = (): number => expected("gallery.expected_templates", asked.expectedTemplates);
  return readAll<NewGallery>({
    contextId: () => contextId("gallery.context_id", asked.contextId),
    galleryId: () => resourceId("gallery.gallery_id", asked.galleryId),
    space,
    expectedTemplates,
    packedStride: () => {
      if (asked.packedStride < 0) throw fieldInvalid("gallery.packed_stride", "must not be negative");
      if (scheme === undefined) return 0;
      return strideOf(scheme, {
        space: space(),
        packedStride: asked.packedStride,
        expectedTemplates: expectedTemplates(),
      });
    },
    draftOf: () => (asked.draftOf === "" ? undefined : resourceId("gallery.draft_of", asked.draftOf)),
    uid: () => (asked.uid.length === 0 ? randomBytes(UID_BYTES) : uid("gallery.uid", asked.uid)),
    labels: () => labels("gallery.labels", asked.labels),
  });
}

function mostDimension(scheme: PackedScheme | PairwiseScheme): number {
  return scheme.kind === "packed" ? MAX_PACKED_DIMENSION : scheme.degree / 2;
}

/** A gallery whose stride is to be chosen. */
interface Unpacked {
  readonly space: ModelSpace;
  /** What was asked for; 0 leaves it to the server. */
  readonly packedStride: number;
  readonly expectedTemplates: number;
}

function strideOf(scheme: PackedScheme | PairwiseScheme, gallery: Unpacked): number {
  return scheme.kind === "packed" ? packedStride(scheme, gallery) : noPackedStride(scheme, gallery);
}

function packedStride(scheme: PackedScheme, { space, packedStride: asked, expectedTemplates }: Unpacked): number {
  const dimension = encodedDimension(space);
  if (asked > dimension)
    throw fieldInvalid("gallery.packed_stride", `must be in [1, ${dimension}], or 0 to let the server choose`);
  return asked === 0 ? chooseStride(parameterSet(scheme.parameterSet), dimension, expectedTemplates) : asked;
}

function noPackedStride(
  { rotationSteps, maxDistance }: PairwiseScheme,
  { space, packedStride: asked }: Unpacked,
): number {
  if (asked !== 0)
    throw fieldInvalid(
      "gallery.packed_stride",
      "must be 0: the pairwise scheme has no packed blocks",
      "SCHEME_MISMATCH",
    );
  inField("gallery.space.dimension", () => {
    checkRotationSteps(rotationSteps, space.dimension);
  });
  const { bound } = galleryTask(space);
  if (bound > maxDistance)
    throw fieldInvalid(
      "gallery.space.norm_bound",
      `allows distances up to ${bound}, but the context's largest is ${maxDistance}`,
    );
  return 0;
}

/** How many templates are expected. */
export function expected(field: string, templates: number): number {
  if (templates < 0 || templates > MAX_EXPECTED_TEMPLATES)
    throw fieldInvalid(field, `must be in [0, ${MAX_EXPECTED_TEMPLATES}]`);
  return templates === 0 ? USUAL_TEMPLATES : templates;
}
