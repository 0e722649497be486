import { storedCorrupt } from "../../../errors.ts";
import type { PackedSlot } from "../../gallery-store.ts";

/**
 * The ids of a packed block in the order of its slots: per slot a length and the template id, a length and the subject
 * id. One row of some 20 bytes a template, where a row for each would take 100.
 */
export class BlockRoster {
  readonly #bytes: Buffer;
  /** Where each slot starts. */
  readonly #starts: number[] = [];

  /** Throws ServerError STORED_CORRUPT where the bytes are no such row. */
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    let at = 0;
    while (at < bytes.length) {
      this.#starts.push(at);
      at += 1 + (bytes[at] ?? 0);
      at += 1 + (bytes[at] ?? 0);
    }
    if (at > bytes.length) throw storedCorrupt("the roster of a packed block");
  }

  get count(): number {
    return this.#starts.length;
  }

  /** Throws ServerError STORED_CORRUPT where the block has no such slot, as {@link subjectId}. */
  templateId(slot: number): string {
    return this.#id(this.#start(slot));
  }

  subjectId(slot: number): string {
    const start = this.#start(slot);
    return this.#id(start + 1 + this.#lengthAt(start));
  }

  // Whoever asks has the slot from another row of the same block.
  #start(slot: number): number {
    const start = this.#starts[slot];
    if (start === undefined) throw storedCorrupt("the roster of a packed block");
    return start;
  }

  #id(start: number): string {
    return this.#bytes.toString("latin1", start + 1, start + 1 + this.#lengthAt(start));
  }

  #lengthAt(start: number): number {
    return this.#bytes[start] ?? 0;
  }
}

export function encodeRoster(slots: readonly PackedSlot[]): Buffer {
  return Buffer.from(
    slots.map(({ templateId, subjectId }) => counted(templateId) + counted(subjectId)).join(""),
    "latin1",
  );
}

function counted(id: string): string {
  return String.fromCharCode(id.length) + id;
}

/** Which slots of a packed block are live: bit slot % 8 of byte slot / 8. */
export class LiveSlots {
  readonly bytes: Buffer;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  static all(count: number): LiveSlots {
    const bytes = Buffer.alloc(Math.ceil(count / 8), 255);
    if (count % 8 !== 0) bytes[bytes.length - 1] = 255 >> (8 - (count % 8));
    return new LiveSlots(bytes);
  }

  has(slot: number): boolean {
    return ((this.bytes[slot >> 3] ?? 0) & (1 << (slot & 7))) !== 0;
  }

  strike(slot: number): void {
    this.bytes[slot >> 3] = (this.bytes[slot >> 3] ?? 0) & ~(1 << (slot & 7));
  }

  isEmpty(): boolean {
    return this.bytes.every((byte) => byte === 0);
  }
}
