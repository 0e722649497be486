import type { EmbeddingSpace, ParameterSetName } from "@veilface/fhe";

/** The public parameters bound to one key, as stored. */
export interface StoredContext {
  readonly contextId: string;
  readonly parameterSet: ParameterSetName;
  /** 32 bytes. */
  readonly keyId: Uint8Array;
  readonly createTime: Date;
}

/** What kind of embeddings a gallery holds, with the label of the model that makes them. */
export interface ModelSpace extends EmbeddingSpace {
  readonly modelId: string;
}

export interface StoredGallery {
  readonly galleryId: string;
  readonly contextId: string;
  readonly space: ModelSpace;
  readonly createTime: Date;
  /** Grows with every change of the roster; 0 when new. */
  readonly revision: number;
  readonly templateCount: number;
  /** Strides of the blocks that hold a live template, ascending. */
  readonly strides: readonly number[];
}

/** Where a template lies. A place is never given to another template again, not even after a restart. */
export interface Placement {
  readonly block: number;
  readonly slot: number;
  readonly stride: number;
}

/** A place given to one template by {@link GalleryStore.reservePlacement}. */
export interface Reservation extends Placement {
  /** The gallery's number inside the store, so that a place is worth nothing in a gallery that was deleted and made again. */
  readonly gallery: number;
}

/** A template's line of the roster. A deleted template keeps a line without subject and placement, so that clients learn of it. */
export interface RosterEntry {
  readonly templateId: string;
  readonly revision: number;
  /** Undefined if the template was deleted. */
  readonly live: { readonly subjectId: string; readonly placement: Placement } | undefined;
}

/** A template enrolled alone: its ciphertext, already multiplied by X^(slot * stride). */
export interface LooseTemplate {
  readonly templateId: string;
  readonly subjectId: string;
  /** As reserved for this template and subject. */
  readonly placement: Reservation;
  /** Little-endian u32 residues [component][prime][coefficient]; at least 4096 bytes. */
  readonly residues: Uint8Array;
}

/** A block that holds at least one live template. */
export interface BlockRef {
  readonly block: number;
  readonly stride: number;
}

export interface RosterPage {
  readonly entries: readonly RosterEntry[];
  /** The gallery's revision when the page was read. */
  readonly revision: number;
  /** Pass as `since` for the next page; undefined on the last one. */
  readonly next: number | undefined;
}

/**
 * Contexts, galleries and templates, durable: when a promise resolves, its change survives the loss of the process. One process
 * writes; worker threads read through {@link BlockReader}. Changes are atomic: after a crash each is whole or absent.
 */
export interface GalleryStore {
  /** Stores a context, or returns the one that has its id. */
  createContext(context: Omit<StoredContext, "createTime">): Promise<StoredContext>;
  /** Throws ServerError CONTEXT_NOT_FOUND. */
  getContext(contextId: string): StoredContext;
  /** Contexts in the order of their ids, those after `after` ("" for all). */
  listContexts(after: string, limit: number): StoredContext[];
  /** Throws CONTEXT_NOT_FOUND; CONTEXT_IN_USE if it has galleries and `force` is false. Resolves as {@link GalleryStore.deleteGallery}. */
  deleteContext(contextId: string, force: boolean): Promise<void>;

  /** Throws CONTEXT_NOT_FOUND or GALLERY_EXISTS. */
  createGallery(gallery: Pick<StoredGallery, "galleryId" | "contextId" | "space">): Promise<StoredGallery>;
  /** Throws GALLERY_NOT_FOUND, as every method below that takes a gallery id. */
  getGallery(galleryId: string): StoredGallery;
  /** Galleries in the order of their ids, those after `after`, of one context or of all. */
  listGalleries(contextId: string | undefined, after: string, limit: number): StoredGallery[];
  /**
   * Gone for every reader from its first commit on; resolves once all its ciphertexts are erased from the data file. If the store
   * closes before that, erasure goes on when it is opened again.
   */
  deleteGallery(galleryId: string): Promise<void>;

  /**
   * The place for a loose template of the gallery at a stride of `slots` slots per block. A template that is there already under
   * the same subject keeps its place; otherwise the place is new.
   */
  reservePlacement(galleryId: string, templateId: string, subjectId: string, stride: number, slots: number): Reservation;
  /**
   * Stores a loose template in a reserved place, replacing the template of that id. Resolves once the new ciphertext is durable and
   * the replaced one erased from the data file. Throws STORAGE_FULL; GALLERY_NOT_FOUND if the gallery was deleted since the
   * reservation.
   */
  putLooseTemplate(galleryId: string, template: LooseTemplate): Promise<RosterEntry>;
  /**
   * Deletes templates by id and by subject; ids that are not there are passed over. The entries are in the order of their revisions.
   * The deletion is seen by readers from its commit on; resolves once the ciphertexts are erased from the data file.
   */
  deleteTemplates(galleryId: string, templateIds: readonly string[], subjectIds: readonly string[]): Promise<{ entries: RosterEntry[]; revision: number }>;
  /** The latest change of each template that changed after revision `since`, oldest first. */
  listEntries(galleryId: string, since: number, limit: number): RosterPage;
  /** The live entries of a subject, in the order of their places. */
  entriesOfSubject(galleryId: string, subjectId: string): RosterEntry[];
  /** The blocks with a live template, with the revision they were read at. */
  listBlocks(galleryId: string): { blocks: BlockRef[]; revision: number };

  /** What a worker thread needs to open a {@link BlockReader} on a gallery: plain data. */
  readerLocation(galleryId: string): ReaderLocation;
  /** Waits for writes under way, then closes. */
  close(): Promise<void>;
}

/** Structured-cloneable description of where a gallery's ciphertexts are. */
export interface ReaderLocation {
  readonly path: string;
  /** The gallery's number inside the store: never reused, so a deleted and recreated gallery has another one. */
  readonly gallery: number;
}

/** Read access to ciphertexts, for worker threads. Reads see at least what was committed when the call was made. */
export interface BlockReader {
  /**
   * The residues of the live loose templates of a block in slot order, optionally only of some slots. The bytes are valid until the
   * next step of any iteration. A template that is deleted meanwhile is passed over. Throws ServerError STORED_CORRUPT where the
   * stored bytes do not have their SHA-256.
   */
  looseTemplates(gallery: number, block: number, slots?: readonly number[]): Iterable<{ slot: number; residues: Uint8Array }>;
  close(): Promise<void>;
}
