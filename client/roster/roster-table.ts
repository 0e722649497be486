/* eslint-disable @typescript-eslint/no-non-null-assertion -- typed arrays, read inside their bounds */
import { DEGREE } from "@veilface/fhe";
import { MAX_ID_CHARACTERS } from "@veilface/proto";
import { RosterColumns } from "./roster-columns.ts";
import { invalidReply } from "../remote/wire.ts";
import type { RosterChange, RosterEntry } from "../remote/wire.ts";

const NOBODY = -1;
const FEW_ROWS = 1024;

/**
 * The live templates of a gallery, by place and by template id. Rows are numbered in the order of their last change.
 */
export class RosterTable {
  #columns: RosterColumns;
  /** By block and slot, the row that lies there. */
  readonly #places = new Map<number, Int32Array>();
  /**
   * Open addressing by a hash of the template id; built when first needed. Rows that are dead stay in it until it is
   * built anew.
   */
  #index: Int32Array | undefined;
  #live = 0;

  constructor(columns = new RosterColumns()) {
    this.#columns = columns;
    this.#placeAll();
  }

  /** How many templates are live. */
  get size(): number {
    return this.#live;
  }

  /** The blocks with a template, and in each the row in every slot: -1 for nobody. */
  get places(): ReadonlyMap<number, Int32Array> {
    return this.#places;
  }

  /** The gallery's revision at a row's change. */
  revision(row: number): number {
    return this.#columns.revisions[row]!;
  }

  /** The stride that a row lies at. */
  stride(row: number): number {
    return this.#columns.strides[row]!;
  }

  templateId(row: number): string {
    const { ids, starts, templateBytes } = this.#columns;
    return text(ids, starts[row]!, templateBytes[row]!);
  }

  subjectId(row: number): string {
    const { ids, starts, templateBytes, subjectBytes } = this.#columns;
    return text(ids, starts[row]! + templateBytes[row]!, subjectBytes[row]!);
  }

  entry(row: number): RosterEntry {
    const { blocks, slots } = this.#columns;
    const placement = { block: blocks[row]!, slot: slots[row]!, stride: this.stride(row) };
    return {
      templateId: this.templateId(row),
      subjectId: this.subjectId(row),
      placement,
      revision: this.revision(row),
    };
  }

  /** Live templates, in the order they last changed. */
  *entries(): Generator<RosterEntry, void, undefined> {
    for (let row = 0; row < this.#columns.rows; row++) if (this.#isLive(row)) yield this.entry(row);
  }

  /** The live template that changed last; undefined where that one was changed away since. */
  last(): RosterEntry | undefined {
    const row = this.#columns.rows - 1;
    return row >= 0 && this.#isLive(row) ? this.entry(row) : undefined;
  }

  /**
   * Sets a template's line in place of its earlier one. Throws ClientError REPLY_INVALID for ids or a place that cannot
   * be.
   */
  set(entry: RosterEntry): void {
    this.delete(entry.templateId);
    if (this.#columns.rows > 2 * this.#live + FEW_ROWS) this.#dropDeadRows();
    const { block, slot, stride } = entry.placement;
    if (!(block < 2 ** 32) || slot >= Math.floor(DEGREE / stride))
      throw invalidReply("a template's place out of range");
    const row = this.#append(entry);
    this.#place(row);
    this.#indexRow(row);
    this.#live++;
  }

  /** Sets or deletes, as a change says. Throws as {@link set}. */
  apply({ templateId, live }: RosterChange): void {
    if (live === undefined) this.delete(templateId);
    else this.set(live);
  }

  delete(templateId: string): void {
    const row = this.#rowOf(templateId);
    if (row === NOBODY) return;
    const { blocks, slots } = this.#columns;
    const ofBlock = this.#places.get(blocks[row]!)!;
    ofBlock[slots[row]!] = NOBODY;
    if (ofBlock.every((other) => other === NOBODY)) this.#places.delete(blocks[row]!);
    this.#live--;
  }

  /** All live rows as bytes, with the revision they are of. */
  toBytes(revision: number): Uint8Array {
    this.#dropDeadRows();
    return this.#columns.toBytes(revision);
  }

  #dropDeadRows(): void {
    if (this.#live === this.#columns.rows) return;
    this.#columns = this.#columns.filter((row) => this.#isLive(row));
    this.#placeAll();
    this.#index = undefined;
  }

  #isLive(row: number): boolean {
    const { blocks, slots } = this.#columns;
    return this.#places.get(blocks[row]!)?.[slots[row]!] === row;
  }

  #append({ templateId, subjectId, placement, revision }: RosterEntry): number {
    const columns = this.#columns;
    columns.reserve();
    const row = columns.rows;
    columns.starts[row] = columns.idBytes;
    columns.templateBytes[row] = write(columns, templateId);
    columns.subjectBytes[row] = write(columns, subjectId);
    columns.blocks[row] = placement.block;
    columns.slots[row] = placement.slot;
    columns.strides[row] = placement.stride;
    columns.revisions[row] = revision;
    columns.rows++;
    return row;
  }

  #placeAll(): void {
    this.#places.clear();
    for (let row = 0; row < this.#columns.rows; row++) this.#place(row);
    this.#live = this.#columns.rows;
  }

  #place(row: number): void {
    const { blocks, slots, strides } = this.#columns;
    let ofBlock = this.#places.get(blocks[row]!);
    if (ofBlock === undefined) {
      ofBlock = new Int32Array(Math.floor(DEGREE / strides[row]!)).fill(NOBODY);
      this.#places.set(blocks[row]!, ofBlock);
    }
    ofBlock[slots[row]!] = row;
  }

  #rowOf(templateId: string): number {
    const index = this.#index ?? this.#buildIndex();
    for (let at = hash(templateId) & (index.length - 1); index[at] !== NOBODY; at = (at + 1) & (index.length - 1)) {
      const row = index[at]!;
      if (this.templateId(row) === templateId && this.#isLive(row)) return row;
    }
    return NOBODY;
  }

  #indexRow(row: number): void {
    const index = this.#index;
    // At most half full, dead rows included; the next look-up builds a larger one.
    if (index === undefined || 2 * this.#columns.rows > index.length) this.#index = undefined;
    else insert(index, this.#hashOf(row), row);
  }

  #buildIndex(): Int32Array {
    const index = new Int32Array(2 ** Math.ceil(Math.log2(4 * this.#columns.rows + 64))).fill(NOBODY);
    for (let row = 0; row < this.#columns.rows; row++) insert(index, this.#hashOf(row), row);
    this.#index = index;
    return index;
  }

  /** As hash() of the row's template id, without making a string of it. */
  #hashOf(row: number): number {
    const { ids, starts, templateBytes } = this.#columns;
    const start = starts[row]!;
    let value = HASH_START;
    for (let at = start; at < start + templateBytes[row]!; at++) value = hashStep(value, ids[at]!);
    return hashEnd(value);
  }
}

function insert(index: Int32Array, hashed: number, row: number): void {
  let at = hashed & (index.length - 1);
  while (index[at] !== NOBODY) at = (at + 1) & (index.length - 1);
  index[at] = row;
}

// FNV-1a.
const HASH_START = 0x811c9dc5;

function hashStep(value: number, code: number): number {
  return Math.imul(value ^ code, 0x01000193);
}

// Its upper bits are better than the lower ones, which choose the place.
function hashEnd(value: number): number {
  return value ^ (value >>> 15);
}

function hash(id: string): number {
  let value = HASH_START;
  for (let i = 0; i < id.length; i++) value = hashStep(value, id.charCodeAt(i));
  return hashEnd(value);
}

function write(columns: RosterColumns, id: string): number {
  if (id.length > MAX_ID_CHARACTERS) throw invalidReply(`an id of more than ${MAX_ID_CHARACTERS} characters`);
  for (let i = 0; i < id.length; i++) {
    const code = id.charCodeAt(i);
    if (code > 127) throw invalidReply("an id with characters that ids cannot have");
    columns.ids[columns.idBytes++] = code;
  }
  return id.length;
}

function text(ids: Uint8Array, start: number, length: number): string {
  let id = "";
  for (let at = start; at < start + length; at++) id += String.fromCharCode(ids[at]!);
  return id;
}
