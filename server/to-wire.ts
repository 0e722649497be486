import type { CiphertextEncoding, Metric, ParameterSetName } from "@veilface/fhe";
import * as wire from "@veilface/proto";
import type { Enrolled } from "./enrollment.ts";
import type { ReadStep } from "./reading.ts";
import type { Product } from "./shared-scans.ts";
import type { RosterEntry, StoredContext, StoredGallery } from "./store/gallery-store.ts";

const METRICS: Readonly<Record<Metric, wire.Metric>> = { cosine: wire.Metric.METRIC_COSINE, euclidean: wire.Metric.METRIC_EUCLIDEAN };

const PARAMETER_SETS: Readonly<Record<ParameterSetName, wire.ParameterSet>> = {
  PACKED_N4096_Q60: wire.ParameterSet.PARAMETER_SET_PACKED_N4096_Q60,
  PACKED_N4096_Q30: wire.ParameterSet.PARAMETER_SET_PACKED_N4096_Q30,
};

const ENCODINGS: Readonly<Record<CiphertextEncoding, wire.CiphertextEncoding>> = {
  SEAL: wire.CiphertextEncoding.CIPHERTEXT_ENCODING_SEAL,
  PACKED_RESIDUES: wire.CiphertextEncoding.CIPHERTEXT_ENCODING_PACKED_RESIDUES,
};

export function contextToWire(context: StoredContext): wire.Context {
  const packed = { parameterSet: PARAMETER_SETS[context.parameterSet], keyId: context.keyId };
  return { contextId: context.contextId, scheme: { $case: "packed", value: packed }, createTime: context.createTime };
}

export function galleryToWire(gallery: StoredGallery): wire.Gallery {
  return { ...gallery, space: { ...gallery.space, metric: METRICS[gallery.space.metric] }, strides: [...gallery.strides], draftOf: gallery.draftOf ?? "" };
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

export function enrolledToWire(enrolled: Enrolled): Partial<wire.EnrollTemplatesResponse> {
  return "entry" in enrolled ? { entry: entryToWire(enrolled.entry) } : { block: { ...enrolled.block } };
}

export function readStepToWire(step: ReadStep): NonNullable<wire.ReadTemplatesResponse["message"]> {
  switch (step.kind) {
    case "gallery":
      return { $case: "gallery", value: galleryToWire(step.gallery) };
    case "block":
      return { $case: "block", value: { block: step.block, stride: step.stride, entries: step.entries.map(entryToWire), pieces: step.pieces } };
    case "pieces":
      return { $case: "pieces", value: { pieces: step.pieces.map((piece) => ({ contextId: step.contextId, encoding: ENCODINGS.PACKED_RESIDUES, ...piece })) } };
  }
}

export function distancesToWire(contextId: string, encoding: CiphertextEncoding, product: Product): wire.EncryptedDistances {
  const { block, stride, data, sha256 } = product;
  return { block, stride, ciphertext: { contextId, encoding: ENCODINGS[encoding], data, sha256 } };
}
