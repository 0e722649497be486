// Whether the pages of LMDB's trees are such as LMDB writes: where one is not, it ends the process by a signal, at once
// or at the first deletion. Offsets from mdb.c of lmdb 3.5.6, as in lmdb-file.ts, which says what a page and a node
// are.
import {
  BIG_DATA,
  BRANCH,
  FLAGS_OFFSET,
  LEAF,
  LOWER_OFFSET,
  MOST_DEPTH,
  NODE_HEADER_BYTES,
  OVERFLOW,
  PAGE_HEADER_BYTES,
  TREE_BYTES,
  freePages,
  rootIn,
} from "./data-file.ts";
import type { Meta, ReadAt } from "./data-file.ts";

const TRANSACTION_OFFSET = 8;
const UPPER_OFFSET = 22;
/** In the first page of a long value: how many it has (4). */
const PAGES_OFFSET = 20;
const DEPTH_OFFSET = 6;
const SUB_TREE = 0x02;
/** In the place of a long value: its first page, the transaction that wrote it, how many pages it has (8 each). */
const LONG_VALUE_BYTES = 24;
/** Pages 0 and 1 are no tree's. */
const META_PAGES = 2;

/**
 * Walks the trees of a data file: that of free pages, that of tables, and the tables'. Looks at every page, its header,
 * its nodes' places and lengths, and that nothing else uses it, until the time is up; of long values only at their
 * headers. Nobody may write the file meanwhile. Throws RangeError, naming the page, for one that LMDB would not have
 * written.
 */
export function checkTrees(meta: Meta, read: ReadAt, milliseconds: number): void {
  new TreeCheck(meta, read, performance.now() + milliseconds).run();
}

class TreeCheck {
  readonly #meta: Meta;
  readonly #read: ReadAt;
  readonly #end: number;
  /** A byte for each page; not 0 once it was met. */
  readonly #met: Uint8Array;

  constructor(meta: Meta, read: ReadAt, end: number) {
    this.#meta = meta;
    this.#read = read;
    this.#end = end;
    this.#met = new Uint8Array(meta.lastPage + 1).fill(1, 0, META_PAGES);
  }

  run(): void {
    this.#walkTree(this.#meta.freeTree);
    for (const [first, last] of freePages(this.#meta, this.#read)) this.#meet(first, last - first + 1);
    this.#walkTree(this.#meta.tableTree);
  }

  #walkTree(record: Buffer): void {
    const root = rootIn(record);
    if (root !== undefined) this.#walkPage(root, record.readUInt16LE(DEPTH_OFFSET));
  }

  /** `depth`: of the tree from this page on; leaves have 1. */
  #walkPage(number: number, depth: number): void {
    if (performance.now() >= this.#end) return;
    if (depth < 1 || depth > MOST_DEPTH) throw damaged(number, "belongs to a tree that is too deep");
    this.#meet(number, 1);
    const page = this.#read(number * this.#meta.pageBytes, this.#meta.pageBytes);
    this.#checkHeader(page, number, depth > 1 ? BRANCH : LEAF);
    for (const node of nodesOf(page, number)) {
      if (depth > 1) this.#walkPage(node.readUIntLE(0, 6), depth - 1);
      else this.#checkValue(node, number);
    }
  }

  #checkValue(node: Buffer, number: number): void {
    const { flags, byteLength, data } = leafNode(node);
    if (flags === 0) return;
    if (flags === SUB_TREE && byteLength === TREE_BYTES) this.#walkTree(data);
    else if (flags === BIG_DATA) this.#checkLongValue(data, byteLength);
    else throw damaged(number, "has a value of a kind that no table has");
  }

  #checkLongValue(place: Buffer, byteLength: number): void {
    const { pageBytes } = this.#meta;
    const first = Number(place.readBigUInt64LE(0));
    // A value that was put in the place of a longer one keeps its pages.
    const pages = Number(place.readBigUInt64LE(16));
    if (PAGE_HEADER_BYTES + byteLength > pages * pageBytes)
      throw damaged(first, "begins a value that is longer than its pages");
    this.#meet(first, pages);
    if (performance.now() >= this.#end) return;
    const head = this.#read(first * pageBytes, PAGE_HEADER_BYTES);
    this.#checkHeader(head, first, OVERFLOW);
    if (head.readUInt32LE(PAGES_OFFSET) !== pages)
      throw damaged(first, "begins a value of another length than its pages have");
  }

  #checkHeader(page: Buffer, number: number, kind: number): void {
    if (page.length < PAGE_HEADER_BYTES) throw damaged(number, "is beyond the file's end");
    const isIts = Number(page.readBigUInt64LE(0)) === number && page.readUInt16LE(FLAGS_OFFSET) === kind;
    if (!isIts || page.readBigUInt64LE(TRANSACTION_OFFSET) > this.#meta.transaction)
      throw damaged(number, "has a header that is not its own");
  }

  #meet(first: number, pages: number): void {
    const isInside = first >= META_PAGES && first + pages <= this.#met.length;
    if (!isInside) throw damaged(first, "does not exist");
    const again = this.#met.subarray(first, first + pages).findIndex((met) => met !== 0);
    if (again >= 0) throw damaged(first + again, "is used twice");
    this.#met.fill(1, first, first + pages);
  }
}

/** A page's nodes: they fill it from its upper bound to its end. */
function nodesOf(page: Buffer, number: number): Buffer[] {
  const body = page.subarray(PAGE_HEADER_BYTES);
  const [lower, upper] = [page.readUInt16LE(LOWER_OFFSET), page.readUInt16LE(UPPER_OFFSET)];
  const isBranch = page.readUInt16LE(FLAGS_OFFSET) === BRANCH;
  const hasNodes = lower >= (isBranch ? 4 : 2) && lower % 2 === 0;
  if (!hasNodes || lower > upper || upper > body.length) throw damaged(number, "has bounds that cannot be");
  let bytes = 0;
  const nodes = Array.from({ length: lower / 2 }, (_, i) => {
    const at = body.readUInt16LE(2 * i);
    if (at < upper || at + NODE_HEADER_BYTES > body.length) throw damaged(number, "has an entry outside of it");
    const node = body.subarray(at, at + nodeBytes(body.subarray(at), isBranch));
    bytes += node.length + (node.length % 2);
    return node;
  });
  if (bytes !== body.length - upper) throw damaged(number, "has entries of other lengths than it has room for");
  return nodes;
}

/** The length of the node that bytes begin with. */
function nodeBytes(bytes: Buffer, isBranch: boolean): number {
  const keyEnd = NODE_HEADER_BYTES + bytes.readUInt16LE(6);
  if (isBranch) return keyEnd;
  return keyEnd + (bytes.readUInt16LE(4) === BIG_DATA ? LONG_VALUE_BYTES : bytes.readUInt32LE(0));
}

function leafNode(node: Buffer): { flags: number; byteLength: number; data: Buffer } {
  const data = node.subarray(NODE_HEADER_BYTES + node.readUInt16LE(6));
  return { flags: node.readUInt16LE(4), byteLength: node.readUInt32LE(0), data };
}

function damaged(page: number, what: string): RangeError {
  return new RangeError(`page ${page} ${what}`);
}
