import type { CallOptions } from "./remote/call-bounds.ts";
import type { ConnectionOptions } from "./boundary.ts";
import type { Decision } from "./match/decision.ts";
import type { RefusedTemplate } from "./match/rank-candidates.ts";
import type { KeyHolder } from "./keys/key-holder.ts";

/** What a VeilfaceClient works with. */
export interface VeilfaceClientOptions extends ConnectionOptions {
  /** Encrypts and decrypts. Stays the caller's: it outlives the client. */
  readonly keyHolder: KeyHolder;
  /**
   * A folder to keep rosters in, encrypted under the key: a new process then asks for changes only. In memory alone
   * unless given.
   */
  readonly rosterCache?: string;
}

/**
 * Names the model that made the embeddings, so that those of another than the gallery's are refused with
 * MODEL_MISMATCH.
 */
export interface ModelOption {
  /** The id of the model, as ModelSpace.modelId; galleries of another are refused. */
  readonly modelId?: string;
  /** The version of its weights; galleries that state none take any. */
  readonly modelVersion?: string;
}

/** Whose an embedding is said to be. */
export interface Claim {
  /** The subject as it was enrolled: 1 to 64 of a-z, 0-9 and "-". */
  readonly subjectId: string;
  /** The gallery's dimension of finite numbers. */
  readonly embedding: ArrayLike<number>;
}

/** What happens with templates that the server could not compare. */
export interface RefusedOption {
  /**
   * Called before the result with templates that the server could not compare, such as those that are damaged on its
   * disk: the result is of the others alone. Unless given, a process warning names them.
   */
  readonly onRefused?: (templates: readonly RefusedTemplate[]) => void;
}

/** How a verification (1:1) decides. */
export interface VerifyOptions extends CallOptions, ModelOption, RefusedOption {
  /** The largest distance that is accepted, in the gallery's metric, >= 0. */
  readonly threshold: number;
}

/** What an identification (1:N) returns. */
export interface IdentifyOptions extends CallOptions, ModelOption, RefusedOption {
  /** How many subjects at most, >= 1; 5 unless set. */
  readonly maxCandidates?: number;
  /** Leaves out subjects beyond this distance, >= 0; unless set, the nearest are returned however far they are. */
  readonly threshold?: number;
}

/** How a gallery is laid out. */
export interface CreateGalleryOptions extends CallOptions {
  /** The stride of packed blocks, in [1, encoded dimension]; chosen by the server unless given. */
  readonly packedStride?: number;
  /** How many templates the server chooses the stride for; 10,000 unless given. */
  readonly expectedTemplates?: number;
  /** What its owner notes about it, which the server sees: as VeilfaceClient.updateGallery takes them. */
  readonly labels?: Readonly<Record<string, string>>;
}

/** How a gallery is packed. */
export interface PackGalleryOptions extends CallOptions {
  /**
   * The stride of its blocks from now on; unless given, the server chooses the best for as many templates as there
   * are.
   */
  readonly stride?: number;
  /** Called with how many of how many templates are packed so far. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** What is encrypted anew under another key. */
export interface RotateKeyOptions extends CallOptions {
  /** Which galleries; unless given, all under this key. Those under the new key already are passed over. */
  readonly galleryIds?: readonly string[];
  /** Called with the gallery, and how many of how many of its templates are encrypted anew. */
  readonly onProgress?: (galleryId: string, done: number, total: number) => void;
}

/** The outcome of a verification: the nearest of the subject's templates and whether it is near enough. */
export interface Verification extends Decision {
  /** The subject that was claimed. */
  readonly subjectId: string;
  /** The nearest of the subject's templates, which the distance is to. */
  readonly templateId: string;
}
