import { ServerError } from "../errors.ts";
import { readBlob } from "./blob-store.ts";
import type { BlockReader } from "./gallery-store.ts";
import { openReadOnly } from "./lmdb-environment.ts";
import type { Root } from "./lmdb-environment.ts";
import { takeSnapshot } from "./lmdb-internals.ts";
import type { Snapshot } from "./lmdb-internals.ts";
import { BINARY, blockKey, decodeBlock, u32 } from "./lmdb-schema.ts";
import type { BlockRow, Table } from "./lmdb-schema.ts";

type Member = BlockRow["members"][number];

/** Opens the store of that folder for reading, in a worker thread of the process whose LmdbStore has it open. */
export function openBlockReader(path: string): BlockReader {
  return new LmdbBlockReader(openReadOnly(path));
}

class LmdbBlockReader implements BlockReader {
  readonly #root: Root;
  readonly #blocks: Table;
  readonly #blobs: Table;
  readonly #doomedGalleries: Table;
  readonly #snapshot: Snapshot;

  constructor(root: Root) {
    this.#root = root;
    this.#blocks = root.openDB("blocks", BINARY);
    this.#blobs = root.openDB("blobs", BINARY);
    this.#doomedGalleries = root.openDB("doomedGalleries", BINARY);
    this.#snapshot = takeSnapshot(root);
  }

  *looseTemplates(gallery: number, block: number, slots?: readonly number[]): Generator<{ slot: number; residues: Uint8Array }> {
    const wanted = slots === undefined ? undefined : new Set(slots);
    for (const member of this.#members(gallery, block)) {
      if (wanted?.has(member.slot) === false) continue;
      const residues = this.#residues(gallery, block, member);
      if (residues !== undefined) yield { slot: member.slot, residues };
    }
  }

  close(): Promise<void> {
    return this.#root.close();
  }

  // No snapshot is held between steps, so a slow reader keeps no page from being used again. What vanishes or is erased under it is
  // looked up once more: it is corrupt only if the block still names it.
  #residues(gallery: number, block: number, member: Member): Uint8Array | undefined {
    for (let blob = member.blob; ;) {
      const residues = readBlob(this.#blobs, blob, this.#snapshot.options);
      this.#snapshot.release();
      if (residues !== undefined) return residues;
      const now = this.#members(gallery, block).find(({ slot }) => slot === member.slot);
      if (now === undefined) return undefined;
      if (now.blob === blob) throw corrupt(block, member.slot);
      blob = now.blob;
    }
  }

  #members(gallery: number, block: number): readonly Member[] {
    const { options } = this.#snapshot;
    const deleted = this.#doomedGalleries.get(u32(gallery), options) !== undefined;
    const row = deleted ? undefined : this.#blocks.get(blockKey(gallery, block), options);
    this.#snapshot.release();
    return row === undefined ? [] : decodeBlock(row).members;
  }
}

function corrupt(block: number, slot: number): ServerError {
  return new ServerError("STORED_CORRUPT", `the ciphertext in slot ${slot} of block ${block} does not have its SHA-256: restore the store from a backup, or enroll the template again`);
}
