import { ServerError } from "../errors.ts";
import { BlobEraser } from "./blob-eraser.ts";
import { encodeBlob, putBlob, takeNumber } from "./blob-store.ts";
import { GalleryEdit, readEntry, readState, rosterEntry, templatesOfSubject } from "./gallery-edit.ts";
import type {
  BlockRef, GalleryStore, LooseTemplate, ModelSpace, ReaderLocation, Reservation, RosterEntry, RosterPage, StoredContext, StoredGallery,
} from "./gallery-store.ts";
import { openEnvironment } from "./lmdb-environment.ts";
import type { Environment } from "./lmdb-environment.ts";
import {
  changeKey, contextGalleryKey, decodeBlock, decodeJson, encodeJson, idKey, keyAfter, keysUnder, u32,
} from "./lmdb-schema.ts";
import type { Tables } from "./lmdb-schema.ts";
import { PlacementCounter } from "./placement-counter.ts";
import { StorageRoom } from "./storage-room.ts";
import { WriteQueue } from "./write-queue.ts";

export interface LmdbStoreOptions {
  /** Folder of the store; made with mode 0700 if it does not exist. */
  readonly path: string;
  /**
   * Address space to map the data file into, in bytes (default 2^40); a larger file is mapped anew as it grows. Give less where the
   * address space of a process is limited (ulimit -v).
   */
  readonly mapSizeBytes?: number;
  /** Bytes of the data file that may be in use; default: what the disk has, less a reserve of 16 MiB for deletions. */
  readonly maxBytes?: number;
}

interface ContextRow { readonly parameterSet: StoredContext["parameterSet"]; readonly keyId: string; readonly createTime: string }
interface GalleryRow { readonly gallery: number; readonly contextId: string; readonly space: ModelSpace; readonly createTime: string }

// What a put may add beside the ciphertext: its rows, and what is left unused of the last page of each.
const PUT_OVERHEAD_BYTES = 8 * 1024;

/**
 * {@link GalleryStore} in one LMDB data file. Reads are synchronous and see the newest commit.
 *
 * Ciphertexts that were acknowledged are erased from the file as the interface says. One thing is not: a ciphertext whose enrollment
 * failed or was cut off by the end of the process may have been written to pages that are free, and stays there until they are used.
 */
export class LmdbStore implements GalleryStore {
  readonly #environment: Environment;
  readonly #tables: Tables;
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
    const room = new StorageRoom(environment, maxBytes);
    this.#room = room;
    this.#queue = new WriteQueue(environment.root, () => { room.measure(); });
    this.#eraser = new BlobEraser(environment, this.#queue);
    // What fails here is tried again at the next opening; the store itself is sound.
    this.#resumed = this.#eraser.resume().catch(() => undefined);
  }

  createContext({ contextId, parameterSet, keyId }: Omit<StoredContext, "createTime">): Promise<StoredContext> {
    return this.#queue.write(() => {
      const { contexts } = this.#tables;
      if (contexts.get(idKey(contextId)) === undefined) {
        const row: ContextRow = { parameterSet, keyId: Buffer.from(keyId).toString("hex"), createTime: new Date().toISOString() };
        contexts.putSync(idKey(contextId), encodeJson(row));
      }
      return this.getContext(contextId);
    });
  }

  getContext(contextId: string): StoredContext {
    const bytes = this.#tables.contexts.get(idKey(contextId));
    if (bytes === undefined) throw new ServerError("CONTEXT_NOT_FOUND", `there is no context ${contextId}: create it first`);
    return contextFrom(contextId, bytes);
  }

  listContexts(after: string, limit: number): StoredContext[] {
    const rows = this.#tables.contexts.getRange({ ...startAfter(after), limit });
    return Array.from(rows, ({ key, value }) => contextFrom(key.toString("latin1"), value));
  }

  async deleteContext(contextId: string, force: boolean): Promise<void> {
    const doomed = await this.#queue.write(() => {
      this.getContext(contextId);
      const galleryIds = this.#galleriesOf(contextId);
      if (galleryIds.length > 0 && !force) {
        throw new ServerError("CONTEXT_IN_USE", `context ${contextId} has galleries: delete them first, or force the deletion of all`);
      }
      const galleries = galleryIds.map((galleryId) => this.#doomGallery(galleryId));
      this.#tables.contexts.removeSync(idKey(contextId));
      return galleries;
    });
    for (const gallery of doomed) await this.#eraseGallery(gallery);
  }

  createGallery({ galleryId, contextId, space }: Pick<StoredGallery, "galleryId" | "contextId" | "space">): Promise<StoredGallery> {
    return this.#queue.write(() => {
      const { galleries, contextGalleries, numbers } = this.#tables;
      this.getContext(contextId);
      if (galleries.get(idKey(galleryId)) !== undefined) throw new ServerError("GALLERY_EXISTS", `there is a gallery ${galleryId} already: choose another id`);
      const row: GalleryRow = { gallery: takeNumber(numbers, "gallery"), contextId, space, createTime: new Date().toISOString() };
      galleries.putSync(idKey(galleryId), encodeJson(row));
      contextGalleries.putSync(contextGalleryKey(contextId, galleryId), Buffer.alloc(0));
      return this.getGallery(galleryId);
    });
  }

  getGallery(galleryId: string): StoredGallery {
    return this.#galleryFrom(galleryId, this.#row(galleryId));
  }

  listGalleries(contextId: string | undefined, after: string, limit: number): StoredGallery[] {
    const ids = contextId === undefined
      ? Array.from(this.#tables.galleries.getKeys({ ...startAfter(after), limit }), (key) => key.toString("latin1"))
      : this.#galleriesOf(contextId, after, limit);
    return ids.map((id) => this.getGallery(id));
  }

  async deleteGallery(galleryId: string): Promise<void> {
    await this.#eraseGallery(await this.#queue.write(() => this.#doomGallery(galleryId)));
  }

  reservePlacement(galleryId: string, templateId: string, subjectId: string, stride: number, slots: number): Reservation {
    const { gallery } = this.#row(galleryId);
    const live = readEntry(this.#tables, gallery, templateId)?.live;
    if (live?.subjectId === subjectId && live.stride === stride) return { gallery, block: live.block, slot: live.slot, stride };
    let counter = this.#counters.get(gallery);
    if (counter === undefined) {
      counter = new PlacementCounter(readState(this.#tables, gallery));
      this.#counters.set(gallery, counter);
    }
    return { gallery, ...counter.next(stride, slots) };
  }

  async putLooseTemplate(galleryId: string, template: LooseTemplate): Promise<RosterEntry> {
    const encoded = encodeBlob(template.residues);
    const bytes = encoded.length + PUT_OVERHEAD_BYTES;
    const { entry, doomed } = await this.#queue.write(() => {
      const { gallery } = this.#row(galleryId);
      if (gallery !== template.placement.gallery) throw notFound(galleryId);
      this.#room.take(bytes);
      const edit = new GalleryEdit(this.#tables, gallery);
      const entry = edit.put(template, () => putBlob(this.#tables, encoded));
      edit.save();
      return { entry, doomed: edit.doomed };
    }, bytes);
    await this.#eraser.eraseBlobs(doomed);
    return entry;
  }

  async deleteTemplates(galleryId: string, templateIds: readonly string[], subjectIds: readonly string[]): Promise<{ entries: RosterEntry[]; revision: number }> {
    const { doomed, ...deleted } = await this.#queue.write(() => {
      const { gallery } = this.#row(galleryId);
      const edit = new GalleryEdit(this.#tables, gallery);
      const ids = [...templateIds, ...subjectIds.flatMap((subjectId) => templatesOfSubject(this.#tables, gallery, subjectId))];
      const entries = ids.map((id) => edit.delete(id)).filter((entry) => entry !== undefined);
      if (entries.length > 0) edit.save();
      return { entries, revision: edit.revision, doomed: edit.doomed };
    });
    await this.#eraser.eraseBlobs(doomed);
    return deleted;
  }

  listEntries(galleryId: string, since: number, limit: number): RosterPage {
    const { gallery } = this.#row(galleryId);
    const { end } = keysUnder(u32(gallery));
    const ids = Array.from(this.#tables.changes.getRange({ start: changeKey(gallery, since + 1), end, limit: limit + 1 }), ({ value }) => value.toString("latin1"));
    const entries = ids.slice(0, limit).map((id) => this.#entry(gallery, id));
    return { entries, revision: readState(this.#tables, gallery).revision, next: ids.length > limit ? entries[entries.length - 1]!.revision : undefined };
  }

  entriesOfSubject(galleryId: string, subjectId: string): RosterEntry[] {
    const { gallery } = this.#row(galleryId);
    return templatesOfSubject(this.#tables, gallery, subjectId).map((id) => this.#entry(gallery, id));
  }

  listBlocks(galleryId: string): { blocks: BlockRef[]; revision: number } {
    const { gallery } = this.#row(galleryId);
    const rows = this.#tables.blocks.getRange(keysUnder(u32(gallery)));
    const blocks = Array.from(rows, ({ key, value }) => ({ block: key.readUInt32BE(4), stride: decodeBlock(value).stride }));
    return { blocks, revision: readState(this.#tables, gallery).revision };
  }

  readerLocation(galleryId: string): ReaderLocation {
    return { path: this.#environment.path, gallery: this.#row(galleryId).gallery };
  }

  async close(): Promise<void> {
    this.#eraser.close();
    await this.#queue.close();
    await this.#resumed;
    await this.#environment.close();
  }

  #row(galleryId: string): GalleryRow {
    const bytes = this.#tables.galleries.get(idKey(galleryId));
    if (bytes === undefined) throw notFound(galleryId);
    return decodeJson(bytes) as GalleryRow;
  }

  #galleryFrom(galleryId: string, { gallery, contextId, space, createTime }: GalleryRow): StoredGallery {
    const { revision, templates, strides } = readState(this.#tables, gallery);
    const used = Object.entries(strides).filter(([, { liveBlocks }]) => liveBlocks > 0).map(([stride]) => Number(stride));
    return { galleryId, contextId, space, createTime: new Date(createTime), revision, templateCount: templates, strides: used.sort((a, b) => a - b) };
  }

  #galleriesOf(contextId: string, after = "", limit?: number): string[] {
    const { start } = startAfter(contextGalleryKey(contextId, after).toString("latin1"));
    const { end } = keysUnder(contextGalleryKey(contextId, ""));
    const keys = this.#tables.contextGalleries.getKeys({ start, end, ...(limit === undefined ? {} : { limit }) });
    return Array.from(keys, (key) => key.toString("latin1", contextId.length + 1));
  }

  #entry(gallery: number, templateId: string): RosterEntry {
    return rosterEntry(templateId, readEntry(this.#tables, gallery, templateId)!);
  }

  // Inside a write transaction: one commit hides the gallery, whatever its size.
  #doomGallery(galleryId: string): number {
    const { gallery, contextId } = this.#row(galleryId);
    this.#tables.galleries.removeSync(idKey(galleryId));
    this.#tables.contextGalleries.removeSync(contextGalleryKey(contextId, galleryId));
    this.#tables.doomedGalleries.putSync(u32(gallery), Buffer.alloc(0));
    return gallery;
  }

  async #eraseGallery(gallery: number): Promise<void> {
    this.#counters.delete(gallery);
    await this.#eraser.eraseGallery(gallery);
  }
}

function startAfter(id: string): { start: Buffer } {
  return { start: keyAfter(idKey(id)) };
}

function contextFrom(contextId: string, bytes: Buffer): StoredContext {
  const { parameterSet, keyId, createTime } = decodeJson(bytes) as ContextRow;
  return { contextId, parameterSet, keyId: Uint8Array.from(Buffer.from(keyId, "hex")), createTime: new Date(createTime) };
}

function notFound(galleryId: string): ServerError {
  return new ServerError("GALLERY_NOT_FOUND", `there is no gallery ${galleryId}: create it first`);
}
