import { encodedDimension } from "@veilface/fhe";
import { ServerError } from "../errors.ts";
import { takeNumber } from "./blob-store.ts";
import type { ModelSpace, NewGallery, StoredGallery } from "./gallery-store.ts";
import { NEW_GALLERY, contextGalleryKey, decodeJson, encodeJson, idKey, keyAfter, keysUnder, u32 } from "./lmdb-schema.ts";
import type { Tables } from "./lmdb-schema.ts";
import { readState } from "./roster.ts";

export interface GalleryRow {
  readonly gallery: number;
  readonly contextId: string;
  readonly space: ModelSpace;
  readonly createTime: string;
  readonly packedStride: number;
  readonly expectedTemplates: number;
  /** The gallery it is a draft of, and that one's revision when the draft was created. */
  readonly draftOf?: { readonly galleryId: string; readonly revision: number };
  /** Ids of its drafts. */
  readonly drafts: readonly string[];
}

/** The rows that describe galleries. What changes something belongs inside a write transaction, and throws before its first write. */
export class GalleryTable {
  readonly #tables: Tables;

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  /** Throws ServerError GALLERY_NOT_FOUND. */
  row(galleryId: string): GalleryRow {
    const row = this.#find(galleryId);
    if (row === undefined) throw notFound(galleryId);
    return row;
  }

  /** Throws ServerError GALLERY_NOT_FOUND. */
  get(galleryId: string): StoredGallery {
    const { gallery, contextId, space, createTime, packedStride, expectedTemplates, draftOf } = this.row(galleryId);
    const { revision, templates, strides } = readState(this.#tables, gallery);
    const used = Object.entries(strides).filter(([, { liveBlocks }]) => liveBlocks > 0).map(([stride]) => Number(stride));
    return {
      galleryId, contextId, space, createTime: new Date(createTime), revision, templateCount: templates, strides: used.sort((a, b) => a - b),
      packedStride, expectedTemplates, draftOf: draftOf?.galleryId,
    };
  }

  /** Whether that id still names that gallery. */
  has(galleryId: string, gallery: number): boolean {
    return this.#find(galleryId)?.gallery === gallery;
  }

  ids(after: string, limit: number): string[] {
    return Array.from(this.#tables.galleries.getKeys({ start: keyAfter(idKey(after)), limit }), (key) => key.toString("latin1"));
  }

  idsOfContext(contextId: string, after = "", limit?: number): string[] {
    const start = keyAfter(contextGalleryKey(contextId, after));
    const { end } = keysUnder(contextGalleryKey(contextId, ""));
    const keys = this.#tables.contextGalleries.getKeys({ start, end, ...(limit === undefined ? {} : { limit }) });
    return Array.from(keys, (key) => key.toString("latin1", contextId.length + 1));
  }

  /** Its context must be there. Throws as {@link GalleryStore.createGallery}. */
  create({ galleryId, contextId, space, packedStride, expectedTemplates, draftOf }: NewGallery): void {
    if (this.#find(galleryId) !== undefined) throw new ServerError("GALLERY_EXISTS", `there is a gallery ${galleryId} already: choose another id`);
    const base = draftOf === undefined ? undefined : this.#baseOf(draftOf);
    const row = { gallery: takeNumber(this.#tables.numbers, "gallery"), contextId, space, createTime: new Date().toISOString(), packedStride, expectedTemplates, drafts: [] };
    if (draftOf === undefined || base === undefined) this.#put(galleryId, row);
    else {
      const { revision, nextBlock } = readState(this.#tables, base.gallery);
      this.#put(galleryId, { ...row, draftOf: { galleryId: draftOf, revision } });
      this.#put(draftOf, { ...base, drafts: [...base.drafts, galleryId] });
      this.#tables.states.putSync(u32(row.gallery), encodeJson({ ...NEW_GALLERY, revision, nextBlock }));
    }
  }

  /** Hides a gallery and its drafts, whatever their size, and returns their numbers. Throws GALLERY_NOT_FOUND. */
  doom(galleryId: string): number[] {
    const { gallery, drafts, draftOf } = this.row(galleryId);
    if (draftOf !== undefined) this.#dropDraft(draftOf.galleryId, galleryId);
    const doomed = drafts.flatMap((draft) => this.doom(draft));
    this.#remove(galleryId);
    this.#tables.doomedGalleries.putSync(u32(gallery), Buffer.alloc(0));
    return [gallery, ...doomed];
  }

  /** Returns the number of what the gallery held before. Throws as {@link GalleryStore.replaceGallery}. */
  replace(galleryId: string, draftId: string, expectedRevision: number): number {
    const old = this.row(galleryId);
    const { draftOf, ...draft } = this.row(draftId);
    const { revision } = readState(this.#tables, old.gallery);
    if (draftOf?.galleryId !== galleryId) throw changed(`${draftId} is not a draft of gallery ${galleryId}: create one and fill it`);
    if (revision !== expectedRevision || revision !== draftOf.revision) throw changed(`gallery ${galleryId} changed since its draft ${draftId} was made: make a new draft of it`);
    this.#remove(draftId);
    this.#remove(galleryId);
    this.#put(galleryId, { ...draft, drafts: old.drafts.filter((id) => id !== draftId) });
    const state = readState(this.#tables, draft.gallery);
    this.#tables.states.putSync(u32(draft.gallery), encodeJson({ ...state, revision: state.revision + 1 }));
    this.#tables.doomedGalleries.putSync(u32(old.gallery), Buffer.alloc(0));
    return old.gallery;
  }

  #find(galleryId: string): GalleryRow | undefined {
    const bytes = this.#tables.galleries.get(idKey(galleryId));
    return bytes === undefined ? undefined : withDefaults(decodeJson(bytes) as GalleryRow);
  }

  #baseOf(galleryId: string): GalleryRow {
    const base = this.row(galleryId);
    if (base.draftOf === undefined) return base;
    const description = `names ${galleryId}, which is a draft itself: name the gallery that it is for`;
    throw new ServerError("FIELD_INVALID", `gallery.draft_of ${description}`, { violations: [{ field: "gallery.draft_of", description }] });
  }

  #dropDraft(galleryId: string, draftId: string): void {
    const base = this.#find(galleryId);
    if (base !== undefined) this.#put(galleryId, { ...base, drafts: base.drafts.filter((id) => id !== draftId) });
  }

  #put(galleryId: string, row: GalleryRow): void {
    this.#tables.galleries.putSync(idKey(galleryId), encodeJson(row));
    this.#tables.contextGalleries.putSync(contextGalleryKey(row.contextId, galleryId), Buffer.alloc(0));
  }

  #remove(galleryId: string): void {
    const { contextId } = this.row(galleryId);
    this.#tables.galleries.removeSync(idKey(galleryId));
    this.#tables.contextGalleries.removeSync(contextGalleryKey(contextId, galleryId));
  }
}

type EarlierRow = Omit<GalleryRow, "packedStride" | "expectedTemplates" | "drafts" | "space"> & Partial<Omit<GalleryRow, "space">> & {
  readonly space: Omit<ModelSpace, "modelVersion"> & Partial<ModelSpace>;
};

/** Rows written before packed blocks, or before models had versions, lack these. */
function withDefaults(row: EarlierRow): GalleryRow {
  return { packedStride: encodedDimension(row.space), expectedTemplates: 0, drafts: [], ...row, space: { modelVersion: "", ...row.space } };
}

export function notFound(galleryId: string): ServerError {
  return new ServerError("GALLERY_NOT_FOUND", `there is no gallery ${galleryId}: create it first`);
}

function changed(message: string): ServerError {
  return new ServerError("GALLERY_CHANGED", message);
}
