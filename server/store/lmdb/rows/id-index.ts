/* eslint-disable @typescript-eslint/no-non-null-assertion -- typed arrays, read inside their bounds */
import { storedCorrupt } from "../../../errors.ts";

/** Ids of a packed block by their hashes, ascending: the id with hashes[i] lies in slot slots[i]. */
export interface IdIndex {
  readonly hashes: Uint32Array;
  readonly slots: Uint16Array;
}

const HASH_BYTES = Uint32Array.BYTES_PER_ELEMENT;
const SLOT_BYTES = Uint16Array.BYTES_PER_ELEMENT;
/** Of one id in an encoded index. */
export const INDEX_BYTES_PER_ID = HASH_BYTES + SLOT_BYTES;

const SLOTS_SHIFT = 2 ** 16;

/** The index of ids in the order of their slots. */
export function indexIds(ids: readonly string[]): IdIndex {
  // Hash and slot in one number of 48 bits, which a float holds, so that the native sort of floats does.
  const order = new Float64Array(ids.length);
  for (let slot = 0; slot < ids.length; slot++) order[slot] = idHash(ids[slot]!) * SLOTS_SHIFT + slot;
  order.sort();
  const hashes = new Uint32Array(ids.length);
  const slots = new Uint16Array(ids.length);
  for (let i = 0; i < ids.length; i++) {
    hashes[i] = Math.floor(order[i]! / SLOTS_SHIFT);
    slots[i] = order[i]! % SLOTS_SHIFT;
  }
  return { hashes, slots };
}

/** FNV-1a, 32 bits. Two ids of one hash cost a look at the ids themselves, nothing more. */
function idHash(id: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < id.length; i++) hash = Math.imul(hash ^ id.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/** Bits of the filter: 32 KiB, which stay in a core's first-level cache. */
const FILTER_BITS = 2 ** 18;
/** So many ids of an index are passed over by the filter in the time that one wanted id takes to be searched for. */
const SCAN_RATIO = 32;

/** Ids to be looked for in one index after the other. */
export class WantedIds {
  readonly #index: IdIndex;
  readonly #filter = new Int32Array(FILTER_BITS / 32);

  constructor(index: IdIndex) {
    this.#index = index;
    for (const hash of index.hashes) this.#filter[filterWord(hash)]! |= 1 << hash;
  }

  /** Visits every pair of a wanted slot and a slot of the index whose ids have the same hash. */
  eachMatch(index: IdIndex, visit: (wantedSlot: number, slot: number) => void): void {
    const wanted = this.#index;
    if (wanted.hashes.length * SCAN_RATIO < index.hashes.length)
      eachEqual({ index: wanted, places: wanted.hashes.keys() }, index, visit);
    else
      eachEqual({ index, places: this.#likely(index.hashes) }, wanted, (slot, wantedSlot) => {
        visit(wantedSlot, slot);
      });
  }

  /** Where hashes are that may be wanted; of the others one in 64 is among them. */
  #likely(hashes: Uint32Array): number[] {
    const filter = this.#filter;
    const likely: number[] = [];
    for (let i = 0; i < hashes.length; i++) {
      // As a signed number, which is all that the filter needs and quicker.
      const hash = hashes[i]! | 0;
      if ((filter[filterWord(hash)]! & (1 << hash)) !== 0) likely.push(i);
    }
    return likely;
  }
}

/** Of a filter of FILTER_BITS; within the word the lowest five bits of the hash tell the bit. */
function filterWord(hash: number): number {
  return (hash & (FILTER_BITS - 1)) >>> 5;
}

/** Some of an index's ids, by where they lie in it. */
interface SomeIds {
  readonly index: IdIndex;
  readonly places: Iterable<number>;
}

/** Searches `to` for the hashes of some ids. */
function eachEqual(
  { index: { hashes, slots }, places }: SomeIds,
  to: IdIndex,
  visit: (fromSlot: number, toSlot: number) => void,
): void {
  for (const i of places) {
    const hash = hashes[i]!;
    for (let j = firstNotBelow(to.hashes, hash); to.hashes[j] === hash; j++) visit(slots[i]!, to.slots[j]!);
  }
}

function firstNotBelow(hashes: Uint32Array, hash: number): number {
  let low = 0;
  let high = hashes.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (hashes[middle]! < hash) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** [hashes][slots], little-endian as all processors that this runs on. */
export function encodeIndex({ hashes, slots }: IdIndex): Buffer {
  return Buffer.concat([
    Buffer.from(hashes.buffer, hashes.byteOffset, hashes.byteLength),
    Buffer.from(slots.buffer, slots.byteOffset, slots.byteLength),
  ]);
}

/** Throws ServerError STORED_CORRUPT. */
export function decodeIndex(bytes: Uint8Array): IdIndex {
  if (bytes.length % INDEX_BYTES_PER_ID !== 0) throw storedCorrupt("the index of a packed block");
  const { buffer } = new Uint8Array(bytes);
  const count = bytes.length / INDEX_BYTES_PER_ID;
  return { hashes: new Uint32Array(buffer, 0, count), slots: new Uint16Array(buffer, count * HASH_BYTES, count) };
}
