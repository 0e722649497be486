/**
 * Why the client refused or could not do something. Closed; what the server refused is SERVER_REFUSED with its own
 * reason beside it.
 */
export type ClientErrorReason =
  | "MODEL_MISMATCH"
  | "EMBEDDING_INVALID"
  | "EMBEDDINGS_FILE_INVALID"
  | "KEY_FILE_MISSING"
  | "KEY_FILE_INVALID"
  | "KEY_FILE_EXPOSED"
  | "KEY_FILE_EXISTS"
  | "KEY_MISMATCH"
  | "WRONG_PASSPHRASE"
  | "PASSPHRASE_MISSING"
  | "TENSEAL_INVALID"
  | "SECRET_KEY_REFUSED"
  | "REPLY_INVALID"
  | "ROSTER_STALE"
  | "SERVER_UNAVAILABLE"
  | "SERVER_REFUSED"
  | "DEADLINE_EXCEEDED"
  | "CANCELLED"
  | "USAGE"
  | "INTERNAL";

/** What else is known of a failure. */
export interface ClientErrorOptions extends ErrorOptions {
  /** As ClientError.serverReason. */
  readonly serverReason?: string;
  /** As ClientError.retryAfterMs. */
  readonly retryAfterMs?: number;
}

/** The code of an error of the operating system, such as "ENOENT"; undefined for other errors. */
export function errorCode(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

/** The one error class of this package. Messages never hold key, embedding, score or ciphertext bytes. */
export class ClientError extends Error {
  /** "ClientError", for those who have it from another copy of this package. */
  override readonly name = "ClientError";
  /** What to branch on; messages may change. */
  readonly reason: ClientErrorReason;
  /**
   * Where the server refused: its reason, a name of veilface.v1.ErrorReason without the prefix, such as
   * "GALLERY_NOT_FOUND".
   */
  readonly serverReason: string | undefined;
  /**
   * How long the server asks to wait before the same is tried again, in milliseconds >= 0; undefined where it does not
   * ask.
   */
  readonly retryAfterMs: number | undefined;

  /** `message`: for people, with what was expected and what to do. */
  constructor(reason: ClientErrorReason, message: string, options?: ClientErrorOptions) {
    super(message, options);
    this.reason = reason;
    this.serverReason = options?.serverReason;
    this.retryAfterMs = options?.retryAfterMs;
  }
}
