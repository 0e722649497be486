/**
 * Why a photo or a model pack cannot be used. Closed.
 *
 * - NOT_AN_IMAGE: bytes that are no image, a damaged one, or one of a format that is not read;
 * - IMAGE_TOO_LARGE: more bytes or pixels than are taken;
 * - NO_FACE: nothing in the photo was taken for a face;
 * - SEVERAL_FACES: more than one where one person should be shown;
 * - FACE_TURNED: a photo that seems to stand on its side or upside down, but not clearly enough to be turned;
 * - FACE_UNUSABLE: a face too blurred, covered or turned away, or something that is none;
 * - MODEL_PACK_INVALID: a card or a network that is missing, malformed or not the one that was named;
 * - MODEL_CACHE_UNUSABLE: no folder to keep the default pack in, or one that cannot be written.
 */
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
