import type { Database, RootDatabase } from "lmdb";
import { storedCorrupt } from "../../../errors.ts";

/** Written into every store; a store of a version that is not known is refused. */
export const SCHEMA_VERSION = 4;
/**
 * Version 1 had no packed blocks, version 2 no pairwise contexts; what is in them is right in this version too. Version
 * 3 kept the ids of drafts in their gallery's row: see migrateDrafts.
 */
export const OLDER_VERSIONS: readonly number[] = [1, 2, 3];
export const SCHEMA_KEY = Buffer.from("veilface.schema");

export type Table = Database<Buffer, Buffer>;

/**
 * The tables. A gallery is a number that is never reused; numbers in keys are big-endian, so that keys sort as the
 * numbers do.
 *
 * Blobs hold what is large: a blob's bytes are written once and never moved, so they can be erased where they lie.
 * Everything that may be read names a blob through a block.
 *
 * A template has a row in `entries` (loose, or deleted) or a live slot in one packed block, never both. The templates
 * of a packed block have no rows of their own: their ids are in `rosters`, found by `indexes`, and one row in `changes`
 * stands for all of them.
 */
export interface Tables {
  /** "gallery" and "blob" -> the next number of each, u48. */
  readonly numbers: Table;
  /** Context id -> JSON. */
  readonly contexts: Table;
  /** Pairwise context id -> `ContextKeysRow`. */
  readonly contextKeys: Table;
  /** Gallery id -> JSON with the gallery's number. */
  readonly galleries: Table;
  /** Context id / gallery id -> nothing. */
  readonly contextGalleries: Table;
  /** Gallery -> JSON {@link GalleryState}. */
  readonly states: Table;
  /** Gallery, template id -> {@link EntryRow}. */
  readonly entries: Table;
  /**
   * Gallery, revision -> {@link Change}: the latest change of each template; of a packed block the revision of slot 0.
   */
  readonly changes: Table;
  /** Gallery, subject id, 0, block, slot -> template id. */
  readonly subjects: Table;
  /** Gallery, block -> {@link BlockRow}: blocks with a live template. */
  readonly blocks: Table;
  /** Gallery -> u32 numbers of its packed blocks. */
  readonly packedBlocks: Table;
  /** Gallery, packed block -> `BlockRoster`; not changed when a template is struck. */
  readonly rosters: Table;
  /** Gallery, packed block -> `IdIndex` of template ids, then of subject ids. */
  readonly indexes: Table;
  /** Gallery, packed block -> `LiveSlots`. */
  readonly liveSlots: Table;
  /** Blob -> SHA-256, bytes; of a packed block or a key the bytes alone. */
  readonly blobs: Table;
  /** Blob -> nothing: no longer named by anything, to be erased. */
  readonly doomedBlobs: Table;
  /** Gallery -> nothing: deleted, its rows and blobs are to be erased. */
  readonly doomedGalleries: Table;
  /**
   * Context id -> nothing: deleted, and with it its galleries, which nobody sees any more, but whose rows are still
   * there.
   */
  readonly doomedContexts: Table;
  /** Gallery id / id of one of its drafts -> when the draft was last written to, milliseconds since 1970, u48. */
  readonly drafts: Table;
}

/** For lmdb's `maxDbs`: room for tables that later versions add. */
export const MAX_TABLES = 32;
/** Keys and values are bytes. */
export const BINARY = { encoding: "binary", keyEncoding: "binary" } as const;

export function openTables(root: RootDatabase<Buffer, Buffer>): Tables {
  const open = (name: keyof Tables): Table => root.openDB<Buffer, Buffer>(name, BINARY);
  return {
    numbers: open("numbers"),
    contexts: open("contexts"),
    galleries: open("galleries"),
    contextGalleries: open("contextGalleries"),
    states: open("states"),
    entries: open("entries"),
    changes: open("changes"),
    subjects: open("subjects"),
    blocks: open("blocks"),
    packedBlocks: open("packedBlocks"),
    rosters: open("rosters"),
    indexes: open("indexes"),
    liveSlots: open("liveSlots"),
    blobs: open("blobs"),
    contextKeys: open("contextKeys"),
    doomedBlobs: open("doomedBlobs"),
    doomedGalleries: open("doomedGalleries"),
    doomedContexts: open("doomedContexts"),
    drafts: open("drafts"),
  };
}

/** What changes about a gallery with every template, kept so that nothing has to be counted. */
export interface GalleryState {
  readonly revision: number;
  readonly templates: number;
  /** Larger than every block number given out. */
  readonly nextBlock: number;
  /** Per stride: the block that loose templates fill and its next slot, and how many blocks hold a live template. */
  readonly strides: Readonly<Record<number, StrideState>>;
}

export interface StrideState {
  /** -1: none. */
  readonly block: number;
  readonly nextSlot: number;
  readonly liveBlocks: number;
}

export const NEW_GALLERY: GalleryState = { revision: 0, templates: 0, nextBlock: 0, strides: {} };
export const NEW_STRIDE: StrideState = { block: -1, nextSlot: 0, liveBlocks: 0 };

/** A roster line as stored; without `live` the template was deleted. */
export interface EntryRow {
  readonly revision: number;
  readonly live: LiveRow | undefined;
}

export interface LiveRow {
  readonly subjectId: string;
  readonly block: number;
  readonly slot: number;
  readonly stride: number;
  readonly blob: number;
}

export interface LooseBlockRow {
  readonly kind: "loose";
  readonly stride: number;
  /** Live templates in slot order. */
  readonly members: readonly { readonly slot: number; readonly blob: number }[];
}

export interface PackedBlockRow {
  readonly kind: "packed";
  readonly stride: number;
  readonly count: number;
  /** Of slot 0; slot i has this plus i. */
  readonly firstRevision: number;
  readonly chunks: readonly ChunkRow[];
}

export interface ChunkRow {
  readonly blob: number;
  readonly bytes: number;
  readonly sha256: Buffer;
}

export type BlockRow = LooseBlockRow | PackedBlockRow;

/** What happened at a revision: to one template, or a packed block was stored. */
export type Change = { readonly templateId: string } | { readonly packedBlock: number };

const DELETED = 0;
const LOOSE = 1;
const U48 = 6;
// Kind and revision; of a live template its place and blob too, with its subject after them.
const DELETED_BYTES = 7;
const LIVE_BYTES = 21;

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function u48(value: number): Buffer {
  const bytes = Buffer.alloc(U48);
  bytes.writeUIntBE(value, 0, U48);
  return bytes;
}

export function readU32(bytes: Buffer): number {
  return bytes.readUInt32BE();
}

export function readU48(bytes: Buffer, offset = 0): number {
  return bytes.readUIntBE(offset, U48);
}

export const idKey = (id: string): Buffer => Buffer.from(id, "latin1");
export const contextGalleryKey = (contextId: string, galleryId: string): Buffer => idKey(`${contextId}/${galleryId}`);
export const entryKey = (gallery: number, templateId: string): Buffer =>
  Buffer.concat([u32(gallery), idKey(templateId)]);
export const changeKey = (gallery: number, revision: number): Buffer => Buffer.concat([u32(gallery), u48(revision)]);
export const blockKey = (gallery: number, block: number): Buffer => Buffer.concat([u32(gallery), u32(block)]);

/** Without a place: the start of all keys of that subject. */
export function subjectKey(gallery: number, subjectId: string, place?: { block: number; slot: number }): Buffer {
  const prefix = Buffer.concat([u32(gallery), idKey(subjectId), Buffer.of(0)]);
  if (place === undefined) return prefix;
  const bytes = Buffer.alloc(6);
  bytes.writeUInt32BE(place.block);
  bytes.writeUInt16BE(place.slot, 4);
  return Buffer.concat([prefix, bytes]);
}

/** The range of all keys that start with the prefix. */
export function keysUnder(prefix: Buffer): { start: Buffer; end: Buffer } {
  // 255 repeated sorts after every key: no id holds that byte, and no number here comes near its largest value.
  return { start: prefix, end: Buffer.concat([prefix, Buffer.alloc(16, 255)]) };
}

/** The least key that sorts after this one. */
export function keyAfter(key: Buffer): Buffer {
  return Buffer.concat([key, Buffer.of(0)]);
}

export function encodeJson(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

export function encodeEntry({ revision, live }: EntryRow): Buffer {
  if (live === undefined) return Buffer.concat([Buffer.of(DELETED), u48(revision)]);
  const head = Buffer.alloc(LIVE_BYTES);
  head.writeUInt8(LOOSE, 0);
  head.writeUIntBE(revision, 1, U48);
  head.writeUInt32BE(live.block, 7);
  head.writeUInt16BE(live.slot, 11);
  head.writeUInt16BE(live.stride, 13);
  head.writeUIntBE(live.blob, 15, U48);
  return Buffer.concat([head, idKey(live.subjectId)]);
}

/** Throws ServerError STORED_CORRUPT. */
export function decodeEntry(bytes: Buffer): EntryRow {
  if (bytes.length < (bytes[0] === DELETED ? DELETED_BYTES : LIVE_BYTES)) throw storedCorrupt("the row of a template");
  const revision = readU48(bytes, 1);
  if (bytes[0] === DELETED) return { revision, live: undefined };
  const live = {
    subjectId: bytes.toString("latin1", LIVE_BYTES),
    block: bytes.readUInt32BE(7),
    slot: bytes.readUInt16BE(11),
    stride: bytes.readUInt16BE(13),
    blob: readU48(bytes, 15),
  };
  return { revision, live };
}

const PACKED_CHANGE_BYTES = 5;

// No id begins with a zero byte.
export function encodeChange(change: Change): Buffer {
  return "templateId" in change ? idKey(change.templateId) : Buffer.concat([Buffer.of(0), u32(change.packedBlock)]);
}

/** Throws ServerError STORED_CORRUPT. */
export function decodeChange(bytes: Buffer): Change {
  if (bytes[0] === 0 && bytes.length !== PACKED_CHANGE_BYTES) throw storedCorrupt("the row of a change");
  return bytes[0] === 0 ? { packedBlock: bytes.readUInt32BE(1) } : { templateId: bytes.toString("latin1") };
}
