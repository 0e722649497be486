// google.rpc.Status from the trailer grpc-status-details-bin.
import { fromJSON } from "@grpc/proto-loader";
import type { MessageTypeDefinition } from "@grpc/proto-loader";
import { WELL_KNOWN_PROTOCOLS } from "./well-known-protocols.ts";

const types = fromJSON(WELL_KNOWN_PROTOCOLS, { keepCase: true, defaults: true });

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

/** What the details of a refusal say; empty where they say nothing. */
export function readStatusDetails(binary: Buffer | undefined): ErrorInfo & { readonly fields: readonly string[] } {
  const details = binary === undefined ? [] : (decode("Status", binary) as Status).details;
  const of = (name: string): object[] => details.filter(({ type_url }) => type_url.endsWith(`/google.rpc.${name}`)).map(({ value }) => decode(name, value));
  const [info] = of("ErrorInfo") as ErrorInfo[];
  const fields = (of("BadRequest") as BadRequest[]).flatMap((bad) => bad.field_violations.map((violation) => violation.field));
  return { reason: info?.reason ?? "", domain: info?.domain ?? "", fields };
}

function decode(name: string, bytes: Buffer): object {
  return (types[`google.rpc.${name}`] as MessageTypeDefinition<object, object>).deserialize(bytes);
}
