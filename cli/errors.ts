import { ClientError } from "@veilface/client";
import type { ClientErrorReason } from "@veilface/client";
import { FaceError } from "@veilface/face/errors";
import type { FaceErrorReason } from "@veilface/face/errors";

/** Why a command could not do something: for reasons of its own, or of the libraries beneath it. Closed. */
type CliErrorReason = ClientErrorReason | FaceErrorReason | "OUTPUT_FILE_EXISTS";

/** What beside its reason and message an error of a command has. */
interface CliErrorOptions extends ErrorOptions {
  readonly serverReason?: string | undefined;
}

/** The one error class of this package. Messages never hold key, embedding or ciphertext bytes. */
export class CliError extends Error {
  override readonly name = "CliError";
  readonly reason: CliErrorReason;
  /** As ClientError.serverReason. */
  readonly serverReason: string | undefined;

  constructor(reason: CliErrorReason, message: string, options?: CliErrorOptions) {
    super(message, options);
    this.reason = reason;
    this.serverReason = options?.serverReason;
  }
}

/** An error with a reason: of this package, of the client library or of the face library. */
export type KnownError = CliError | ClientError | FaceError;

/** Whether an error has a reason: it is then for the user, and no fault of ours. */
export function isKnown(error: unknown): error is KnownError {
  return error instanceof CliError || error instanceof ClientError || error instanceof FaceError;
}

/** The reason that the server gave, where it refused. */
export function serverReasonOf(error: KnownError): string | undefined {
  return error instanceof FaceError ? undefined : error.serverReason;
}

/** The same error in other words. */
export function reworded(cause: KnownError, message: string): CliError {
  return new CliError(cause.reason, message, { cause, serverReason: serverReasonOf(cause) });
}
