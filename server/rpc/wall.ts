import { FheError } from "@veilface/fhe";
import type { FheErrorReason } from "@veilface/fhe";
import { ERROR_DOMAIN } from "@veilface/proto";
import { isAbortError } from "abort-controller-x";
import { ServerError as GrpcError, Status } from "nice-grpc";
import type { CallContext, ServerMiddleware, ServerMiddlewareCall } from "nice-grpc";
import type { RetryInfo } from "nice-grpc-error-details";
import { BadRequest, ErrorInfo, QuotaFailure, RichServerError } from "nice-grpc-error-details";
import type { Logger } from "pino";
import { ServerError } from "../errors.ts";
import type { ServerErrorReason } from "../errors.ts";
import { decoded } from "./readable-requests.ts";
import { retryInfo } from "./status-details.ts";

/** For a fault of ours, which leaves without a text. */
const FAULT = undefined;

/** The status of each reason. */
const STATUS: Readonly<Record<ServerErrorReason | FheErrorReason, Status | typeof FAULT>> = {
  FIELD_INVALID: Status.INVALID_ARGUMENT,
  CONTEXT_NOT_FOUND: Status.NOT_FOUND,
  CONTEXT_IN_USE: Status.FAILED_PRECONDITION,
  GALLERY_NOT_FOUND: Status.NOT_FOUND,
  GALLERY_EXISTS: Status.ALREADY_EXISTS,
  SUBJECT_NOT_FOUND: Status.NOT_FOUND,
  SPACE_MISMATCH: Status.INVALID_ARGUMENT,
  PROBE_INCOMPLETE: Status.INVALID_ARGUMENT,
  CIPHERTEXT_MALFORMED: Status.INVALID_ARGUMENT,
  CIPHERTEXT_CORRUPT: Status.INVALID_ARGUMENT,
  CIPHERTEXT_TOO_LARGE: Status.INVALID_ARGUMENT,
  CIPHERTEXT_TRANSPARENT: Status.INVALID_ARGUMENT,
  CONTEXT_MISMATCH: Status.INVALID_ARGUMENT,
  PARAMETER_SET_MISMATCH: Status.INVALID_ARGUMENT,
  SECRET_KEY_REFUSED: Status.INVALID_ARGUMENT,
  STORED_CORRUPT: Status.DATA_LOSS,
  STORAGE_FULL: Status.RESOURCE_EXHAUSTED,
  OVERLOADED: Status.RESOURCE_EXHAUSTED,
  QUOTA_EXCEEDED: Status.RESOURCE_EXHAUSTED,
  TOO_LARGE: Status.RESOURCE_EXHAUSTED,
  TOO_SLOW: Status.DEADLINE_EXCEEDED,
  SHUTTING_DOWN: Status.UNAVAILABLE,
  GALLERY_CHANGED: Status.ABORTED,
  BLOCK_INVALID: Status.INVALID_ARGUMENT,
  PARAMETERS_INVALID: Status.INVALID_ARGUMENT,
  SCALE_OVERFLOW: Status.INVALID_ARGUMENT,
  UPLOAD_BROKEN: Status.INVALID_ARGUMENT,
  KEYS_MALFORMED: Status.INVALID_ARGUMENT,
  KEYS_MISMATCH: Status.INVALID_ARGUMENT,
  ROTATION_KEYS_MISSING: Status.INVALID_ARGUMENT,
  SCHEME_MISMATCH: Status.INVALID_ARGUMENT,
  EMBEDDING_INVALID: FAULT,
  LAYOUT_INVALID: FAULT,
  SEAL_FAILED: FAULT,
  STORE_UNUSABLE: FAULT,
};

/** The one place where errors become gRPC statuses. */
export function wall(log: Logger): ServerMiddleware {
  return async function* wallMiddleware<Request, Response>(
    call: ServerMiddlewareCall<Request, Response>,
    context: CallContext,
  ): AsyncGenerator<Response, Response | undefined> {
    try {
      const response = yield* call.next(decoded(call.request), context);
      return response ?? undefined;
    } catch (error) {
      if (isAbortError(error)) throw error;
      const { status, refusal } = refusalOf(error);
      if (status === Status.INTERNAL)
        log.error({ method: call.method.path, err: error }, "a call failed through a fault of the server");
      throw refusal;
    }
  };
}

interface Refusal {
  readonly status: Status;
  readonly refusal: Error;
}

function refusalOf(error: unknown): Refusal {
  if (error instanceof GrpcError) return { status: error.code, refusal: error };
  if (error instanceof ServerError || error instanceof FheError) {
    const status = STATUS[error.reason];
    if (status !== FAULT) return refusal(status, error, error instanceof ServerError ? detailsOf(error) : []);
  }
  return refusal(Status.INTERNAL, { reason: "INTERNAL", message: "internal error: see the server's log" });
}

/** What an error says of itself. */
interface Said {
  readonly reason: string;
  readonly message: string;
}

function refusal(status: Status, { reason, message }: Said, details: readonly ErrorDetail[] = []): Refusal {
  const info = ErrorInfo.fromPartial({ reason, domain: ERROR_DOMAIN });
  return { status, refusal: new RichServerError(status, message, [info, ...details]) };
}

type ErrorDetail = BadRequest | QuotaFailure | RetryInfo;

function detailsOf({ violations, quota, retryAfterMs }: ServerError): ErrorDetail[] {
  const fields = violations.length === 0 ? [] : [BadRequest.fromPartial({ fieldViolations: [...violations] })];
  const retry = retryAfterMs === undefined ? [] : [retryInfo(retryAfterMs)];
  const quotas = quota === undefined ? [] : [QuotaFailure.fromPartial({ violations: [quota] })];
  return [...fields, ...quotas, ...retry];
}
