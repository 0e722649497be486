/* eslint-disable @typescript-eslint/no-non-null-assertion -- typed arrays, read inside their bounds */
import { MAX_ID_CHARACTERS } from "@veilface/proto";

/** Bytes a row takes in a stored copy, without its ids. */
const STORED_ROW_BYTES = 8 + 4 + 2 + 2 + 1 + 1;
const HEADER_BYTES = 24;

/**
 * A roster's rows by column, in typed arrays: a million people take 40 MB and load in milliseconds, where a million
 * objects take ten times both. Ids are ASCII, one after the other in `ids`: row i's template id, then its subject id,
 * from `starts[i]` on.
 */
export class RosterColumns {
  revisions: Float64Array;
  blocks: Uint32Array;
  slots: Uint16Array;
  strides: Uint16Array;
  templateBytes: Uint8Array;
  subjectBytes: Uint8Array;
  starts: Uint32Array;
  ids: Uint8Array;
  rows = 0;
  idBytes = 0;

  constructor(rows = 64) {
    this.revisions = new Float64Array(rows);
    this.blocks = new Uint32Array(rows);
    this.slots = new Uint16Array(rows);
    this.strides = new Uint16Array(rows);
    this.templateBytes = new Uint8Array(rows);
    this.subjectBytes = new Uint8Array(rows);
    this.starts = new Uint32Array(rows);
    this.ids = new Uint8Array(rows * 32);
  }

  /** Makes room for one more row with ids of any length. */
  reserve(): void {
    if (this.rows === this.revisions.length) this.#growRows(Math.max(64, 2 * this.rows));
    if (this.idBytes + 2 * MAX_ID_CHARACTERS > this.ids.length)
      this.ids = longer(new Uint8Array(2 * this.ids.length + 2 * MAX_ID_CHARACTERS), this.ids);
  }

  /** The rows that `keep` keeps, in their order. */
  filter(keep: (row: number) => boolean): RosterColumns {
    const kept = new RosterColumns(Math.max(64, this.rows));
    for (let row = 0; row < this.rows; row++) if (keep(row)) kept.#copyRow(this, row);
    return kept;
  }

  /**
   * All rows as bytes: f64 rows, idBytes, revision; then each column; then the ids. Little-endian, as every host that
   * Node runs on.
   */
  toBytes(revision: number): Uint8Array {
    const { rows, idBytes } = this;
    const bytes = new Uint8Array(storedBytes(rows, idBytes));
    new Float64Array(bytes.buffer, 0, 3).set([rows, idBytes, revision]);
    let at = HEADER_BYTES;
    for (const column of [
      this.revisions,
      this.blocks,
      this.slots,
      this.strides,
      this.templateBytes,
      this.subjectBytes,
    ]) {
      const used = column.subarray(0, rows);
      bytes.set(new Uint8Array(used.buffer, used.byteOffset, used.byteLength), at);
      at += used.byteLength;
    }
    bytes.set(this.ids.subarray(0, idBytes), at);
    return bytes;
  }

  /** The inverse of {@link toBytes}; undefined for bytes that it did not make. The columns are views of the bytes. */
  static fromBytes(stored: Uint8Array): { columns: RosterColumns; revision: number } | undefined {
    const bytes = stored.byteOffset % 8 === 0 ? stored : Uint8Array.from(stored);
    if (bytes.length < HEADER_BYTES) return undefined;
    const [rows, idBytes, revision] = new Float64Array(bytes.buffer, bytes.byteOffset, 3);
    if (
      rows === undefined ||
      idBytes === undefined ||
      revision === undefined ||
      bytes.length !== storedBytes(rows, idBytes)
    )
      return undefined;
    const columns = new RosterColumns(0);
    columns.#view(bytes, rows, idBytes);
    return columns.#placeIds() === idBytes ? { columns, revision } : undefined;
  }

  #view({ buffer, byteOffset }: Uint8Array, rows: number, idBytes: number): void {
    let at = byteOffset + HEADER_BYTES;
    const take = (bytes: number): [ArrayBufferLike, number, number] => {
      at += rows * bytes;
      return [buffer, at - rows * bytes, rows];
    };
    this.revisions = new Float64Array(...take(8));
    this.blocks = new Uint32Array(...take(4));
    this.slots = new Uint16Array(...take(2));
    this.strides = new Uint16Array(...take(2));
    this.templateBytes = new Uint8Array(...take(1));
    this.subjectBytes = new Uint8Array(...take(1));
    this.ids = new Uint8Array(buffer, at, idBytes);
    this.rows = rows;
    this.idBytes = idBytes;
  }

  #placeIds(): number {
    this.starts = new Uint32Array(this.rows);
    let start = 0;
    for (let row = 0; row < this.rows; row++) {
      this.starts[row] = start;
      start += this.templateBytes[row]! + this.subjectBytes[row]!;
    }
    return start;
  }

  #copyRow(from: RosterColumns, row: number): void {
    this.reserve();
    const to = this.rows++;
    for (const name of ["revisions", "blocks", "slots", "strides", "templateBytes", "subjectBytes"] as const)
      this[name][to] = from[name][row]!;
    const start = from.starts[row]!;
    const length = from.templateBytes[row]! + from.subjectBytes[row]!;
    this.starts[to] = this.idBytes;
    this.ids.set(from.ids.subarray(start, start + length), this.idBytes);
    this.idBytes += length;
  }

  #growRows(rows: number): void {
    this.revisions = longer(new Float64Array(rows), this.revisions);
    this.blocks = longer(new Uint32Array(rows), this.blocks);
    this.slots = longer(new Uint16Array(rows), this.slots);
    this.strides = longer(new Uint16Array(rows), this.strides);
    this.templateBytes = longer(new Uint8Array(rows), this.templateBytes);
    this.subjectBytes = longer(new Uint8Array(rows), this.subjectBytes);
    this.starts = longer(new Uint32Array(rows), this.starts);
  }
}

function storedBytes(rows: number, idBytes: number): number {
  return HEADER_BYTES + rows * STORED_ROW_BYTES + idBytes;
}

function longer<T extends { set: (from: T) => void }>(to: T, from: T): T {
  to.set(from);
  return to;
}
