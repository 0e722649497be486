import { BlobEraser } from "./disk/blob-eraser.ts";
import { encodeBlob, putBlob } from "./disk/blob-store.ts";
import { hashKeys, storeKeys } from "./tables/context-keys.ts";
import type { ContextKeysRow, HashedKeys, Write } from "./tables/context-keys.ts";
import { ContextTable } from "./tables/context-table.ts";
import { GalleryEdit } from "./tables/gallery-edit.ts";
import type {
  BlockReader,
  BlockRef,
  ContextKeys,
  ContextLocation,
  DeletedTemplates,
  Deletion,
  GalleryChanges,
  GalleryPage,
  GalleryStore,
  LooseTemplate,
  NewContext,
  NewGallery,
  PackedBlock,
  PackedBlockEntry,
  ReaderLocation,
  Reservation,
  RosterEntry,
  RosterPage,
  Stored,
  StoredBlock,
  StoredContext,
  StoredGallery,
} from "../gallery-store.ts";
import { GalleryTable, notFound } from "./tables/gallery-table.ts";
import { LmdbBlockReader } from "./readers/block-reader.ts";
import { galleryChanged } from "../../errors.ts";
import { openEnvironment } from "./disk/environment.ts";
import type { Environment } from "./disk/environment.ts";
import type { Tables } from "./rows/schema.ts";
import { PackedLookup } from "./tables/packed-lookup.ts";
import { readyBlock } from "./tables/packed-put.ts";
import { PackedSearch } from "./tables/packed-search.ts";
import { PlacementCounter } from "./tables/placement-counter.ts";
import { PutOrder } from "./tables/put-order.ts";
import { Removals } from "./tables/removals.ts";
import type { StoreLog } from "./tables/removals.ts";
import { blockList, entriesOfSubject, readEntry, readState, rosterPage } from "./tables/roster.ts";
import type { RosterReading } from "./tables/roster.ts";
import { StorageRoom } from "./disk/storage-room.ts";
import { storedBlocks } from "./readers/stored-blocks.ts";
import { TemplateDeletion } from "./tables/template-deletion.ts";
import type { DeletionPlace } from "./tables/template-deletion.ts";
import { Pace } from "./disk/turns.ts";
import { WriteQueue } from "./disk/write-queue.ts";

export interface LmdbStoreOptions {
  /** Folder of the store; made with mode 0700 if it does not exist. */
  readonly path: string;
  /**
   * Address space to map the data file into, in bytes (default 2^34); a larger file is mapped anew as it grows. Give
   * less where the address space of a process is limited (ulimit -v).
   */
  readonly mapSizeBytes?: number;
  /** Bytes of the data file that may be in use; default: what the disk has, less a reserve of 16 MiB for deletions. */
  readonly maxBytes?: number;
  /** Is told of erasures that failed and will be tried again. */
  readonly log?: StoreLog;
}

// What a put may add beside the ciphertext: its rows, and what is left unused of the last page of each.
const PUT_OVERHEAD_BYTES = 8 * 1024;

/**
 * {@link GalleryStore} in one LMDB data file. Reads are synchronous and see the newest commit.
 *
 * Ciphertexts and keys that were acknowledged are erased from the file as the interface says. One thing is not: one
 * whose enrollment or upload failed or was cut off by the end of the process may have been written to pages that are
 * free, and stays there until they are used.
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
  readonly #removals: Removals;
  readonly #order = new PutOrder();
  readonly #counters = new Map<number, PlacementCounter>();

  /** Throws ServerError STORE_UNUSABLE if the folder is open elsewhere, of another schema version, or no store. */
  static open(options: LmdbStoreOptions): LmdbStore {
    return new LmdbStore(openEnvironment(options.path, options.mapSizeBytes), options);
  }

  private constructor(environment: Environment, { maxBytes, log }: LmdbStoreOptions) {
    this.#environment = environment;
    this.#tables = environment.tables;
    this.#contexts = new ContextTable(this.#tables);
    this.#galleries = new GalleryTable(this.#tables);
    this.#lookup = new PackedLookup(this.#tables);
    this.#reader = new LmdbBlockReader(environment.root, this.#tables);
    const room = new StorageRoom(environment, maxBytes);
    this.#room = room;
    this.#queue = new WriteQueue(environment.root, () => {
      room.measure();
    });
    this.#removals = new Removals({
      tables: this.#tables,
      queue: this.#queue,
      eraser: new BlobEraser(environment, this.#queue),
      contexts: this.#contexts,
      galleries: this.#galleries,
      log,
      onDeleted: (gallery) => {
        this.#counters.delete(gallery);
      },
    });
  }

  async createContext(context: NewContext, keys?: ContextKeys): Promise<StoredContext> {
    const {
      contextId,
      scheme: { kind },
    } = context;
    if ((kind === "pairwise") !== (keys !== undefined))
      throw new TypeError(`a ${kind} context ${keys === undefined ? "must" : "cannot"} have keys`);
    const hashed = keys === undefined ? undefined : await hashKeys(keys);
    await this.#removals.contextIsFree(contextId);
    const known = await this.#queue.write(() => {
      const found = this.#contexts.find(contextId);
      if (found === undefined) this.#room.take(hashed?.bytes ?? 0);
      return found;
    });
    if (known !== undefined) return known;
    const written: number[] = [];
    try {
      const row = hashed && (await this.#storeKeys(hashed, written));
      const { stored, isNew } = await this.#queue.write(() => this.#contexts.create(context, row));
      if (!isNew) await this.#removals.eraseBlobs(written);
      return stored;
    } catch (error) {
      // What cannot be erased now is tried again with the next erasure.
      await this.#removals.eraseBlobs(written).catch(() => undefined);
      throw error;
    }
  }

  getContext(contextId: string): StoredContext {
    return this.#contexts.get(contextId);
  }

  listContexts(after: string, limit: number): StoredContext[] {
    return this.#contexts.list(after, limit);
  }

  deleteContext(contextId: string, force: boolean): Promise<void> {
    return this.#removals.deleteContext(contextId, force);
  }

  createGallery(gallery: NewGallery): Promise<StoredGallery> {
    return this.#queue.write(() => {
      this.getContext(gallery.contextId);
      this.#galleries.create(gallery);
      return this.getGallery(gallery.galleryId);
    });
  }

  updateGallery(galleryId: string, changes: GalleryChanges): Promise<StoredGallery> {
    return this.#queue.write(() => {
      this.#galleries.update(galleryId, changes);
      return this.getGallery(galleryId);
    });
  }

  getGallery(galleryId: string): StoredGallery {
    return this.#galleries.get(galleryId);
  }

  listGalleries(contextId: string | undefined, after: string, limit: number): GalleryPage {
    const { ids, next } = this.#galleries.ids(contextId, after, limit);
    return { galleries: ids.map((id) => this.getGallery(id)), next };
  }

  deleteGallery(galleryId: string): Promise<void> {
    return this.#removals.deleteGallery(galleryId);
  }

  async replaceGallery(galleryId: string, draftId: string, expectedRevision: number): Promise<StoredGallery> {
    const { replaced, gallery } = await this.#queue.write(() => {
      const replaced = this.#galleries.replace(galleryId, draftId, expectedRevision);
      return { replaced, gallery: this.getGallery(galleryId) };
    });
    await this.#removals.eraseGalleries([replaced]);
    return gallery;
  }

  reservePlacement(
    galleryId: string,
    templateId: string,
    subjectId: string,
    stride: number,
    slots: number,
  ): Reservation {
    const { gallery } = this.#galleries.row(galleryId);
    const live = readEntry(this.#tables, gallery, templateId)?.live;
    if (live?.subjectId === subjectId && live.stride === stride)
      return { gallery, block: live.block, slot: live.slot, stride };
    return { gallery, ...this.#counter(gallery).next(stride, slots) };
  }

  async putLooseTemplate(galleryId: string, template: LooseTemplate): Promise<Stored<RosterEntry>> {
    const encoded = encodeBlob(template.residues);
    const bytes = encoded.length + PUT_OVERHEAD_BYTES;
    const before = this.#order.after(template.placement.gallery);
    if (before !== undefined) await before;
    const { doomed, ...stored } = await this.#queue.write(() => {
      const edit = this.#edit(galleryId, template.placement.gallery, bytes);
      const entry = edit.put(template, () => putBlob(this.#tables, encoded));
      edit.save();
      return { entry, struckTemplateIds: edit.struckTemplateIds, doomed: edit.doomed };
    }, bytes);
    await this.#removals.eraseBlobs(doomed);
    return stored;
  }

  async putPackedBlock(galleryId: string, block: PackedBlock): Promise<Stored<PackedBlockEntry>> {
    const { gallery, slots } = block;
    const replaced = new PackedSearch({
      ...this.#place(gallery),
      ids: slots.map(({ templateId }) => templateId),
      kind: "templates",
    });
    const writing = { tables: this.#tables, queue: this.#queue, room: this.#room };
    const ready = readyBlock(writing, block, async () => {
      await replaced.run(new Pace(this.#queue));
    });
    const { bytes, store, staged } = await this.#order.take(gallery, ready);
    try {
      const { doomed, ...stored } = await this.#queue.write(() => {
        const edit = this.#edit(galleryId, gallery, bytes);
        replaced.catchUp();
        const entry = edit.putPacked(
          this.#counter(gallery).nextBlock(),
          { ...block, replaced: replaced.found.values() },
          store,
        );
        edit.save();
        return { entry, struckTemplateIds: edit.struckTemplateIds, doomed: edit.doomed };
      }, bytes);
      await this.#removals.eraseBlobs(doomed);
      return stored;
    } catch (error) {
      await this.#removals.eraseBlobs(staged);
      throw error;
    }
  }

  async deleteTemplates(galleryId: string, deletion: Deletion): Promise<DeletedTemplates> {
    const { gallery } = this.#galleries.row(galleryId);
    const work = new TemplateDeletion(this.#place(gallery), deletion);
    await work.find();
    try {
      while (!work.isDone) {
        const step = await this.#queue.write(() =>
          this.#galleries.row(galleryId).gallery === gallery ? work.step() : undefined,
        );
        // Replaced meanwhile: what is to be deleted is in the new one.
        if (step === undefined && work.count === 0) return await this.deleteTemplates(galleryId, deletion);
        if (step === undefined) throw galleryChanged();
        work.commit(step);
      }
    } finally {
      await this.#removals.eraseBlobs(work.doomed);
    }
    return work.result();
  }

  async listEntries(galleryId: string, since: number, limit: number): Promise<RosterPage> {
    return rosterPage(this.#reading(galleryId), since, limit);
  }

  async entriesOfSubject(galleryId: string, subjectId: string): Promise<RosterEntry[]> {
    return entriesOfSubject(this.#reading(galleryId), subjectId);
  }

  async listBlocks(galleryId: string): Promise<{ blocks: BlockRef[]; revision: number }> {
    return blockList(this.#reading(galleryId));
  }

  readBlocks(galleryId: string): AsyncIterable<StoredBlock> {
    const { gallery } = this.#galleries.row(galleryId);
    const isThere = (): boolean => this.#galleries.has(galleryId, gallery);
    return storedBlocks({ tables: this.#tables, reader: this.#reader, gallery, isThere, gate: this.#queue });
  }

  readerLocation(galleryId: string): ReaderLocation {
    return { path: this.#environment.path, gallery: this.#galleries.row(galleryId).gallery };
  }

  contextLocation(contextId: string): ContextLocation {
    return { path: this.#environment.path, contextId: this.getContext(contextId).contextId };
  }

  async close(): Promise<void> {
    this.#removals.close();
    await this.#queue.close();
    await this.#removals.settled();
    await this.#environment.close();
  }

  async #storeKeys(keys: HashedKeys, written: number[]): Promise<ContextKeysRow> {
    const write: Write = (action, bytes) =>
      this.#queue.write(() => {
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

  /**
   * A change that adds so many bytes, inside a write transaction. Throws STORAGE_FULL; GALLERY_NOT_FOUND if another
   * gallery has the id by now.
   */
  #edit(galleryId: string, number: number, bytes: number): GalleryEdit {
    const { gallery, draftOf } = this.#galleries.row(galleryId);
    if (gallery !== number) throw notFound(galleryId);
    this.#room.take(bytes);
    if (draftOf !== undefined) this.#galleries.drafts.touch(draftOf.galleryId, galleryId);
    return new GalleryEdit(this.#tables, this.#lookup, gallery);
  }

  #place(gallery: number): DeletionPlace {
    return { tables: this.#tables, lookup: this.#lookup, gallery, gate: this.#queue };
  }

  #reading(galleryId: string): RosterReading {
    return { ...this.#place(this.#galleries.row(galleryId).gallery), pace: new Pace(this.#queue) };
  }
}
