import type { EmbeddingSpace, ParameterSetName } from "@veilface/fhe";

/** The packed scheme: no key of any kind. */
export interface PackedScheme {
  readonly kind: "packed";
  readonly parameterSet: ParameterSetName;
  /** 32 bytes. */
  readonly keyId: Uint8Array;
}

/**
 * The public parameters of the pairwise scheme. Its keys are large and read apart, by
 * {@link BlockReader.pairwiseContext}.
 */
export interface PairwiseScheme {
  readonly kind: "pairwise";
  /** SEAL's EncryptionParameters, uncompressed; at most a few KB. */
  readonly parameters: Uint8Array;
  readonly scale: number;
  readonly degree: number;
  readonly modulusBits: readonly number[];
  readonly rotationSteps: readonly number[];
  readonly maxDimension: number;
  readonly maxDistance: number;
  /** Of a squared distance of unit vectors with `maxDimension` components; undefined in rows of before it was said. */
  readonly expectedError?: number;
}

/** The public parameters bound to one key, as stored. */
export interface StoredContext {
  readonly contextId: string;
  readonly scheme: PackedScheme | PairwiseScheme;
  readonly createTime: Date;
}

/** What {@link GalleryStore.createContext} takes. */
export type NewContext = Omit<StoredContext, "createTime">;

/** The evaluation keys of a pairwise context, uncompressed, as SEAL may see them. Up to 128 MiB each. */
export interface ContextKeys {
  /** SEAL's RelinKeys. */
  readonly relinKeys: Uint8Array;
  /** SEAL's GaloisKeys. */
  readonly galoisKeys: Uint8Array;
}

/** All that computing under a pairwise context takes. */
export interface PairwiseContext {
  readonly scheme: PairwiseScheme;
  readonly keys: ContextKeys;
}

/** What kind of embeddings a gallery holds, with the label of the model that makes them. */
export interface ModelSpace extends EmbeddingSpace {
  readonly modelId: string;
  /** Of the model's weights; "" where it was not stated. */
  readonly modelVersion: string;
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
  /** The stride of its packed blocks, chosen at creation; 0 if it has none, as under a pairwise context. */
  readonly packedStride: number;
  /** As told at creation. */
  readonly expectedTemplates: number;
  /** The gallery that this one is a draft for; undefined for a gallery of its own. */
  readonly draftOf: string | undefined;
  /** 16 random bytes, which no other gallery has. */
  readonly uid: Uint8Array;
  /** What its owner notes about it. */
  readonly labels: Readonly<Record<string, string>>;
}

/** What {@link GalleryStore.createGallery} takes. */
export type NewGallery = Pick<
  StoredGallery,
  "galleryId" | "contextId" | "space" | "packedStride" | "expectedTemplates" | "draftOf" | "uid" | "labels"
>;

/** What may be changed of a gallery. */
export type GalleryChanges = Partial<Pick<StoredGallery, "expectedTemplates" | "labels">>;

/** Where a template lies. A place is never given to another template again, not even after a restart. */
export interface Placement {
  readonly block: number;
  readonly slot: number;
  readonly stride: number;
}

/** What a block of loose templates looks like. */
export interface BlockForm {
  readonly stride: number;
  /** Of each block, >= 1. */
  readonly slots: number;
}

/** A place given to one template by {@link GalleryStore.reservePlacement}. */
export interface Reservation extends Placement {
  /**
   * The gallery's number inside the store, so that a place is worth nothing in a gallery that was deleted and made
   * again.
   */
  readonly gallery: number;
}

/**
 * A template's line of the roster. A deleted template keeps a line without subject and placement, so that clients learn
 * of it.
 */
export interface RosterEntry {
  readonly templateId: string;
  readonly revision: number;
  /** Undefined if the template was deleted. */
  readonly live: { readonly subjectId: string; readonly placement: Placement } | undefined;
}

/** A line of a template that is there. */
export interface LiveEntry extends RosterEntry {
  readonly live: NonNullable<RosterEntry["live"]>;
}

/** A template enrolled alone: its ciphertext; of the packed scheme already multiplied by X^(slot * stride). */
export interface LooseTemplate {
  readonly templateId: string;
  readonly subjectId: string;
  /** As reserved for this template and subject. */
  readonly placement: Reservation;
  /**
   * At least 4096 bytes. Packed scheme: little-endian u32 residues [component][prime][coefficient]. Pairwise scheme:
   * SEAL's serialization without compression, of u64 residues in the same order; the stride is the dimension, and a
   * block has one slot.
   */
  readonly residues: Uint8Array;
}

/** Whose template lies in a slot of a packed block. */
export interface PackedSlot {
  readonly templateId: string;
  readonly subjectId: string;
}

/** A block whose slots the client filled: template i lies in slot i. */
export interface PackedBlock {
  /**
   * {@link ReaderLocation.gallery} when the block was begun, so that it never gets into a gallery that was deleted and
   * made again.
   */
  readonly gallery: number;
  readonly stride: number;
  /** At least one; no template id twice. */
  readonly slots: readonly PackedSlot[];
  /**
   * The tiles in order as `cutChunks` cuts them: each chunk whole tiles of one prime, 4096 to LARGEST_CHUNK_BYTES. Not
   * to be changed before the promise resolves.
   */
  readonly chunks: readonly Uint8Array[];
}

/** Where a packed block got to. The template in slot i has revision firstRevision + i. */
export interface PackedBlockEntry {
  readonly block: number;
  readonly stride: number;
  /** Templates, in slots 0 to count - 1. */
  readonly count: number;
  readonly firstRevision: number;
}

/** Which templates to delete. */
export interface Deletion {
  readonly templateIds?: readonly string[];
  /** All of whose templates. */
  readonly subjectIds?: readonly string[];
  /** How many at most, the rest being left to another call; all unless given. */
  readonly most?: number;
}

export interface DeletedTemplates {
  /** How many templates were deleted. */
  readonly count: number;
  /** The gallery's revision after the deletion. */
  readonly revision: number;
  /**
   * Templates named in the deletion whose bits stay in a packed block that still has live ones: first those deleted by
   * it, in that order, then those that were deleted or replaced before.
   */
  readonly struck: readonly StruckTemplate[];
  /** Packed blocks that the deletion took along. */
  readonly erasedBlocks: readonly number[];
  /** Subjects named in the deletion that had no live template. */
  readonly unknownSubjectIds: readonly string[];
  /** Template ids named in the deletion that the gallery did not have. */
  readonly unknownTemplateIds: readonly string[];
  /** Whether templates are left because of `most`. */
  readonly more: boolean;
}

/** What became durable, and what it replaced. */
export interface Stored<Entry> {
  readonly entry: Entry;
  /** Templates that it replaced, by their ids, whose bits stay in a packed block that still has live ones. */
  readonly struckTemplateIds: readonly string[];
}

/** A template whose bits stay in a packed block. */
export interface StruckTemplate {
  readonly templateId: string;
  readonly block: number;
}

/** A block that holds at least one live template. */
export interface BlockRef {
  readonly block: number;
  readonly stride: number;
}

/**
 * What is stored of a loose template or of a packed block, for the key holder. Bytes are valid until the iteration's
 * next step.
 */
export type StoredBlock =
  | {
      readonly kind: "loose";
      readonly entry: LiveEntry;
      /** As in {@link LooseTemplate}. */
      readonly residues: Uint8Array;
    }
  | {
      readonly kind: "packed";
      readonly block: number;
      readonly stride: number;
      /** Live templates in slot order. */
      readonly entries: readonly RosterEntry[];
      /** As {@link BlockReader.packedChunks}. */
      readonly chunks: Iterable<Uint8Array>;
    };

/** At most as many galleries as were asked for; fewer, where some of that many were being deleted. */
export interface GalleryPage {
  readonly galleries: readonly StoredGallery[];
  /** Pass as `after` for the next page; undefined on the last one. */
  readonly next: string | undefined;
}

export interface RosterPage {
  readonly entries: readonly RosterEntry[];
  /** The gallery's revision when the page was read. */
  readonly revision: number;
  /** Pass as `since` for the next page; undefined on the last one. */
  readonly next: number | undefined;
}

/** A subject that has live templates. */
export interface SubjectLine {
  readonly subjectId: string;
  readonly templateCount: number;
}

/** At most as many subjects as were asked for. */
export interface SubjectPage {
  readonly subjects: readonly SubjectLine[];
  /** Pass as `since` for the next page; undefined on the last one. */
  readonly next: number | undefined;
}

/**
 * Contexts, galleries and templates, durable: when a promise resolves, its change survives the loss of the process. One
 * process writes; worker threads read through {@link BlockReader}. Changes are atomic: after a crash each is whole or
 * absent.
 */
export interface GalleryStore {
  /**
   * Stores a context with its keys, all of it or nothing, or returns the one that has its id. A pairwise context must
   * have keys and a packed one none, else TypeError; their bytes are not to be changed before the promise resolves.
   * Throws ServerError STORAGE_FULL.
   */
  createContext(context: NewContext, keys?: ContextKeys): Promise<StoredContext>;
  /** Throws ServerError CONTEXT_NOT_FOUND. */
  getContext(contextId: string): StoredContext;
  /** Contexts in the order of their ids, those after `after` ("" for all). */
  listContexts(after: string, limit: number): StoredContext[];
  /**
   * Throws CONTEXT_NOT_FOUND; CONTEXT_IN_USE if it has galleries and `force` is false. Its keys are erased as
   * ciphertexts are. Resolves as {@link GalleryStore.deleteGallery}.
   */
  deleteContext(contextId: string, force: boolean): Promise<void>;

  /**
   * Throws CONTEXT_NOT_FOUND; GALLERY_EXISTS, unless the gallery of that id was created with the same uid and all the
   * same: it is then returned. For a draft GALLERY_NOT_FOUND if the gallery it is for is not there,
   * FIELD_INVALID if that is a draft itself.
   */
  createGallery(gallery: NewGallery): Promise<StoredGallery>;
  /** Changes what is named. Throws GALLERY_NOT_FOUND. */
  updateGallery(galleryId: string, changes: GalleryChanges): Promise<StoredGallery>;
  /** Throws GALLERY_NOT_FOUND, as every method below that takes a gallery id. */
  getGallery(galleryId: string): StoredGallery;
  /** Galleries in the order of their ids, those after `after`, of one context or of all. */
  listGalleries(contextId: string | undefined, after: string, limit: number): GalleryPage;
  /**
   * Deletes a gallery and its drafts. Gone for every reader from its first commit on; resolves once all its ciphertexts
   * are erased from the data file. If the store closes before that, erasure goes on when it is opened again.
   */
  deleteGallery(galleryId: string): Promise<void>;
  /**
   * Puts a draft in the place of its gallery by one commit: the draft's context, space and templates get the gallery's
   * id and the draft's id is free. The gallery gets the draft's create time and uid, by which clients know that it is
   * another one, and a larger revision; it keeps its labels. No place of the old templates is used again and all new
   * ones have larger revisions, because a draft counts on from where its gallery was when it was created: so make the
   * draft first, then read the gallery. Resolves as {@link GalleryStore.deleteGallery}, for what the gallery held
   * before. Throws GALLERY_NOT_FOUND for either id; GALLERY_CHANGED if the gallery's revision is not the expected one,
   * or changed since the draft was created, or the draft is not a draft of it.
   */
  replaceGallery(galleryId: string, draftId: string, expectedRevision: number): Promise<StoredGallery>;

  /**
   * The place for a loose template of the gallery in blocks of that form. A template that is there
   * already under the same subject keeps its place; otherwise the place is new.
   */
  reservePlacement(galleryId: string, template: PackedSlot, form: BlockForm): Reservation;
  /**
   * Stores a loose template in a reserved place, replacing the template of that id. Resolves once the new ciphertext is
   * durable and the replaced one erased from the data file. Throws STORAGE_FULL; GALLERY_NOT_FOUND if the gallery was
   * deleted since the reservation.
   */
  putLooseTemplate(galleryId: string, template: LooseTemplate): Promise<Stored<RosterEntry>>;
  /**
   * Stores a packed block, all of it or nothing. Templates whose ids the gallery has are replaced: loose ones are
   * erased, those in packed blocks are struck, and a packed block without live templates is erased; so sending a block
   * again leaves no duplicates. Resolves once the block is durable and what it replaced is erased. Throws
   * BLOCK_INVALID, STORAGE_FULL; GALLERY_NOT_FOUND if the gallery was deleted or replaced since the block was begun.
   */
  putPackedBlock(galleryId: string, block: PackedBlock): Promise<Stored<PackedBlockEntry>>;
  /**
   * Deletes templates by id and by subject; ids that are not there are passed over. Many are deleted in several
   * commits, each of whole templates, so a call that is cut off may have deleted some. A deletion is seen by readers
   * from its commit on; resolves once the ciphertexts are erased from the data file. A template in a packed block is
   * struck: its bits, and its id in the block's roster, stay until the last live template of the block is gone.
   * Templates enrolled meanwhile may be passed over.
   */
  deleteTemplates(galleryId: string, deletion: Deletion): Promise<DeletedTemplates>;
  /** The latest change of each template that changed after revision `since`, oldest first. */
  listEntries(galleryId: string, since: number, limit: number): Promise<RosterPage>;
  /**
   * The subjects whose oldest live template is of a revision after `since`, in the order of these revisions, of at most
   * `limit` changes.
   */
  listSubjects(galleryId: string, since: number, limit: number): Promise<SubjectPage>;
  /** The live entries of a subject, in the order of their places. */
  entriesOfSubject(galleryId: string, subjectId: string): Promise<LiveEntry[]>;
  /** The blocks that had a live template at the revision, and have one when they are read. */
  listBlocks(galleryId: string): Promise<{ blocks: BlockRef[]; revision: number }>;
  /**
   * Loose templates, one by one, and packed blocks in the order of their revisions, in bounded memory. A template that
   * is there all the while is read at least once; one that is replaced meanwhile may be read in both versions: compare
   * the gallery's revisions before and after. Throws GALLERY_CHANGED if the gallery is deleted or replaced meanwhile,
   * or a packed block goes while it is read.
   */
  readBlocks(galleryId: string): AsyncIterable<StoredBlock>;

  /** What a worker thread needs to open a {@link BlockReader} on a gallery: plain data. */
  readerLocation(galleryId: string): ReaderLocation;
  /** What a worker thread needs for {@link BlockReader.pairwiseContext}: plain data. Throws CONTEXT_NOT_FOUND. */
  contextLocation(contextId: string): ContextLocation;
  /** Waits for writes under way, then closes. */
  close(): Promise<void>;
}

/** Structured-cloneable description of where a gallery's ciphertexts are. */
export interface ReaderLocation {
  readonly path: string;
  /** The gallery's number inside the store: never reused, so a deleted and recreated gallery has another one. */
  readonly gallery: number;
}

/** Structured-cloneable description of where a context's keys are. */
export interface ContextLocation {
  readonly path: string;
  readonly contextId: string;
}

/** The residues of a loose template; undefined where they are damaged. */
export interface LooseResidues {
  readonly slot: number;
  readonly residues: Uint8Array | undefined;
}

/**
 * Read access to ciphertexts and keys, for worker threads. Reads see at least what was committed when the call was
 * made.
 */
export interface BlockReader {
  /**
   * The residues of the live loose templates of a block in slot order, optionally only of some slots. The bytes are
   * valid until the next step of any iteration. A template that is deleted meanwhile is passed over; one whose stored
   * bytes do not have their SHA-256 comes without them.
   */
  looseTemplates(gallery: number, block: number, slots?: readonly number[]): Iterable<LooseResidues>;
  /**
   * Which iteration reads a block; undefined if no live template is in it (any more). Throws ServerError
   * GALLERY_CHANGED if the gallery was deleted or replaced.
   */
  blockKind(gallery: number, block: number): "loose" | "packed" | undefined;
  /**
   * The tiles of a packed block in order, each chunk whole tiles of one prime, copied straight from the data file into
   * `into` (say, memory of a WebAssembly module; LARGEST_CHUNK_BYTES suffice for any chunk), else into a buffer of the
   * reader's own, and valid until the next step. Throws ServerError GALLERY_CHANGED if the block is not there or goes
   * while it is read; STORED_CORRUPT where a chunk does not have its SHA-256, which is computed when this reader first
   * reads the chunk; RangeError if `into` is too short.
   */
  packedChunks(gallery: number, block: number, into?: Uint8Array): Iterable<Uint8Array>;
  /**
   * The parameters and keys of a pairwise context, in buffers that belong to the caller. Throws ServerError
   * CONTEXT_NOT_FOUND if the context is not there or goes while it is read; STORED_CORRUPT where a piece of a key does
   * not have its SHA-256, which is computed at every call; TypeError for a context of the packed scheme.
   */
  pairwiseContext(contextId: string): PairwiseContext;
  /** Has the SHA-256 of every chunk computed again when it is next read. */
  verifyAgain(): void;
  close(): Promise<void>;
}
