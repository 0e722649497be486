import { BlobEraser } from "./disk/blob-eraser.ts";
import { hashKeys, storeKeys } from "./tables/context-keys.ts";
import type { ContextKeysRow, HashedKeys, KeyWriting } from "./tables/context-keys.ts";
import { ContextTable } from "./tables/context-table.ts";
import type {
  BlockForm,
  BlockReader,
  BlockRef,
  ContextKeys,
  ContextLocation,
  DeletedTemplates,
  Deletion,
  GalleryChanges,
  GalleryPage,
  GalleryStore,
  LiveEntry,
  LooseTemplate,
  NewContext,
  NewGallery,
  PackedBlock,
  PackedBlockEntry,
  PackedSlot,
  ReaderLocation,
  Reservation,
  RosterEntry,
  RosterPage,
  SubjectPage,
  Stored,
  StoredBlock,
  StoredContext,
  StoredGallery,
} from "../gallery-store.ts";
import { GalleryTable } from "./tables/gallery-table.ts";
import { LmdbBlockReader } from "./readers/block-reader.ts";
import { openEnvironment } from "./disk/environment.ts";
import type { Environment } from "./disk/environment.ts";
import type { Tables } from "./rows/schema.ts";
import { PackedLookup } from "./tables/packed-lookup.ts";
import { Removals } from "./tables/removals.ts";
import type { StoreLog } from "./tables/removals.ts";
import { blockList, rosterPage } from "./tables/roster.ts";
import { entriesOfSubject, subjectPage } from "./tables/subjects.ts";
import type { RosterReading } from "./tables/roster.ts";
import { StorageRoom } from "./disk/storage-room.ts";
import { storedBlocks } from "./readers/stored-blocks.ts";
import { TemplateWriter } from "./tables/template-writer.ts";
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
  readonly #writer: TemplateWriter;

  /** Throws ServerError STORE_UNUSABLE if the folder is open elsewhere, of another schema version, or no store. */
  static open(options: LmdbStoreOptions): LmdbStore {
    return new LmdbStore(openEnvironment(options.path, options.mapSizeBytes), options);
  }

  private constructor(environment: Environment, { maxBytes, log }: LmdbStoreOptions) {
    const { root, tables } = environment;
    const [contexts, galleries, lookup] = [
      new ContextTable(tables),
      new GalleryTable(tables),
      new PackedLookup(tables),
    ];
    const room = new StorageRoom(environment, maxBytes);
    const queue = new WriteQueue(root, () => {
      room.measure();
    });
    const eraser = new BlobEraser(environment, queue);
    const onDeleted = (gallery: number): void => {
      this.#writer.forget(gallery);
    };
    this.#environment = environment;
    this.#tables = tables;
    this.#contexts = contexts;
    this.#galleries = galleries;
    this.#lookup = lookup;
    this.#reader = new LmdbBlockReader(root, tables);
    this.#room = room;
    this.#queue = queue;
    this.#removals = new Removals({ tables, queue, eraser, contexts, galleries, log, onDeleted });
    this.#writer = new TemplateWriter({ tables, lookup, galleries, queue, room, removals: this.#removals });
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

  reservePlacement(galleryId: string, template: PackedSlot, form: BlockForm): Reservation {
    return this.#writer.reservePlacement(galleryId, template, form);
  }

  putLooseTemplate(galleryId: string, template: LooseTemplate): Promise<Stored<RosterEntry>> {
    return this.#writer.putLoose(galleryId, template);
  }

  putPackedBlock(galleryId: string, block: PackedBlock): Promise<Stored<PackedBlockEntry>> {
    return this.#writer.putPacked(galleryId, block);
  }

  deleteTemplates(galleryId: string, deletion: Deletion): Promise<DeletedTemplates> {
    return this.#writer.delete(galleryId, deletion);
  }

  async listEntries(galleryId: string, since: number, limit: number): Promise<RosterPage> {
    return rosterPage(this.#reading(galleryId), since, limit);
  }

  async listSubjects(galleryId: string, since: number, limit: number): Promise<SubjectPage> {
    return subjectPage(this.#reading(galleryId), since, limit);
  }

  async entriesOfSubject(galleryId: string, subjectId: string): Promise<LiveEntry[]> {
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
    const write: KeyWriting["write"] = (action, bytes) =>
      this.#queue.write(() => {
        this.#room.take(bytes);
        return action();
      }, bytes);
    return storeKeys({ tables: this.#tables, write }, keys, written);
  }

  #reading(galleryId: string): RosterReading {
    const { gallery } = this.#galleries.row(galleryId);
    return { tables: this.#tables, lookup: this.#lookup, gallery, pace: new Pace(this.#queue) };
  }
}
