import { isDeepStrictEqual } from "node:util";
import { ServerError } from "../../../errors.ts";
import { takeNumber } from "../disk/blob-store.ts";
import { DraftTable, MOST_DRAFTS } from "./draft-table.ts";
import type { GalleryChanges, NewGallery, StoredGallery } from "../../gallery-store.ts";
import { decodeGallery, encodeGallery, encodeState } from "../rows/gallery-rows.ts";
import type { GalleryRow } from "../rows/gallery-rows.ts";
import { NEW_GALLERY, contextGalleryKey, idKey, keyAfter, keysUnder, u32 } from "../rows/schema.ts";
import type { Tables } from "../rows/schema.ts";
import { readState } from "./roster.ts";

/** How many ids a list has looked at and which of them it found, and where to go on. */
interface IdPage {
  readonly ids: readonly string[];
  readonly next: string | undefined;
}

/**
 * The rows that describe galleries. What changes something belongs inside a write transaction, and throws before its
 * first write.
 */
export class GalleryTable {
  readonly drafts: DraftTable;
  readonly #tables: Tables;

  constructor(tables: Tables) {
    this.#tables = tables;
    this.drafts = new DraftTable(tables);
  }

  /** Throws ServerError GALLERY_NOT_FOUND. */
  row(galleryId: string): GalleryRow {
    const row = this.#find(galleryId);
    if (row === undefined) throw notFound(galleryId);
    return row;
  }

  /** Throws ServerError GALLERY_NOT_FOUND. */
  get(galleryId: string): StoredGallery {
    const { gallery, createTime, draftOf, uid, ...described } = this.row(galleryId);
    const { revision, templates, strides } = readState(this.#tables, gallery);
    const used = Object.entries(strides)
      .filter(([, { liveBlocks }]) => liveBlocks > 0)
      .map(([stride]) => Number(stride));
    return {
      ...described,
      galleryId,
      createTime,
      revision,
      templateCount: templates,
      strides: used.sort((a, b) => a - b),
      draftOf: draftOf?.galleryId,
      uid: Uint8Array.from(Buffer.from(uid, "hex")),
    };
  }

  /** Whether that id still names that gallery. */
  has(galleryId: string, gallery: number): boolean {
    return this.#find(galleryId)?.gallery === gallery;
  }

  /**
   * Looks at so many galleries after `after`, of one context or of all: those that are being deleted are passed over.
   */
  ids(contextId: string | undefined, after: string, limit: number): IdPage {
    const ids = contextId === undefined ? this.#ids(after, limit) : this.idsOfContext(contextId, after, limit);
    return {
      ids: ids.filter((id) => this.#find(id) !== undefined),
      next: ids.length === limit ? ids.at(-1) : undefined,
    };
  }

  /** Those that are being deleted with their context too. */
  idsOfContext(contextId: string, after: string, limit: number): string[] {
    const start = keyAfter(contextGalleryKey(contextId, after));
    const { end } = keysUnder(contextGalleryKey(contextId, ""));
    return Array.from(this.#tables.contextGalleries.getKeys({ start, end, limit }), (key) =>
      key.toString("latin1", contextId.length + 1),
    );
  }

  /** Its context must be there. Throws as `GalleryStore.createGallery`. */
  create({ galleryId, contextId, space, packedStride, expectedTemplates, draftOf, ...named }: NewGallery): void {
    const uid = Buffer.from(named.uid).toString("hex");
    const asked = { contextId, space, packedStride, expectedTemplates, uid, labels: named.labels };
    const there = this.#find(galleryId);
    if (there !== undefined && isAskedAgain(there, asked, draftOf)) return;
    if (there !== undefined) throw exists(`there is a gallery ${galleryId} already: choose another id`);
    if (this.#stored(galleryId) !== undefined)
      throw exists(`gallery ${galleryId} is being deleted with its context: try again, or choose another id`);
    const base = draftOf === undefined ? undefined : this.#baseOf(draftOf);
    const gallery = takeNumber(this.#tables.numbers, "gallery");
    const row = { gallery, createTime: new Date(), ...asked };
    if (draftOf === undefined || base === undefined) this.#put(galleryId, row);
    else {
      const { revision, nextBlock } = readState(this.#tables, base.gallery);
      this.#put(galleryId, { ...row, draftOf: { galleryId: draftOf, revision } });
      this.drafts.touch(draftOf, galleryId);
      this.#tables.states.putSync(u32(row.gallery), encodeState({ ...NEW_GALLERY, revision, nextBlock }));
    }
  }

  /** Throws ServerError GALLERY_NOT_FOUND. */
  update(galleryId: string, changes: GalleryChanges): void {
    this.#tables.galleries.putSync(idKey(galleryId), encodeGallery({ ...this.row(galleryId), ...changes }));
  }

  /** Hides a gallery that has no drafts, whatever its size, if it is there; adds its number to `doomed`. */
  doom(galleryId: string, doomed: number[]): void {
    const row = this.#stored(galleryId);
    if (row === undefined) return;
    if (row.draftOf !== undefined) this.drafts.remove(row.draftOf.galleryId, galleryId);
    this.#remove(galleryId, row.contextId);
    this.#tables.doomedGalleries.putSync(u32(row.gallery), Buffer.alloc(0));
    doomed.push(row.gallery);
  }

  /** Hides some of a gallery's drafts as {@link doom} does. Returns whether there were any. */
  doomDrafts(galleryId: string, doomed: number[]): boolean {
    const drafts = this.drafts.of(galleryId, MOST_DRAFTS);
    for (const draftId of drafts) {
      this.drafts.remove(galleryId, draftId);
      if (this.#stored(draftId)?.draftOf?.galleryId === galleryId) this.doom(draftId, doomed);
    }
    return drafts.length > 0;
  }

  /** Hides a draft if nothing was written to it for long. Returns its number, or none. */
  doomAbandoned(galleryId: string, draftId: string): number[] {
    const doomed: number[] = [];
    if (this.drafts.isAbandoned(galleryId, draftId)) this.doom(draftId, doomed);
    return doomed;
  }

  /** Returns the number of what the gallery held before. Throws as `GalleryStore.replaceGallery`. */
  replace(galleryId: string, draftId: string, expectedRevision: number): number {
    const old = this.row(galleryId);
    const { draftOf, ...draft } = this.row(draftId);
    const { revision } = readState(this.#tables, old.gallery);
    if (draftOf?.galleryId !== galleryId)
      throw changed(`${draftId} is not a draft of gallery ${galleryId}: create one and fill it`);
    if (revision !== expectedRevision || revision !== draftOf.revision)
      throw changed(`gallery ${galleryId} changed since its draft ${draftId} was made: make a new draft of it`);
    this.#remove(draftId, draft.contextId);
    this.#remove(galleryId, old.contextId);
    this.drafts.remove(galleryId, draftId);
    this.#put(galleryId, { ...draft, labels: old.labels });
    const state = readState(this.#tables, draft.gallery);
    this.#tables.states.putSync(u32(draft.gallery), encodeState({ ...state, revision: state.revision + 1 }));
    this.#tables.doomedGalleries.putSync(u32(old.gallery), Buffer.alloc(0));
    return old.gallery;
  }

  /** A gallery that is not being deleted with its context. */
  #find(galleryId: string): GalleryRow | undefined {
    const row = this.#stored(galleryId);
    return row === undefined || this.#tables.doomedContexts.get(idKey(row.contextId)) !== undefined ? undefined : row;
  }

  #ids(after: string, limit: number): string[] {
    return Array.from(this.#tables.galleries.getKeys({ start: keyAfter(idKey(after)), limit }), (key) =>
      key.toString("latin1"),
    );
  }

  #stored(galleryId: string): GalleryRow | undefined {
    const bytes = this.#tables.galleries.get(idKey(galleryId));
    return bytes && decodeGallery(galleryId, bytes);
  }

  #baseOf(galleryId: string): GalleryRow {
    const base = this.row(galleryId);
    if (base.draftOf === undefined) {
      if (this.drafts.of(galleryId, MOST_DRAFTS).length >= MOST_DRAFTS) throw tooManyDrafts(galleryId);
      return base;
    }
    const description = `names ${galleryId}, which is a draft itself: name the gallery that it is for`;
    throw new ServerError("FIELD_INVALID", `gallery.draft_of ${description}`, {
      violations: [{ field: "gallery.draft_of", description }],
    });
  }

  #put(galleryId: string, row: GalleryRow): void {
    this.#tables.galleries.putSync(idKey(galleryId), encodeGallery(row));
    this.#tables.contextGalleries.putSync(contextGalleryKey(row.contextId, galleryId), Buffer.alloc(0));
  }

  #remove(galleryId: string, contextId: string): void {
    this.#tables.galleries.removeSync(idKey(galleryId));
    this.#tables.contextGalleries.removeSync(contextGalleryKey(contextId, galleryId));
  }
}

type Asked = Omit<GalleryRow, "gallery" | "createTime" | "draftOf">;

/** Whether a gallery was created by the very same request. Its uid tells: nobody else draws the same. */
function isAskedAgain({ draftOf, ...row }: GalleryRow, asked: Asked, askedDraftOf: string | undefined): boolean {
  if (row.uid !== asked.uid || draftOf?.galleryId !== askedDraftOf) return false;
  return isDeepStrictEqual({ ...row, ...asked }, row);
}

function tooManyDrafts(galleryId: string): ServerError {
  const advice =
    "delete those that interrupted runs left behind (veilface gallery pack --discard-drafts), or wait until they are a day old";
  return new ServerError(
    "QUOTA_EXCEEDED",
    `gallery ${galleryId} has ${MOST_DRAFTS} drafts, which is the most: ${advice}`,
    {
      quota: { subject: `drafts of gallery ${galleryId}`, description: `at most ${MOST_DRAFTS} at a time: ${advice}` },
    },
  );
}

export function notFound(galleryId: string): ServerError {
  return new ServerError("GALLERY_NOT_FOUND", `there is no gallery ${galleryId}: create it first`);
}

function exists(message: string): ServerError {
  return new ServerError("GALLERY_EXISTS", message);
}

function changed(message: string): ServerError {
  return new ServerError("GALLERY_CHANGED", message);
}
