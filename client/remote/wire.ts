import { createHash } from "node:crypto";
import { MAX_PAIRWISE_DIMENSION, encodedDimension } from "@veilface/fhe";
import type { CiphertextEncoding } from "@veilface/fhe";
import {
  CiphertextEncoding as WireEncoding,
  ErrorReason,
  MAX_PACKED_DIMENSION,
  METRICS,
  PARAMETER_SETS,
  UID_BYTES,
  definedOnly,
  errorReasonName,
} from "@veilface/proto";
import type {
  Ciphertext,
  EmbeddingSpace as WireSpace,
  EncryptedDistances,
  Gallery,
  Placement as WirePlacement,
  RosterState as WireRosterState,
  TemplateEntry,
  ServerInfo as WireServerInfo,
} from "@veilface/proto";
import { ClientError } from "../errors.ts";
import type { Refusal } from "../match/search-answer.ts";
import type { ModelSpace } from "../model-space.ts";
import type { EncodedBytes } from "../keys/packed-crypto.ts";

/**
 * Where a template lies: in coefficients slot * stride to slot * stride + stride - 1 of the polynomials of a block. A
 * place is never given to another template again.
 */
export interface Placement {
  /** The block's number within its gallery, >= 0. */
  readonly block: number;
  /** The slot within the block, in [0, floor(4096 / stride)); always 0 in the pairwise scheme. */
  readonly slot: number;
  /** The block's stride, in [1, encoded dimension]: how many of a template's components each polynomial holds. */
  readonly stride: number;
}

/** A live template's line of the roster, which says whose it is and where it lies. */
export interface RosterEntry {
  /** The template, by its id: 1 to 64 of a-z, 0-9 and "-". */
  readonly templateId: string;
  /** The person that it is of, by an opaque id: 1 to 64 of a-z, 0-9 and "-". */
  readonly subjectId: string;
  /** The slot and block that hold its ciphertext. */
  readonly placement: Placement;
  /** The gallery's revision at the template's last change, >= 1. */
  readonly revision: number;
}

/** A subject of a gallery. */
export interface SubjectInfo {
  /** By the opaque id that it was enrolled under. */
  readonly subjectId: string;
  /** How many templates it has, >= 1. */
  readonly templateCount: number;
}

/** A gallery as the server describes it. */
export interface GalleryInfo {
  /** The id that its creator chose: 1 to 64 of a-z, 0-9 and "-". */
  readonly galleryId: string;
  /** The context that its templates are encrypted under, which names the key: 64 lowercase hexadecimal digits. */
  readonly contextId: string;
  /** The kind of embeddings it holds, and the model that makes them; the same for as long as it exists. */
  readonly space: ModelSpace;
  /** The strides of the blocks it has, ascending. A search carries the probe once for each. */
  readonly strides: readonly number[];
  /** How many live templates it holds, >= 0. */
  readonly templateCount: number;
  /** Grows with every change of its roster; 0 when new. */
  readonly revision: number;
  /** When it was created, by the server's clock. */
  readonly createTime: Date;
  /**
   * The stride of the blocks that templates are packed into, in [1, encoded dimension]; 0 from a server that packs
   * none.
   */
  readonly packedStride: number;
  /** How many templates it was made for; 0 where nobody said. */
  readonly expectedTemplates: number;
  /** The gallery that it is a draft for, being packed or encrypted anew; undefined for a gallery of its own. */
  readonly draftOf: string | undefined;
  /**
   * 32 lowercase hexadecimal digits, which tell it from every other gallery that has, had or will have its id. Packing
   * and encrypting anew give it another one.
   */
  readonly uid: string;
  /** What its owner notes about it: VeilfaceClient.updateGallery. The server sees them. */
  readonly labels: Readonly<Record<string, string>>;
}

/** A server as it describes itself: which it is, and what it takes. */
export interface ServerInfo {
  /** The version of its program, as in semantic versioning. */
  readonly version: string;
  /** The schemes that contexts may have: "packed", "pairwise". */
  readonly schemes: readonly string[];
  /** The names of the parameter sets of the packed scheme that it has and this client knows too. */
  readonly parameterSets: readonly string[];
  /** What it takes at most, each >= 0. */
  readonly limits: {
    /** Bytes of one message that it receives. */
    readonly maxMessageBytes: number;
    /** Bytes of the keys of one pairwise context. */
    readonly maxKeyBytes: number;
    /** Bytes of one ciphertext of the pairwise scheme. */
    readonly maxPairwiseCiphertextBytes: number;
    /** Calls that may be open at once, over all clients. */
    readonly maxCalls: number;
    /** Bytes of its data file; 0 where it has no limit but the disk. */
    readonly maxDataBytes: number;
  };
}

export function toWireSpace({ metric, modelVersion = "", ...space }: ModelSpace): WireSpace {
  return { ...space, modelVersion, metric: METRICS.toWire(metric) };
}

/** A ciphertext as a message, by default of packed residues, bound to its context and with its SHA-256. */
export function toWireCiphertext(
  contextId: string,
  data: Uint8Array,
  encoding: WireEncoding = WireEncoding.CIPHERTEXT_ENCODING_PACKED_RESIDUES,
): Ciphertext {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return { contextId, encoding, data: bytes, sha256: sha256(bytes) };
}

/**
 * A reply's ciphertext of packed residues, checked as by {@link checkWireCiphertext}. Throws ClientError REPLY_INVALID.
 */
export function fromWireCiphertext(contextId: string, wire: Ciphertext | undefined): EncodedBytes {
  const { encoding, data } = checkWireCiphertext(contextId, wire);
  return { encoding: fromWireEncoding(encoding), data };
}

/** What the server could not compare of a block; undefined where it compared all of it. */
export function fromWireRefusal({ refused, damagedSlots }: EncryptedDistances): Refusal | undefined {
  if (refused !== ErrorReason.ERROR_REASON_UNSPECIFIED) return { reason: errorReasonName(refused) };
  return damagedSlots.length === 0 ? undefined : { reason: "STORED_CORRUPT", slots: new Set(damagedSlots) };
}

/** A reply's ciphertext: checked to be of our context and whole. Throws ClientError REPLY_INVALID. */
export function checkWireCiphertext(contextId: string, wire: Ciphertext | undefined): Ciphertext {
  if (wire === undefined) throw invalidReply("an answer without its ciphertext");
  if (wire.contextId !== contextId) throw invalidReply("a ciphertext of another context");
  if (!sha256(wire.data).equals(wire.sha256))
    throw invalidReply("a ciphertext that does not have its SHA-256: it was damaged on the way");
  return wire;
}

/** Throws ClientError REPLY_INVALID for a gallery that lacks a field or has one out of its range. */
export function fromWireGallery(wire: Gallery | undefined): GalleryInfo {
  const { space, createTime } = wire ?? {};
  if (wire === undefined || space === undefined || createTime === undefined)
    throw invalidReply("an incomplete gallery");
  const { galleryId, contextId, strides, templateCount, revision, packedStride, expectedTemplates } = wire;
  checkStrides(wire, space.dimension);
  const isDated = !Number.isNaN(createTime.getTime());
  if (templateCount < 0 || revision < 0 || !isDated) throw invalidReply("a gallery with a count or time out of range");
  if (wire.uid.length !== UID_BYTES) throw invalidReply("a gallery without a uid");
  const draftOf = wire.draftOf === "" ? undefined : wire.draftOf;
  return {
    galleryId,
    contextId,
    space: fromWireSpace(space),
    strides,
    templateCount,
    revision,
    createTime,
    packedStride,
    expectedTemplates,
    draftOf,
    uid: Buffer.from(wire.uid).toString("hex"),
    labels: { ...wire.labels },
  };
}

/** Throws ClientError REPLY_INVALID for a gallery with a dimension or stride that the packed scheme does not have. */
export function checkPackedGallery({ space, strides, packedStride }: GalleryInfo): void {
  if (space.dimension > MAX_PACKED_DIMENSION) throw invalidReply("a gallery with a dimension out of range");
  if (packedStride > encodedDimension(space)) throw invalidReply("a gallery with a stride out of range");
  checkStridesOf({ space, packedStride }, strides);
}

/**
 * Throws ClientError REPLY_INVALID for strides that blocks of a gallery cannot have: they are packed at its own, or
 * loose. A probe is encrypted once for each.
 */
export function checkStridesOf(
  { space, packedStride }: Pick<GalleryInfo, "space" | "packedStride">,
  strides: readonly number[],
): void {
  const loose = encodedDimension(space);
  const isFit = strides.every((stride) => stride === packedStride || stride === loose);
  if (!isFit || new Set(strides).size < strides.length)
    throw invalidReply("strides that the gallery's blocks cannot have");
}

/** Throws ClientError REPLY_INVALID for a description that lacks its limits. */
export function fromWireServerInfo(wire: WireServerInfo | undefined): ServerInfo {
  if (wire?.limits === undefined) throw invalidReply("an incomplete description of itself");
  const { version, schemes, limits } = wire;
  const parameterSets = PARAMETER_SETS.names.filter((name) => wire.parameterSets.includes(PARAMETER_SETS.toWire(name)));
  return { version, schemes, parameterSets, limits: { ...limits } };
}

function checkStrides({ packedStride, strides }: Gallery, dimension: number): void {
  // In the Euclidean metric a vector has one component more.
  const longest = dimension + 1;
  const isAscending = strides.every((stride, i) => stride > (strides[i - 1] ?? 0) && stride <= longest);
  if (isAscending && packedStride >= 0 && packedStride <= longest) return;
  throw invalidReply("a gallery with a stride out of range");
}

/** A live line of the roster; undefined for a deleted template. Throws ClientError REPLY_INVALID. */
export function fromWireEntry(wire: TemplateEntry | undefined): RosterEntry | undefined {
  if (wire?.templateId === undefined || wire.templateId === "")
    throw invalidReply("a roster entry without a template id");
  if (wire.deleted) return undefined;
  const { templateId, subjectId, placement, revision } = wire;
  if (subjectId === "" || placement === undefined) throw invalidReply("a roster entry without its subject or place");
  return { templateId, subjectId, placement: fromWirePlacement(placement), revision };
}

/** A live line of the roster. Throws ClientError REPLY_INVALID, also for a deleted one. */
export function fromLiveWireEntry(wire: TemplateEntry | undefined): RosterEntry {
  const entry = fromWireEntry(wire);
  if (entry === undefined) throw invalidReply("a deleted template where a live one belongs");
  return entry;
}

export function invalidReply(what: string): ClientError {
  return new ClientError(
    "REPLY_INVALID",
    `the server replied with ${what}: check that it is a veilface server of this version`,
  );
}

function fromWireEncoding(encoding: WireEncoding): CiphertextEncoding {
  if (encoding === WireEncoding.CIPHERTEXT_ENCODING_PACKED_RESIDUES) return "PACKED_RESIDUES";
  throw invalidReply("a ciphertext in another encoding than the packed residues that were asked for");
}

function fromWireSpace({ dimension, modelId, modelVersion, normBound, ...wire }: WireSpace): ModelSpace {
  const metric = METRICS.fromWire(wire.metric);
  if (metric === undefined) throw invalidReply("a gallery of an unknown metric");
  const inRange = dimension >= 1 && dimension <= MAX_PAIRWISE_DIMENSION && normBound > 0 && normBound < Infinity;
  if (!inRange) throw invalidReply("a gallery with a dimension or norm bound out of range");
  return definedOnly({
    dimension,
    metric,
    modelId,
    modelVersion: modelVersion === "" ? undefined : modelVersion,
    normBound,
  });
}

function fromWirePlacement({ block, slot, stride }: WirePlacement): Placement {
  if (block < 0 || slot < 0 || stride < 1) throw invalidReply("a template's place out of range");
  return { block, slot, stride };
}

export function sha256(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest();
}

/** Up to where a roster is known. */
export interface RosterState {
  /** The gallery's, 32 hexadecimal digits; "" for none. */
  readonly uid: string;
  readonly revision: number;
}

export function toWireRosterState({ uid, revision }: RosterState): WireRosterState {
  return { uid: Buffer.from(uid, "hex"), revision };
}

/** Throws ClientError REPLY_INVALID. */
export function fromWireChange(wire: TemplateEntry): RosterChange {
  return { templateId: wire.templateId, live: fromWireEntry(wire), revision: wire.revision };
}

/** A step of a roster's history: a template's latest line, undefined once it is deleted. */
export interface RosterChange {
  readonly templateId: string;
  readonly live: RosterEntry | undefined;
  /** The gallery's revision at the change. */
  readonly revision: number;
}

/** A page of changes, oldest first. */
export interface RosterPage {
  readonly changes: readonly RosterChange[];
  /** The gallery's revision when the page was read. */
  readonly revision: number;
  /** Empty on the last page. */
  readonly nextPageToken: string;
}
