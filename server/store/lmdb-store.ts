import { ServerError } from "../errors.ts";
import { BlobEraser } from "./blob-eraser.ts";
import { encodeBlob, putBlob } from "./blob-store.ts";
import { blockStride } from "./block-rows.ts";
import { hashKeys, storeKeys } from "./context-keys.ts";
import type { ContextKeysRow, HashedKeys, Write } from "./context-keys.ts";
import { ContextTable } from "./context-table.ts";
import { GalleryEdit } from "./gallery-edit.ts";
import type {
  BlockReader, BlockRef, ContextKeys, ContextLocation, DeletedTemplates, GalleryStore, LooseTemplate, NewContext, NewGallery, PackedBlock, PackedBlockEntry,
  ReaderLocation, Reservation, RosterEntry, RosterPage, StoredBlock, StoredContext, StoredGallery,
} from "./gallery-store.ts";
import { GalleryTable, notFound } from "./gallery-table.ts";
import { LmdbBlockReader } from "./lmdb-block-reader.ts";
import { openEnvironment } from "./lmdb-environment.ts";
import type { Environment } from "./lmdb-environment.ts";
import { keysUnder, u32 } from "./lmdb-schema.ts";
import type { Tables } from "./lmdb-schema.ts";
import { PackedLookup } from "./packed-lookup.ts";
import { packedRows } from "./packed-put.ts";
import { PlacementCounter } from "./placement-counter.ts";
import { entriesOfSubject, readEntry, readState, rosterPage } from "./roster.ts";
import { StorageRoom } from "./storage-room.ts";
import { storedBlocks } from "./stored-blocks.ts";
import { WriteQueue } from "./write-queue.ts";

export interface LmdbStoreOptions {
  /** Folder of the store; made with mode 0700 if it does not exist. */
  readonly path: string;
  /**
   * Address space to map the data file into, in bytes (default 2^34); a larger file is mapped anew as it grows. Give less where the
   * address space of a process is limited (ulimit -v).
   */
  readonly mapSizeBytes?: number;
  /** Bytes of the data file that may be in use; default: what the disk has, less a reserve of 16 MiB for deletions. */
  readonly maxBytes?: number;
}

// What a put may add beside the ciphertext: its rows, and what is left unused of the last page of each.
const PUT_OVERHEAD_BYTES = 8 * 1024;

/**
 * {@link GalleryStore} in one LMDB data file. Reads are synchronous and see the newest commit.
 *
 * Ciphertexts and keys that were acknowledged are erased from the file as the interface says. One thing is not: one whose enrollment
 * or upload failed or was cut off by the end of the process may have been written to pages that are free, and stays there until they are used.
 */
export class LmdbStore implements GalleryStore {
  readonly #environment: Environment;
  readonly #tables: Tables;
  readonly #contexts: ContextTable;
  readonly #galleries: GalleryTable;
  readonly #lookup: PackedLookup;
  readonly #reader: BlockReader;
  readonly #room: StorageRoom;
  readonly #queue: WriteQueue;
  readonly #eraser: BlobEraser;
  readonly #counters = new Map<number, PlacementCounter>();
  readonly #resumed: Promise<void>;

  /** Throws ServerError STORE_UNUSABLE if the folder is open elsewhere, of another schema version, or no store. */
  static open({ path, mapSizeBytes, maxBytes }: LmdbStoreOptions): LmdbStore {
    return new LmdbStore(openEnvironment(path, mapSizeBytes), maxBytes);
  }

  private constructor(environment: Environment, maxBytes: number | undefined) {
    this.#environment = environment;
    this.#tables = environment.tables;
    this.#contexts = new ContextTable(this.#tables);
    this.#galleries = new GalleryTable(this.#tables);
    this.#lookup = new PackedLookup(this.#tables);
    this.#reader = new LmdbBlockReader(environment.root, this.#tables);
    const room = new StorageRoom(environment, maxBytes);
    this.#room = room;
    this.#queue = new WriteQueue(environment.root, () => { room.measure(); });
    this.#eraser = new BlobEraser(environment, this.#queue);
    // What fails here is tried again at the next opening; the store itself is sound.
    this.#resumed = this.#eraser.resume().catch(() => undefined);
  }

  async createContext(context: NewContext, keys?: ContextKeys): Promise<StoredContext> {
    const { contextId, scheme: { kind } } = context;
    if ((kind === "pairwise") !== (keys !== undefined)) throw new TypeError(`a ${kind} context ${keys === undefined ? "must" : "cannot"} have keys`);
    const hashed = keys === undefined ? undefined : await hashKeys(keys);
    const known = await this.#queue.write(() => this.#contexts.find(contextId) ?? this.#room.take(hashed?.bytes ?? 0));
    if (known !== undefined) return known;
    const written: number[] = [];
    try {
      const row = hashed && (await this.#storeKeys(hashed, written));
      const { stored, isNew } = await this.#queue.write(() => this.#contexts.create(context, row));
      if (!isNew) await this.#eraser.eraseBlobs(written);
      return stored;
    } catch (error) {
      // What cannot be erased now is tried again with the next erasure.
      await this.#eraser.eraseBlobs(written).catch(() => undefined);
      throw error;
    }
  }

  getContext(contextId: string): StoredContext {
    return this.#contexts.get(contextId);
  }

  listContexts(after: string, limit: number): StoredContext[] {
    return this.#contexts.list(after, limit);
  }

  async deleteContext(contextId: string, force: boolean): Promise<void> {
    const { blobs, galleries } = await this.#queue.write(() => {
      this.getContext(contextId);
      if (this.#galleries.idsOfContext(contextId).length > 0 && !force) {
        throw new ServerError("CONTEXT_IN_USE", `context ${contextId} has galleries: delete them first, or force the deletion of all`);
      }
      const blobs = this.#contexts.doom(contextId);
      const galleries: number[] = [];
      // One by one, as a gallery's drafts go with it.
      for (let [next] = this.#galleries.idsOfContext(contextId, "", 1); next !== undefined; [next] = this.#galleries.idsOfContext(contextId, "", 1)) {
        galleries.push(...this.#galleries.doom(next));
      }
      return { blobs, galleries };
    });
    await this.#eraser.eraseBlobs(blobs);
    await this.#eraseGalleries(galleries);
  }

  createGallery(gallery: NewGallery): Promise<StoredGallery> {
    return this.#queue.write(() => {
      this.getContext(gallery.contextId);
      this.#galleries.create(gallery);
      return this.getGallery(gallery.galleryId);
    });
  }

  getGallery(galleryId: string): StoredGallery {
    return this.#galleries.get(galleryId);
  }

  listGalleries(contextId: string | undefined, after: string, limit: number): StoredGallery[] {
    const ids = contextId === undefined ? this.#galleries.ids(after, limit) : this.#galleries.idsOfContext(contextId, after, limit);
    return ids.map((id) => this.getGallery(id));
  }

  async deleteGallery(galleryId: string): Promise<void> {
    await this.#eraseGalleries(await this.#queue.write(() => this.#galleries.doom(galleryId)));
  }

  async replaceGallery(galleryId: string, draftId: string, expectedRevision: number): Promise<StoredGallery> {
    const { replaced, gallery } = await this.#queue.write(() => {
      const replaced = this.#galleries.replace(galleryId, draftId, expectedRevision);
      return { replaced, gallery: this.getGallery(galleryId) };
    });
    await this.#eraseGalleries([replaced]);
    return gallery;
  }

  reservePlacement(galleryId: string, templateId: string, subjectId: string, stride: number, slots: number): Reservation {
    const { gallery } = this.#galleries.row(galleryId);
    const live = readEntry(this.#tables, gallery, templateId)?.live;
    if (live?.subjectId === subjectId && live.stride === stride) return { gallery, block: live.block, slot: live.slot, stride };
    return { gallery, ...this.#counter(gallery).next(stride, slots) };
  }

  async putLooseTemplate(galleryId: string, template: LooseTemplate): Promise<RosterEntry> {
    const encoded = encodeBlob(template.residues);
    const bytes = encoded.length + PUT_OVERHEAD_BYTES;
    const { entry, doomed } = await this.#queue.write(() => {
      const { gallery } = this.#galleries.row(galleryId);
      if (gallery !== template.placement.gallery) throw notFound(galleryId);
      this.#room.take(bytes);
      const edit = new GalleryEdit(this.#tables, this.#lookup, gallery);
      const entry = edit.put(template, () => putBlob(this.#tables, encoded));
      edit.save();
      return { entry, doomed: edit.doomed };
    }, bytes);
    await this.#eraser.eraseBlobs(doomed);
    return entry;
  }

  async putPackedBlock(galleryId: string, block: PackedBlock): Promise<PackedBlockEntry> {
    const { bytes, store } = packedRows(this.#tables, block);
    const { entry, doomed } = await this.#queue.write(() => {
      const { gallery } = this.#galleries.row(galleryId);
      if (gallery !== block.gallery) throw notFound(galleryId);
      this.#room.take(bytes);
      const edit = new GalleryEdit(this.#tables, this.#lookup, gallery);
      const entry = edit.putPacked(this.#counter(gallery).nextBlock(), block, store);
      edit.save();
      return { entry, doomed: edit.doomed };
    }, bytes);
    await this.#eraser.eraseBlobs(doomed);
    return entry;
  }

  async deleteTemplates(galleryId: string, templateIds: readonly string[], subjectIds: readonly string[]): Promise<DeletedTemplates> {
    const { doomed, ...deleted } = await this.#queue.write(() => {
      const { gallery } = this.#galleries.row(galleryId);
      const edit = new GalleryEdit(this.#tables, this.#lookup, gallery);
      const entries = edit.delete(templateIds, subjectIds);
      if (entries.length > 0) edit.save();
      return { entries, revision: edit.revision, struckTemplateIds: edit.struckTemplateIds, doomed: edit.doomed };
    });
    await this.#eraser.eraseBlobs(doomed);
    return deleted;
  }

  listEntries(galleryId: string, since: number, limit: number): RosterPage {
    return rosterPage(this.#tables, this.#galleries.row(galleryId).gallery, since, limit);
  }

  entriesOfSubject(galleryId: string, subjectId: string): RosterEntry[] {
    return entriesOfSubject(this.#tables, this.#lookup, this.#galleries.row(galleryId).gallery, subjectId);
  }

  listBlocks(galleryId: string): { blocks: BlockRef[]; revision: number } {
    const { gallery } = this.#galleries.row(galleryId);
    const rows = this.#tables.blocks.getRange(keysUnder(u32(gallery)));
    const blocks = Array.from(rows, ({ key, value }) => ({ block: key.readUInt32BE(4), stride: blockStride(value) }));
    return { blocks, revision: readState(this.#tables, gallery).revision };
  }

  readBlocks(galleryId: string): Iterable<StoredBlock> {
    const { gallery } = this.#galleries.row(galleryId);
    const isThere = (): boolean => this.#galleries.has(galleryId, gallery);
    return storedBlocks({ tables: this.#tables, reader: this.#reader, gallery, isThere });
  }

  readerLocation(galleryId: string): ReaderLocation {
    return { path: this.#environment.path, gallery: this.#galleries.row(galleryId).gallery };
  }

  contextLocation(contextId: string): ContextLocation {
    return { path: this.#environment.path, contextId: this.getContext(contextId).contextId };
  }

  async close(): Promise<void> {
    this.#eraser.close();
    await this.#queue.close();
    await this.#resumed;
    await this.#environment.close();
  }

  async #storeKeys(keys: HashedKeys, written: number[]): Promise<ContextKeysRow> {
    const write: Write = (action, bytes) => this.#queue.write(() => {
      this.#room.take(bytes);
      return action();
    }, bytes);
    return storeKeys(this.#tables, keys, write, written);
  }

  #counter(gallery: number): PlacementCounter {
    const counter = this.#counters.get(gallery) ?? new PlacementCounter(readState(this.#tables, gallery));
    this.#counters.set(gallery, counter);
    return counter;
  }

  async #eraseGalleries(galleries: readonly number[]): Promise<void> {
    for (const gallery of galleries) {
      this.#counters.delete(gallery);
      await this.#eraser.eraseGallery(gallery);
    }
  }
}
