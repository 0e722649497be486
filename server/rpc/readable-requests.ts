import type { TsProtoServiceDefinition } from "nice-grpc";
import { ServerError } from "../errors.ts";

/**
 * A request that could not be decoded, in the place of one. gRPC ends a call whose decoder throws as INTERNAL, unseen
 * by the services and even in the middle of an answer; as a value it is refused like anything else that is wrong with a
 * request.
 */
export class UnreadableRequest {
  readonly refusal: ServerError;

  /** `rpc`: "package.Service/Method". `cause`: what its decoder threw. */
  constructor(rpc: string, cause: unknown) {
    // What decoders say may quote bytes of the request.
    const what =
      cause instanceof Error && /_SAFE_INTEGER/.test(cause.message)
        ? "an int64 in it is not within [-(2^53 - 1), 2^53 - 1]"
        : "its bytes are no protobuf message of this rpc";
    this.refusal = new ServerError("FIELD_INVALID", `a request of ${rpc} cannot be read: ${what}`, { cause });
  }
}

/** The same service, whose requests are {@link UnreadableRequest} where they cannot be decoded. */
export function readableRequests<Definition extends TsProtoServiceDefinition>(definition: Definition): Definition {
  const methods = Object.entries(definition.methods).map(([key, method]) => {
    const decode = decoder(`${definition.fullName}/${method.name}`, method.requestType.decode.bind(method.requestType));
    return [key, { ...method, requestType: { ...method.requestType, decode } }] as const;
  });
  return { ...definition, methods: Object.fromEntries(methods) };
}

/** A decoder that throws nothing. */
export function decoder<Bytes, Request>(
  rpc: string,
  decode: (bytes: Bytes) => Request,
): (bytes: Bytes) => Request | UnreadableRequest {
  return (bytes) => {
    try {
      return decode(bytes);
    } catch (error) {
      return new UnreadableRequest(rpc, error);
    }
  };
}

/** The requests of a call; throws the refusal of one that could not be decoded where it is met. */
export function decoded<Request>(requests: Request): Request {
  if (requests instanceof UnreadableRequest) throw requests.refusal;
  // A stream of the same requests, which is what the type says of one.
  return isStream(requests) ? (decodedStream(requests) as Request) : requests;
}

function isStream(requests: unknown): requests is AsyncIterable<unknown> {
  return typeof requests === "object" && requests !== null && Symbol.asyncIterator in requests;
}

async function* decodedStream(requests: AsyncIterable<unknown>): AsyncGenerator {
  for await (const request of requests) {
    if (request instanceof UnreadableRequest) throw request.refusal;
    yield request;
  }
}
