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
  override readonly name = "FaceError";
  readonly reason: FaceErrorReason;

  constructor(reason: FaceErrorReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}
