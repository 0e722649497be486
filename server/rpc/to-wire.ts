import type { CiphertextEncoding } from "@veilface/fhe";
import { CIPHERTEXT_ENCODINGS, METRICS, PARAMETER_SETS, errorReasonOf } from "@veilface/proto";
import * as wire from "@veilface/proto";
import type { BlockAnswer } from "../compute/block-answer.ts";
import type { Enrolled } from "../requests/enroll-templates.ts";
import type { ReadStep } from "../requests/read-templates.ts";
import type { PairwiseEncoding, Envelope } from "../compute/envelope.ts";
import type {
  DeletedTemplates,
  PackedScheme,
  PairwiseScheme,
  RosterEntry,
  RosterPage,
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

export function rosterPageToWire({ entries, next, revision }: RosterPage): wire.ListTemplatesResponse {
  return { entries: entries.map(entryToWire), nextPageToken: next?.toString() ?? "", revision };
}

export function deletedToWire({
  entries,
  revision,
  struck,
  ...deleted
}: DeletedTemplates): wire.DeleteTemplatesResponse {
  const { count: deletedCount, erasedBlocks, unknownSubjectIds, more } = deleted;
  const struckTemplateIds = struck.map(({ templateId }) => templateId);
  const struckBlocks = struck.map(({ block }) => block);
  return {
    entries: entries.map(entryToWire),
    revision,
    struckTemplateIds,
    struckBlocks,
    erasedBlocks: [...erasedBlocks],
    unknownSubjectIds: [...unknownSubjectIds],
    more,
    deletedCount,
  };
}

export function enrolledToWire(enrolled: Enrolled): Partial<wire.EnrollTemplatesResponse> {
  const struckTemplateIds = [...enrolled.struckTemplateIds];
  return "entry" in enrolled
    ? { entry: entryToWire(enrolled.entry), struckTemplateIds }
    : { block: { ...enrolled.block }, struckTemplateIds };
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

export function distancesToWire(
  contextId: string,
  encoding: CiphertextEncoding | PairwiseEncoding,
  answer: BlockAnswer,
): wire.EncryptedDistances {
  const { block, stride } = answer;
  if (!("because" in answer)) {
    const damagedSlots = [...(answer.damagedSlots ?? [])];
    return { ...COMPARED, block, stride, ciphertext: ciphertextToWire(contextId, encoding, answer), damagedSlots };
  }
  const { because } = answer;
  if (because === "IDENTICAL") return { ...COMPARED, block, stride, identical: true };
  return { ...COMPARED, block, stride, refused: errorReasonOf(because) };
}

export function ciphertextToWire(
  contextId: string,
  encoding: CiphertextEncoding | PairwiseEncoding,
  { data, sha256 }: Envelope,
): wire.Ciphertext {
  return { contextId, encoding: CIPHERTEXT_ENCODINGS.toWire(encoding), data, sha256 };
}
