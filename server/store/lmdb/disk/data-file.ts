// What LMDB (data format 2, 64 bits, as lmdb 3.5.6 brings it) has in its data file, read without LMDB: it ends the
// process by a signal where the file is not what it expects. Offsets from mdb.c of that version.

// A page: number (8), transaction (8), padding (2), flags (2), lower (2) and upper (2) bound of its free space, then
// its body. Bounds, and the offsets of nodes (2 each) that a body begins with, are counted from the body's start.
export const PAGE_HEADER_BYTES = 24;
export const FLAGS_OFFSET = 18;
export const LOWER_OFFSET = 20;
export const BRANCH = 0x01;
export const LEAF = 0x02;
export const OVERFLOW = 0x04;

// Pages 0 and 1: magic number (4), version (4), address (8), map size (8), the trees of free pages and of tables (48
// each), the last page (8), the transaction (8). Of the two, the one with the higher transaction counts. A tree: the
// page's bytes in that of free pages (4), flags (2), depth (2), counts of branches, leaves, other pages and entries (8
// each), root (8).
const MAGIC = 0xbeefc0de;
const VERSION = 2;
const FREE_TREE_OFFSET = 24;
export const TREE_BYTES = 48;
const ROOT_OFFSET = 40;
const LAST_PAGE_OFFSET = FREE_TREE_OFFSET + 2 * TREE_BYTES;
const META_BYTES = LAST_PAGE_OFFSET + 16;
/** Bytes of the file that {@link readMeta} needs of a page. */
export const META_PAGE_BYTES = PAGE_HEADER_BYTES + META_BYTES;
const NO_PAGE = 2n ** 64n - 1n;

// A node: low (2) and high (2) half of its data's size, flags (2), size of its key (2), key, data. In a branch the
// first six bytes are the page that it leads to.
export const NODE_HEADER_BYTES = 8;
export const BIG_DATA = 0x01;
export const MOST_DEPTH = 32;

/** What a meta page says. */
export interface Meta {
  readonly pageBytes: number;
  readonly transaction: bigint;
  /** The highest page number in use or free, >= 1. */
  readonly lastPage: number;
  /** The record of the tree of free pages. */
  readonly freeTree: Buffer;
  /** The record of the tree of tables. */
  readonly tableTree: Buffer;
}

/** Reads so many bytes of the file from an offset; fewer where it ends. */
export type ReadAt = (offset: number, byteLength: number) => Buffer;

/** A meta page's content; undefined where it is none. */
export function readMeta(page: Buffer): Meta | undefined {
  if (page.length < META_PAGE_BYTES) return undefined;
  const meta = page.subarray(PAGE_HEADER_BYTES);
  if (meta.readUInt32LE(0) !== MAGIC || meta.readUInt32LE(4) !== VERSION) return undefined;
  return {
    pageBytes: meta.readUInt32LE(FREE_TREE_OFFSET),
    transaction: meta.readBigUInt64LE(LAST_PAGE_OFFSET + 8),
    lastPage: Number(meta.readBigUInt64LE(LAST_PAGE_OFFSET)),
    freeTree: meta.subarray(FREE_TREE_OFFSET, FREE_TREE_OFFSET + TREE_BYTES),
    tableTree: meta.subarray(FREE_TREE_OFFSET + TREE_BYTES, LAST_PAGE_OFFSET),
  };
}

/** The root page that a tree's record names; undefined for an empty tree. */
export function rootIn(tree: Buffer): number | undefined {
  const root = tree.readBigUInt64LE(ROOT_OFFSET);
  return root === NO_PAGE ? undefined : Number(root);
}

/**
 * Whether a file of so many bytes lacks pages that are in use. Pages at its end that are free need not have been
 * written. Throws RangeError where the tree of free pages itself cannot be read.
 */
export function lacksPages(meta: Meta, byteLength: number, read: ReadAt): boolean {
  const firstMissing = Math.floor(byteLength / meta.pageBytes);
  if (firstMissing > meta.lastPage) return false;
  const missing = meta.lastPage - firstMissing + 1;
  let free = 0;
  for (const [first, last] of freePages(meta, read))
    free += Math.max(0, Math.min(last, meta.lastPage) - Math.max(first, firstMissing) + 1);
  return free < missing;
}

/**
 * The free pages, as ranges of their numbers, each once, in no order. Throws RangeError where their tree cannot be
 * read.
 */
export function* freePages(
  { pageBytes, freeTree }: Meta,
  read: ReadAt,
): Generator<readonly [first: number, last: number]> {
  const freeRoot = rootIn(freeTree);
  if (freeRoot === undefined) return;
  for (const list of valuesUnder(freeRoot, { pageBytes, read })) yield* rangesIn(list);
}

/** A file, page by page. */
interface Paged {
  readonly pageBytes: number;
  readonly read: ReadAt;
}

function* valuesUnder(number: number, file: Paged, depth = 0): Generator<Buffer> {
  const { pageBytes, read } = file;
  const page = read(number * pageBytes, pageBytes);
  const flags = page.readUInt16LE(FLAGS_OFFSET);
  if (depth > MOST_DEPTH || (flags & (BRANCH | LEAF)) === 0)
    throw new RangeError(`page ${number} is not part of a tree`);
  const body = page.subarray(PAGE_HEADER_BYTES);
  for (let at = 0; at < page.readUInt16LE(LOWER_OFFSET); at += 2) {
    const node = body.subarray(body.readUInt16LE(at));
    if ((flags & BRANCH) !== 0) yield* valuesUnder(node.readUIntLE(0, 6), file, depth + 1);
    else yield valueOf(node, file);
  }
}

function valueOf(node: Buffer, { pageBytes, read }: Paged): Buffer {
  const byteLength = node.readUInt32LE(0);
  const data = node.subarray(NODE_HEADER_BYTES + node.readUInt16LE(6));
  if ((node.readUInt16LE(4) & BIG_DATA) === 0) return data.subarray(0, byteLength);
  const pages = read(Number(data.readBigUInt64LE(0)) * pageBytes, PAGE_HEADER_BYTES + byteLength);
  if ((pages.readUInt16LE(FLAGS_OFFSET) & OVERFLOW) === 0)
    throw new RangeError("a long value is not where it should be");
  return pages.subarray(PAGE_HEADER_BYTES);
}

/**
 * A list of pages: its length, then page numbers; 0 for none, and -n before the first of n pages that follow each
 * other.
 */
function* rangesIn(list: Buffer): Generator<readonly [number, number]> {
  const count = Number(list.readBigInt64LE(0));
  for (let i = 1; i <= count; i++) {
    const entry = Number(list.readBigInt64LE(8 * i));
    if (entry > 0) yield [entry, entry];
    if (entry >= 0) continue;
    const first = Number(list.readBigInt64LE(8 * ++i));
    yield [first, first - entry - 1];
  }
}
