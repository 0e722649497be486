import { hash } from "node:crypto";
import { encodedDimension } from "@veilface/fhe";
import type { Metric } from "@veilface/fhe";
import type { ModelSpace } from "../../gallery-store.ts";
import { JsonRow } from "./json-row.ts";
import { encodeJson } from "./schema.ts";
import type { GalleryState, StrideState } from "./schema.ts";

/** What is stored of a gallery, but for what its templates change. */
export interface GalleryRow {
  /** Its number inside the store. */
  readonly gallery: number;
  readonly contextId: string;
  readonly space: ModelSpace;
  readonly createTime: Date;
  readonly packedStride: number;
  readonly expectedTemplates: number;
  /** The gallery it is a draft of, and that one's revision when the draft was created. */
  readonly draftOf?: { readonly galleryId: string; readonly revision: number };
  /** 32 hexadecimal digits. */
  readonly uid: string;
  readonly labels: Readonly<Record<string, string>>;
}

const UID_DIGITS = 32;

const METRICS: readonly Metric[] = ["cosine", "euclidean"];

export function encodeGallery(row: GalleryRow): Buffer {
  return encodeJson(row);
}

/** Throws ServerError STORED_CORRUPT. */
export function decodeGallery(galleryId: string, bytes: Buffer): GalleryRow {
  const row = JsonRow.parse(bytes, `gallery ${galleryId}`);
  const space = spaceIn(row.row("space"));
  const [gallery, createTime] = [row.number("gallery"), row.time("createTime")];
  return {
    gallery,
    contextId: row.text("contextId"),
    space,
    createTime,
    // Rows written before packed blocks lack these two.
    packedStride: row.has("packedStride") ? row.number("packedStride") : encodedDimension(space),
    expectedTemplates: row.has("expectedTemplates") ? row.number("expectedTemplates") : 0,
    ...(row.has("draftOf") && { draftOf: draftIn(row.row("draftOf")) }),
    // Rows written before galleries had these lack them.
    uid: row.has("uid") ? row.text("uid") : uidOfOld(gallery, createTime),
    labels: row.has("labels") ? labelsIn(row.row("labels")) : {},
  };
}

function spaceIn(row: JsonRow): ModelSpace {
  return {
    dimension: row.number("dimension"),
    metric: row.choice("metric", METRICS),
    normBound: row.number("normBound"),
    modelId: row.text("modelId"),
    // Rows written before models had versions lack it.
    modelVersion: row.has("modelVersion") ? row.text("modelVersion") : "",
  };
}

function uidOfOld(gallery: number, createTime: Date): string {
  return hash("sha256", `veilface gallery ${gallery} ${createTime.toISOString()}`).slice(0, UID_DIGITS);
}

function labelsIn(row: JsonRow): Record<string, string> {
  return Object.fromEntries(row.names().map((name) => [name, row.text(name)]));
}

function draftIn(row: JsonRow): NonNullable<GalleryRow["draftOf"]> {
  return { galleryId: row.text("galleryId"), revision: row.number("revision") };
}

export function encodeState(state: GalleryState): Buffer {
  return encodeJson(state);
}

/** Throws ServerError STORED_CORRUPT. */
export function decodeState(bytes: Buffer): GalleryState {
  const row = JsonRow.parse(bytes, "the state of a gallery");
  const strides = row.row("strides");
  return {
    revision: row.number("revision"),
    templates: row.number("templates"),
    nextBlock: row.number("nextBlock"),
    strides: Object.fromEntries(strides.names().map((stride) => [stride, strideIn(strides.row(stride))])),
  };
}

function strideIn(row: JsonRow): StrideState {
  return { block: row.number("block"), nextSlot: row.number("nextSlot"), liveBlocks: row.number("liveBlocks") };
}
