import { ClientError as GrpcError, Status } from "nice-grpc";
import { RichClientError } from "nice-grpc-error-details";
import { ERROR_DOMAIN, definedOnly } from "@veilface/proto";
import { ClientError } from "../errors.ts";
import type { ClientErrorOptions } from "../errors.ts";

// How grpc-js words that there is no connection, with the socket's, TLS's or resolver's own words in it.
const NO_CONNECTION = /^No connection established(?:\. Last error: (?:Error: )?(?<socket>.*?)\.? Resolution note|$)/s;
const NO_ADDRESS = /^Name resolution failed for target (?:dns:)?(?<target>\S+?):\d+\b/;
// And that it could not make out a reply: what was received is not of this contract.
const UNREADABLE = /^(Response message parsing error|Received message larger than max)/;

/** What gRPC threw, as the ClientError it means. `address`: what messages call the server. */
export function translateGrpc(address: string, cause: GrpcError): ClientError {
  const options = optionsOf(cause);
  const { code, details } = cause;
  if (code === Status.UNAVAILABLE)
    return new ClientError("SERVER_UNAVAILABLE", unavailable(address, cause, options.serverReason), options);
  if (code === Status.DEADLINE_EXCEEDED)
    return new ClientError("DEADLINE_EXCEEDED", late(address, cause, options.serverReason), options);
  if (UNREADABLE.test(details)) {
    return new ClientError(
      "REPLY_INVALID",
      "the server replied with a message that cannot be read: check that it is a veilface server of this version",
      options,
    );
  }
  return new ClientError("SERVER_REFUSED", `the server refused: ${details || Status[code]}`, options);
}

/** Whether a call failed before any of it could have been sent. */
export function reachedNobody(cause: unknown): boolean {
  return cause instanceof GrpcError && (NO_CONNECTION.test(cause.details) || NO_ADDRESS.test(cause.details));
}

function unavailable(address: string, { details }: GrpcError, serverReason: string | undefined): string {
  if (serverReason !== undefined) return `the server at ${address} does not serve now: ${details}`;
  const why = whyOf(details);
  // Of a proxy that does not answer, or refuses, grpc-js forgets what it said.
  if (why === "undefined") {
    return `no connection to ${address}: check that the proxy runs and lets it through, or add the host to no_proxy`;
  }
  const advice = "check the address, that the server is running, and that both or neither use TLS";
  return `no veilface server answers at ${address}${why === undefined ? "" : ` (${why})`}: ${advice}`;
}

function late(address: string, { details }: GrpcError, serverReason: string | undefined): string {
  const why = serverReason === undefined ? "its deadline passed" : details;
  return `the server at ${address} gave up: ${why}`;
}

function whyOf(details: string): string | undefined {
  const target = NO_ADDRESS.exec(details)?.groups?.["target"];
  return target === undefined
    ? NO_CONNECTION.exec(details)?.groups?.["socket"]
    : `the name ${target} cannot be resolved`;
}

function optionsOf(cause: GrpcError): ClientErrorOptions {
  if (!(cause instanceof RichClientError)) return { cause };
  const info = cause.extra.find((detail) => detail.$type === "google.rpc.ErrorInfo");
  const delay = cause.extra.find((detail) => detail.$type === "google.rpc.RetryInfo")?.retryDelay;
  return definedOnly({
    cause,
    serverReason: info?.domain === ERROR_DOMAIN ? info.reason : undefined,
    retryAfterMs: delay && Math.max(0, delay.seconds * 1000 + delay.nanos / 1e6),
  });
}
