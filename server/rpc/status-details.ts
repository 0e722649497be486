import { Metadata } from "@grpc/grpc-js";
import type { StatusObject } from "@grpc/grpc-js";
import { ERROR_DOMAIN } from "@veilface/proto";
import { Any, ErrorInfo, RetryInfo } from "nice-grpc-error-details";
// The package writes google.rpc.Status into trailers, but does not export it.
import { Status as RichStatus } from "nice-grpc-error-details/lib/proto/google/rpc/status.js";

const TRAILER = "grpc-status-details-bin";
const INFO_URL = `type.googleapis.com/${ErrorInfo.$type}`;
const RETRY_URL = `type.googleapis.com/${RetryInfo.$type}`;

/** A refusal that no handler makes: a status and the contract's reason for it. */
export interface BareRefusal {
  readonly code: StatusObject["code"];
  readonly details: string;
  readonly reason: string;
  /** After how many milliseconds the client may try again; undefined where that would not help. */
  readonly retryAfterMs?: number;
}

/** A refusal as gRPC's status, with its reason in google.rpc.ErrorInfo and a wait in google.rpc.RetryInfo. */
export function statusWithReason({ code, details, reason, retryAfterMs }: BareRefusal): StatusObject {
  const info = ErrorInfo.encode(ErrorInfo.fromPartial({ reason, domain: ERROR_DOMAIN })).finish();
  const packed = [Any.fromPartial({ typeUrl: INFO_URL, value: info })];
  if (retryAfterMs !== undefined)
    packed.push(Any.fromPartial({ typeUrl: RETRY_URL, value: RetryInfo.encode(retryInfo(retryAfterMs)).finish() }));
  const metadata = new Metadata();
  metadata.set(
    TRAILER,
    Buffer.from(RichStatus.encode(RichStatus.fromPartial({ code, message: details, details: packed })).finish()),
  );
  return { code, details, metadata };
}

/** A wait of so many milliseconds. */
export function retryInfo(milliseconds: number): RetryInfo {
  return RetryInfo.fromPartial({
    retryDelay: { seconds: Math.floor(milliseconds / 1000), nanos: (milliseconds % 1000) * 1e6 },
  });
}

/** The reason in a status's google.rpc.ErrorInfo; undefined where it carries none. */
export function reasonOf(metadata: Metadata | null | undefined): string | undefined {
  const [trailer] = metadata?.get(TRAILER) ?? [];
  if (!Buffer.isBuffer(trailer)) return undefined;
  const info = RichStatus.decode(trailer).details.find(({ typeUrl }) => typeUrl === INFO_URL);
  return info === undefined ? undefined : ErrorInfo.decode(info.value).reason;
}
