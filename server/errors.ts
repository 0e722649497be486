import type { FheErrorReason } from "@veilface/fhe";
import { RETRY_AFTER_MS } from "./limits.ts";

/**
 * Why the server refused something: of its own accord, or because a ciphertext in a field of the request is not sound.
 * Closed. Those that veilface.v1.ErrorReason has are sent to clients, and it says what they mean; the others are faults
 * of the server, which its log tells of and clients know as INTERNAL.
 */
export type ServerErrorReason =
  | FheErrorReason
  | "FIELD_INVALID"
  | "CONTEXT_NOT_FOUND"
  | "CONTEXT_IN_USE"
  | "GALLERY_NOT_FOUND"
  | "GALLERY_EXISTS"
  | "SUBJECT_NOT_FOUND"
  | "SPACE_MISMATCH"
  | "PROBE_INCOMPLETE"
  | "CIPHERTEXT_CORRUPT"
  | "CONTEXT_MISMATCH"
  | "STORED_CORRUPT"
  | "STORAGE_FULL"
  | "OVERLOADED"
  | "QUOTA_EXCEEDED"
  | "TOO_LARGE"
  | "TOO_SLOW"
  | "SHUTTING_DOWN"
  | "GALLERY_CHANGED"
  | "BLOCK_INVALID"
  | "UPLOAD_BROKEN"
  | "SCHEME_MISMATCH"
  /** At start-up only: the data folder cannot be used. Never leaves the server. */
  | "STORE_UNUSABLE";

/** A fault in one field of a request, for google.rpc.BadRequest. */
export interface FieldViolation {
  /** Path of the field as in the proto, such as "gallery.space.dimension". */
  readonly field: string;
  /** What is wrong with it, to be read after its name: "must be in [1, 64]". */
  readonly description: string;
}

/** What there may not be more of, for google.rpc.QuotaFailure. */
export interface QuotaViolation {
  /** Of what, such as 'gallery "staff"'. */
  readonly subject: string;
  /** How many there may be, and what to do. */
  readonly description: string;
}

/** What an error may say beside its reason and its text. */
export interface ServerErrorOptions extends ErrorOptions {
  /** The fields at fault; none unless given. */
  readonly violations?: readonly FieldViolation[];
  /** See {@link ServerError.retryAfterMs}. */
  readonly retryAfterMs?: number;
  /** The quota that is used up; undefined where it is none. */
  readonly quota?: QuotaViolation;
}

/** The one error class of this package. Messages never hold ciphertext bytes. */
export class ServerError extends Error {
  /** "ServerError", for those who have it from another copy of this package. */
  override readonly name = "ServerError";
  /** What to branch on; messages may change. */
  readonly reason: ServerErrorReason;
  /** The fields of the request that are at fault; none where it is no field's fault. */
  readonly violations: readonly FieldViolation[];
  /**
   * When to try the same again, in milliseconds, for google.rpc.RetryInfo; undefined where trying again does not help.
   */
  readonly retryAfterMs: number | undefined;
  /** The quota that is used up, where the reason is QUOTA_EXCEEDED. */
  readonly quota: QuotaViolation | undefined;

  /** `message`: for people, with what was expected and what to do; without bytes of keys, templates or scores. */
  constructor(reason: ServerErrorReason, message: string, options?: ServerErrorOptions) {
    super(message, options);
    this.reason = reason;
    this.violations = options?.violations ?? [];
    this.retryAfterMs = options?.retryAfterMs;
    this.quota = options?.quota;
  }
}

/** There is no room for it just now; `message` without advice. */
export function overloaded(message: string): ServerError {
  return new ServerError("OVERLOADED", `${message}: try again later`, { retryAfterMs: RETRY_AFTER_MS });
}

/** A client sent, or read, more slowly than it may. */
export function tooSlow(message: string): ServerError {
  return new ServerError("TOO_SLOW", message, { retryAfterMs: RETRY_AFTER_MS });
}

/** Something stored is not what was stored: a ciphertext does not have its SHA-256, or a row is none. */
export function storedCorrupt(what: string): ServerError {
  const advice = "restore the store from a backup, or delete and enroll it again";
  return new ServerError("STORED_CORRUPT", `${what} is damaged on the server's disk: ${advice}`);
}

/** A gallery that is not any more what it was when its reading began. */
export function galleryChanged(): ServerError {
  return new ServerError("GALLERY_CHANGED", "the gallery was changed while it was read: read it again");
}

/** The code of an error of the operating system, such as "EACCES"; undefined for other errors. */
export function errorCode(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

/** For what the code around it rules out: a fault of ours, which the log tells of. */
export function impossible(what: string): never {
  throw new Error(`${what}: this cannot be`);
}

/** A refusal that names one field of the request. */
export function fieldInvalid(
  field: string,
  description: string,
  reason: ServerErrorReason = "FIELD_INVALID",
): ServerError {
  return new ServerError(reason, `${field} ${description}`, { violations: [{ field, description }] });
}
