/**
 * Why the client refused or could not do something. Closed.
 *
 * - MODEL_MISMATCH: embeddings of another model, or version of it, than the gallery's;
 * - EMBEDDING_INVALID: an embedding of another dimension, longer than the norm bound, without direction or not finite;
 * - EMBEDDINGS_FILE_INVALID: a file of embeddings that cannot be read as one;
 * - KEY_FILE_MISSING, KEY_FILE_INVALID, KEY_FILE_EXPOSED (to others than its owner), KEY_FILE_EXISTS: see loadKeyFile
 *   and saveKeyFile;
 * - KEY_MISMATCH: a gallery that another key encrypted;
 * - WRONG_PASSPHRASE, PASSPHRASE_MISSING: of a key file;
 * - TENSEAL_INVALID: bytes that are not what of TenSEAL's they should be;
 * - SECRET_KEY_REFUSED: a secret key in what was to be sent; nothing of it was;
 * - REPLY_INVALID: an answer that no sound server of this version gives;
 * - ROSTER_STALE: a gallery that changed again and again while it was read: try again;
 * - SERVER_UNAVAILABLE: no server was reached, or it went away;
 * - SERVER_REFUSED: the server refused, with its own reason in `serverReason`;
 * - DEADLINE_EXCEEDED, CANCELLED: by CallOptions;
 * - USAGE: an argument that no call takes, or a client or key that was closed;
 * - INTERNAL: a fault of the client's own.
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

/** What else is known of a failure: `cause`, and what the server said of it. */
export interface ClientErrorOptions extends ErrorOptions {
  /** As {@link ClientError.serverReason}; undefined where it was not the server that refused. */
  readonly serverReason?: string;
  /** As {@link ClientError.retryAfterMs}. */
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
