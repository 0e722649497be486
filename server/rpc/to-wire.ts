import type { CiphertextEncoding } from "@veilface/fhe";
import { CIPHERTEXT_ENCODINGS, METRICS, PARAMETER_SETS, errorReasonOf } from "@veilface/proto";
import * as wire from "@veilface/proto";
import type { BlockAnswer } from "../compute/block-answer.ts";
import type { Enrolled } from "../requests/enroll-templates.ts";
import type { CompareStep } from "../requests/compare-templates.ts";
import type { ReadStep } from "../requests/read-templates.ts";
import type { SearchStep } from "../requests/search-gallery.ts";
import type { PairwiseEncoding, Envelope } from "../compute/envelope.ts";
import type {
  DeletedTemplates,
  PackedScheme,
  PairwiseScheme,
  RosterEntry,
  StoredContext,
  StoredGallery,
} from "../store/gallery-store.ts";

const COMPARED = {
  ciphertext: undefined,
  identical: false,
  refused: wire.ErrorReason.ERROR_REASON_UNSPECIFIED,
  damagedSlots: [],
};

export function contextToWire({ contextId, scheme, createTime }: StoredContext): wire.Context {
  return { contextId, scheme: schemeToWire(scheme), createTime };
}

function schemeToWire(scheme: PackedScheme | PairwiseScheme): wire.Context["scheme"] {
  if (scheme.kind === "packed")
    return {
      $case: "packed",
      value: { parameterSet: PARAMETER_SETS.toWire(scheme.parameterSet), keyId: scheme.keyId },
    };
  const {
    parameters: encryptionParameters,
    scale,
    degree: polyModulusDegree,
    modulusBits,
    rotationSteps,
    maxDimension,
    maxDistance,
  } = scheme;
  const lists = { coeffModulusBits: [...modulusBits], rotationSteps: [...rotationSteps] };
  const errors = { expectedError: scheme.expectedError ?? 0, acceptedError: 0 };
  return {
    $case: "pairwise",
    value: { encryptionParameters, scale, polyModulusDegree, ...lists, maxDimension, maxDistance, ...errors },
  };
}

export function galleryToWire(gallery: StoredGallery): wire.Gallery {
  return {
    ...gallery,
    space: { ...gallery.space, metric: METRICS.toWire(gallery.space.metric) },
    strides: [...gallery.strides],
    draftOf: gallery.draftOf ?? "",
    labels: { ...gallery.labels },
  };
}

export function entryToWire(entry: RosterEntry): wire.TemplateEntry {
  return {
    templateId: entry.templateId,
    subjectId: entry.live?.subjectId ?? "",
    placement: entry.live?.placement,
    revision: entry.revision,
    deleted: entry.live === undefined,
  };
}

export function deletedToWire(deleted: DeletedTemplates): wire.DeleteTemplatesResponse {
  const { count: deletedCount, struck, revision, more } = deleted;
  return {
    deletedCount,
    revision,
    struckTemplateIds: struck.map(({ templateId }) => templateId),
    struckBlocks: struck.map(({ block }) => block),
    erasedBlocks: [...deleted.erasedBlocks],
    unknownSubjectIds: [...deleted.unknownSubjectIds],
    unknownTemplateIds: [...deleted.unknownTemplateIds],
    more,
  };
}

export function enrolledToWire(enrolled: Enrolled): wire.EnrollTemplatesResponse {
  const struckTemplateIds = [...enrolled.struckTemplateIds];
  const message: wire.EnrollTemplatesResponse["message"] =
    "entry" in enrolled
      ? { $case: "template", value: { entry: entryToWire(enrolled.entry), struckTemplateIds } }
      : { $case: "block", value: { ...enrolled.block, struckTemplateIds } };
  return { message };
}

export function readStepToWire(step: ReadStep): NonNullable<wire.ReadTemplatesResponse["message"]> {
  switch (step.kind) {
    case "gallery":
      return { $case: "gallery", value: galleryToWire(step.gallery) };
    case "block":
      return {
        $case: "block",
        value: { block: step.block, stride: step.stride, entries: step.entries.map(entryToWire), pieces: step.pieces },
      };
    case "pieces":
      return {
        $case: "pieces",
        value: { pieces: step.pieces.map((piece) => ciphertextToWire(step.contextId, step.encoding, piece)) },
      };
  }
}

/** Products of a gallery, and how they are sent. */
interface Answered {
  readonly gallery: Pick<StoredGallery, "contextId">;
  readonly encoding: CiphertextEncoding | PairwiseEncoding;
  readonly product: BlockAnswer;
}

export function distancesToWire({ gallery, encoding, product }: Answered): wire.EncryptedDistances {
  const { block, stride, probe = 0 } = product;
  const common = { ...COMPARED, block, stride, probe };
  if (!("because" in product)) {
    const ciphertext = ciphertextToWire(gallery.contextId, encoding, product);
    return { ...common, ciphertext, damagedSlots: [...(product.damagedSlots ?? [])] };
  }
  const { because } = product;
  if (because === "IDENTICAL") return { ...common, identical: true };
  return { ...common, refused: errorReasonOf(because) };
}

export function searchStepToWire(step: SearchStep): NonNullable<wire.SearchGalleryResponse["message"]> {
  switch (step.kind) {
    case "gallery":
      return { $case: "gallery", value: galleryToWire(step.gallery) };
    case "changes":
      return { $case: "rosterChanges", value: { entries: step.entries.map(entryToWire) } };
    case "start":
      return { $case: "start", value: { revision: step.revision } };
    case "product":
      return { $case: "distances", value: distancesToWire(step) };
  }
}

export function compareStepToWire(step: CompareStep): NonNullable<wire.CompareTemplatesResponse["message"]> {
  if (step.kind === "subject")
    return { $case: "subject", value: { gallery: galleryToWire(step.gallery), strides: [...step.strides] } };
  const entries = step.entries.map(entryToWire);
  return { $case: "comparison", value: { distances: distancesToWire(step), entries } };
}

export function ciphertextToWire(
  contextId: string,
  encoding: CiphertextEncoding | PairwiseEncoding,
  { data, sha256 }: Envelope,
): wire.Ciphertext {
  return { contextId, encoding: CIPHERTEXT_ENCODINGS.toWire(encoding), data, sha256 };
}
