/**
 * Why the public half of the scheme refused something. Closed; the wire's ErrorReason repeats the names of those that
 * bytes from a client can cause.
 *
 * - PARAMETERS_INVALID: unknown or malformed parameters, fewer than 128 bits of security, or no level for a product;
 * - LAYOUT_INVALID: a dimension, stride, slot or number of things that does not fit;
 * - EMBEDDING_INVALID: a vector of another dimension or norm, or with a component that is not finite;
 * - SCALE_OVERFLOW: a scale at which distances would overflow or drown in noise;
 * - CIPHERTEXT_MALFORMED: bytes that are no ciphertext of the expected form;
 * - CIPHERTEXT_TOO_LARGE: more bytes than any ciphertext has, compressed or not;
 * - CIPHERTEXT_TRANSPARENT: a ciphertext, or a difference of two, that anyone can read;
 * - PARAMETER_SET_MISMATCH: a ciphertext that was made with other parameters;
 * - SECRET_KEY_REFUSED: a secret key where a ciphertext belongs;
 * - KEYS_MALFORMED: bytes that are no keys of the expected kind;
 * - KEYS_MISMATCH: keys that were made with other parameters;
 * - ROTATION_KEYS_MISSING: no Galois keys for rotations that a dimension needs;
 * - SEAL_FAILED: an error of SEAL's own, in words.
 */
export type FheErrorReason =
  | "PARAMETERS_INVALID"
  | "LAYOUT_INVALID"
  | "EMBEDDING_INVALID"
  | "SCALE_OVERFLOW"
  | "CIPHERTEXT_MALFORMED"
  | "CIPHERTEXT_TOO_LARGE"
  | "CIPHERTEXT_TRANSPARENT"
  | "PARAMETER_SET_MISMATCH"
  | "SECRET_KEY_REFUSED"
  | "KEYS_MALFORMED"
  | "KEYS_MISMATCH"
  | "ROTATION_KEYS_MISSING"
  | "SEAL_FAILED";

/** For what the code around it rules out: a fault of this package. */
export function impossible(what: string): never {
  throw new Error(`${what}: this cannot be`);
}

/** The one error class of this package. Messages never hold key, embedding, score or ciphertext bytes. */
export class FheError extends Error {
  /** "FheError", for those who have it from another copy of this package. */
  override readonly name = "FheError";
  /** What to branch on; messages may change. */
  readonly reason: FheErrorReason;

  /**
   * `message`: for people, with what was got and what was expected. `options.cause`: the error that this one explains,
   * if any.
   */
  constructor(reason: FheErrorReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}
