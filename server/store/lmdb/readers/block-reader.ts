import { galleryChanged, storedCorrupt } from "../../../errors.ts";
import { blockKind, decodeBlock } from "../rows/block-rows.ts";
import { digest, readBlob } from "../disk/blob-store.ts";
import type { BlockReader, PairwiseContext, LooseResidues } from "../../gallery-store.ts";
import { LmdbContextReader } from "./context-reader.ts";
import { openReadOnly } from "../disk/environment.ts";
import type { Root } from "../disk/environment.ts";
import { readInto, takeSnapshot } from "../disk/internals.ts";
import type { DirectReads, Snapshot } from "../disk/internals.ts";
import { BINARY, SCHEMA_KEY, blockKey, u32, u48 } from "../rows/schema.ts";
import type { ChunkRow, LooseBlockRow, PackedBlockRow, Table, Tables } from "../rows/schema.ts";

type Member = LooseBlockRow["members"][number];
type ReaderTables = Pick<Tables, "blocks" | "blobs" | "states" | "doomedGalleries" | "contexts" | "contextKeys">;

/** Chunks whose SHA-256 a reader remembers to have seen: those of 250 GB, in at most 16 MB of memory. */
const MOST_VERIFIED = 2 ** 18;

/** Opens the store of that folder for reading, in a worker thread of the process whose LmdbStore has it open. */
export function openBlockReader(path: string): BlockReader {
  const root = openReadOnly(path);
  const table = (name: keyof ReaderTables): Table => root.openDB(name, BINARY);
  return new LmdbBlockReader(root, {
    blocks: table("blocks"),
    blobs: table("blobs"),
    states: table("states"),
    doomedGalleries: table("doomedGalleries"),
    contexts: table("contexts"),
    contextKeys: table("contextKeys"),
  });
}

export class LmdbBlockReader implements BlockReader {
  readonly #root: Root;
  readonly #tables: ReaderTables;
  readonly #snapshot: Snapshot;
  readonly #reads: DirectReads;
  readonly #contexts: LmdbContextReader;
  #buffer = new Uint8Array();
  /** Blobs of packed blocks. Their numbers are never given to other bytes. */
  readonly #verified = new Set<number>();

  constructor(root: Root, tables: ReaderTables) {
    this.#root = root;
    this.#tables = tables;
    this.#snapshot = takeSnapshot(root);
    this.#reads = { snapshot: this.#snapshot, lent: { table: root, key: SCHEMA_KEY } };
    this.#contexts = new LmdbContextReader(root, tables, this.#snapshot);
  }

  *looseTemplates(gallery: number, block: number, slots?: readonly number[]): Generator<LooseResidues> {
    const wanted = slots === undefined ? undefined : new Set(slots);
    for (const member of this.#members(gallery, block)) {
      if (wanted?.has(member.slot) === false) continue;
      const stored = this.#stored(gallery, block, member);
      if (stored !== undefined) yield stored;
    }
  }

  blockKind(gallery: number, block: number): "loose" | "packed" | undefined {
    const row = this.#row(gallery, block);
    if (row !== undefined) return blockKind(row);
    // A gallery that ever had a block has a state until it is erased.
    const { options } = this.#snapshot;
    const gone =
      this.#tables.doomedGalleries.get(u32(gallery), options) !== undefined ||
      this.#tables.states.get(u32(gallery), options) === undefined;
    this.#snapshot.release();
    if (gone) throw galleryChanged();
    return undefined;
  }

  *packedChunks(gallery: number, block: number, into?: Uint8Array): Generator<Uint8Array> {
    const { chunks } = this.#packed(gallery, block);
    for (const chunk of chunks) {
      const bytes = this.#read(chunk, into);
      const sound = bytes !== undefined && this.#isSound(chunk, bytes);
      // A block is erased only after it is unnamed: what was read is right if the block is named still.
      this.#packed(gallery, block);
      if (!sound) throw storedCorrupt(`block ${block}`);
      yield bytes;
    }
  }

  pairwiseContext(contextId: string): PairwiseContext {
    return this.#contexts.pairwiseContext(contextId);
  }

  verifyAgain(): void {
    this.#verified.clear();
  }

  close(): Promise<void> {
    return this.#root.close();
  }

  // No snapshot is held between steps, so a slow reader keeps no page from being used again. What vanishes or is erased
  // under it is looked up once more: it is corrupt only if the block still names it.
  #stored(gallery: number, block: number, { slot, ...member }: Member): LooseResidues | undefined {
    for (let { blob } = member; ; ) {
      const residues = readBlob(this.#tables.blobs, blob, this.#snapshot.options);
      this.#snapshot.release();
      if (residues !== undefined) return { slot, residues };
      const now = this.#members(gallery, block).find((other) => other.slot === slot);
      if (now === undefined) return undefined;
      if (now.blob === blob) return { slot, residues };
      blob = now.blob;
    }
  }

  #members(gallery: number, block: number): readonly Member[] {
    const row = this.#row(gallery, block);
    const decoded = row === undefined ? undefined : decodeBlock(row);
    return decoded?.kind === "loose" ? decoded.members : [];
  }

  #packed(gallery: number, block: number): PackedBlockRow {
    const row = this.#row(gallery, block);
    const decoded = row === undefined ? undefined : decodeBlock(row);
    if (decoded?.kind !== "packed") throw galleryChanged();
    return decoded;
  }

  #row(gallery: number, block: number): Buffer | undefined {
    const { options } = this.#snapshot;
    const deleted = this.#tables.doomedGalleries.get(u32(gallery), options) !== undefined;
    const row = deleted ? undefined : this.#tables.blocks.get(blockKey(gallery, block), options);
    this.#snapshot.release();
    return row;
  }

  #read({ blob, bytes }: ChunkRow, into: Uint8Array | undefined): Uint8Array | undefined {
    if (into === undefined && this.#buffer.length < bytes) this.#buffer = new Uint8Array(bytes);
    const target = into ?? this.#buffer;
    if (target.length < bytes) throw new RangeError(`a chunk of ${bytes} bytes does not fit into ${target.length}`);
    const length = readInto({ table: this.#tables.blobs, key: u48(blob) }, target, this.#reads);
    this.#snapshot.release();
    return length === bytes ? target.subarray(0, bytes) : undefined;
  }

  #isSound({ blob, sha256 }: ChunkRow, bytes: Uint8Array): boolean {
    if (this.#verified.has(blob)) return true;
    if (!digest(bytes).equals(sha256)) return false;
    if (this.#verified.size >= MOST_VERIFIED) this.#verified.clear();
    this.#verified.add(blob);
    return true;
  }
}
