/** Why a photo or a model pack cannot be used. Closed. */
export type FaceErrorReason =
  | "NOT_AN_IMAGE"
  | "IMAGE_TOO_LARGE"
  | "NO_FACE"
  | "SEVERAL_FACES"
  | "FACE_TURNED"
  | "FACE_UNUSABLE"
  | "MODEL_PACK_INVALID"
  | "MODEL_CACHE_UNUSABLE";

/** The one error class of this package. Messages never hold pixels or embeddings. */
export class FaceError extends Error {
  /** "FaceError", for those who have it from another copy of this package. */
  override readonly name = "FaceError";
  /** What to branch on; messages may change. */
  readonly reason: FaceErrorReason;

  /** `message`: for people, with what was expected and what to do. */
  constructor(reason: FaceErrorReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}
