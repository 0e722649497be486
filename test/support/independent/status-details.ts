// google.rpc.Status from the trailer grpc-status-details-bin.
import { fromJSON } from "@grpc/proto-loader";
import type { MessageTypeDefinition } from "@grpc/proto-loader";
import { WELL_KNOWN_PROTOCOLS } from "./well-known-protocols.ts";

const types = fromJSON(WELL_KNOWN_PROTOCOLS, { keepCase: true, defaults: true, longs: Number });

interface Status {
  readonly details: readonly { readonly type_url: string; readonly value: Buffer }[];
}
interface ErrorInfo {
  readonly reason: string;
  readonly domain: string;
}
interface BadRequest {
  readonly field_violations: readonly { readonly field: string; readonly description: string }[];
}
interface RetryInfo {
  readonly retry_delay: { readonly seconds: number; readonly nanos: number };
}
interface QuotaFailure {
  readonly violations: readonly QuotaViolation[];
}
/** What is used up, and how much of it there may be. */
export interface QuotaViolation {
  readonly subject: string;
  readonly description: string;
}

/** What the details of a refusal tell beside its reason. */
interface MoreDetails {
  readonly fields: readonly string[];
  /** RetryInfo, in milliseconds; undefined if there is none. */
  readonly retryAfterMs: number | undefined;
  /** QuotaFailure; none if there is none. */
  readonly quotas: readonly QuotaViolation[];
}

/** What the details of a refusal say; empty where they say nothing. */
export function readStatusDetails(binary: Buffer | undefined): ErrorInfo & MoreDetails {
  const details = binary === undefined ? [] : (decode("Status", binary) as Status).details;
  const of = (name: string): object[] =>
    details.filter(({ type_url }) => type_url.endsWith(`/google.rpc.${name}`)).map(({ value }) => decode(name, value));
  const [info] = of("ErrorInfo") as ErrorInfo[];
  const fields = (of("BadRequest") as BadRequest[]).flatMap((bad) =>
    bad.field_violations.map((violation) => violation.field),
  );
  const [retry] = of("RetryInfo") as RetryInfo[];
  const retryAfterMs = retry && retry.retry_delay.seconds * 1000 + retry.retry_delay.nanos / 1e6;
  const quotas = (of("QuotaFailure") as QuotaFailure[]).flatMap(({ violations }) => violations);
  return { reason: info?.reason ?? "", domain: info?.domain ?? "", fields, retryAfterMs, quotas };
}

function decode(name: string, bytes: Buffer): object {
  return (types[`google.rpc.${name}`] as MessageTypeDefinition<object, object>).deserialize(bytes);
}
