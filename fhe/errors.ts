/** Why the public half of the scheme refused something. Closed: the wire's ErrorReason repeats these names. */
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
  /** Always "FheError". */
  override readonly name = "FheError";
  /** Why, for programs; the message says it for people. */
  readonly reason: FheErrorReason;

  /** `options.cause`: the error that this one explains, if any. */
  constructor(reason: FheErrorReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}
