import { Metadata } from "@grpc/grpc-js";
import type { StatusObject } from "@grpc/grpc-js";
import { Any, ErrorInfo } from "nice-grpc-error-details";
// The package writes google.rpc.Status into trailers, but does not export it.
import { Status as RichStatus } from "nice-grpc-error-details/lib/proto/google/rpc/status.js";

/** The domain of every reason in google.rpc.ErrorInfo. */
export const DOMAIN = "veilface.dev";

const TRAILER = "grpc-status-details-bin";
const INFO_URL = `type.googleapis.com/${ErrorInfo.$type}`;

/** A status with a reason of the contract in its google.rpc.ErrorInfo. */
export function statusWithReason(code: StatusObject["code"], details: string, reason: string): StatusObject {
  const info = Any.fromPartial({ typeUrl: INFO_URL, value: ErrorInfo.encode(ErrorInfo.fromPartial({ reason, domain: DOMAIN })).finish() });
  const metadata = new Metadata();
  metadata.set(TRAILER, Buffer.from(RichStatus.encode(RichStatus.fromPartial({ code, message: details, details: [info] })).finish()));
  return { code, details, metadata };
}

/** The reason in a status's google.rpc.ErrorInfo; undefined where it carries none. */
export function reasonOf(metadata: Metadata | null | undefined): string | undefined {
  const [trailer] = metadata?.get(TRAILER) ?? [];
  if (!Buffer.isBuffer(trailer)) return undefined;
  const info = RichStatus.decode(trailer).details.find(({ typeUrl }) => typeUrl === INFO_URL);
  return info === undefined ? undefined : ErrorInfo.decode(info.value).reason;
}
