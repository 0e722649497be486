// A gRPC client that knows nothing but the published descriptor set: @grpc/grpc-js, @grpc/proto-loader, and no
// generated code.
import { Client, Metadata, credentials } from "@grpc/grpc-js";
import type { ClientDuplexStream, ServiceError } from "@grpc/grpc-js";
import { fromJSON } from "@grpc/proto-loader";
import type { MethodDefinition, PackageDefinition, ServiceDefinition } from "@grpc/proto-loader";
import { CONVERSION, contract } from "../../../scripts/dev/published-contract.ts";
import { readStatusDetails } from "./status-details.ts";
import type { QuotaViolation } from "./status-details.ts";
import { WELL_KNOWN_PROTOCOLS } from "./well-known-protocols.ts";

/**
 * A message as proto-loader gives it: field names as in the .proto, enums as strings, int64 as numbers, bytes as
 * Buffers.
 */
type Message = Record<string, unknown>;
type Method = MethodDefinition<object, object>;

const CALL_DEADLINE_MS = 30_000;

const wellKnown = fromJSON(WELL_KNOWN_PROTOCOLS, CONVERSION);

/** Every rpc of a package, by "package.Service/Method". */
export function methodsOf(definition: PackageDefinition): Map<string, Method> {
  const services = Object.entries(definition).filter(
    (entry): entry is [string, ServiceDefinition] => !("format" in entry[1]),
  );
  return new Map(
    services.flatMap(([, methods]) => Object.values(methods).map((method) => [method.path.slice(1), method])),
  );
}

const methods = new Map([...methodsOf(contract), ...methodsOf(wellKnown)]);

/** A call that the server refused. */
export class CallRefused extends Error {
  readonly code: number;
  /** The text of the status. */
  readonly details: string;
  /** ErrorInfo.reason; empty if the status carries none. */
  readonly reason: string;
  readonly domain: string;
  /** BadRequest field paths. */
  readonly fields: readonly string[];
  /** RetryInfo, in milliseconds; undefined if the status carries none. */
  readonly retryAfterMs: number | undefined;
  /** QuotaFailure; none if the status carries none. */
  readonly quotas: readonly QuotaViolation[];
  /** What had been answered before the refusal. */
  readonly received: readonly Message[];

  constructor(rpc: string, error: ServiceError, received: readonly Message[]) {
    super(`${rpc}: ${error.message}`);
    this.code = error.code;
    this.details = error.details;
    this.received = received;
    const binary = error.metadata.get("grpc-status-details-bin")[0];
    ({
      reason: this.reason,
      domain: this.domain,
      fields: this.fields,
      retryAfterMs: this.retryAfterMs,
      quotas: this.quotas,
    } = readStatusDetails(Buffer.isBuffer(binary) ? binary : undefined));
  }
}

/** A call under way, whose messages are sent and awaited one by one. */
export interface OpenCall {
  send(message: object): void;
  /** Ends the client's side. */
  end(): void;
  /** Drops the call without ending it properly. */
  hangUp(): void;
  /** The next answer, or undefined when the server has ended the call well. Throws CallRefused. */
  next(): Promise<Message | undefined>;
  /** What was received so far, without those taken by next(). */
  readonly received: readonly Message[];
}

export class IndependentClient implements Disposable {
  readonly #channel: Client;

  constructor(address: string) {
    const options = {
      "grpc.max_receive_message_length": -1,
      "grpc.max_send_message_length": -1,
      "grpc.use_local_subchannel_pool": 1,
    };
    this.#channel = new Client(address, credentials.createInsecure(), options);
  }

  /**
   * Sends messages, ends, and collects the answers: on the wire all four shapes of an rpc are this. Throws CallRefused.
   */
  async call<T extends object = Message>(rpc: string, ...requests: readonly object[]): Promise<T[]> {
    const call = this.open(rpc);
    requests.forEach((request) => {
      call.send(request);
    });
    call.end();
    return (await answersOf(call)) as unknown as T[];
  }

  /** Opens a call of any rpc as a stream. `rpc`: "Service/Method" of veilface.v1, or with its own package. */
  open(rpc: string, deadlineMs = CALL_DEADLINE_MS): OpenCall {
    const method = methodOf(rpc);
    return this.#open(rpc, (message) => method.requestSerialize(message as object), deadlineMs);
  }

  /** As {@link call}, with messages already serialised: for bytes that no honest client would send. */
  async callRaw(rpc: string, ...requests: readonly Buffer[]): Promise<Message[]> {
    const call = this.#open(rpc, (message) => message as Buffer, CALL_DEADLINE_MS);
    requests.forEach((request) => {
      call.send(request);
    });
    call.end();
    return answersOf(call);
  }

  /** As {@link open}, with messages already serialised. */
  openRaw(rpc: string, deadlineMs = CALL_DEADLINE_MS): OpenCall {
    return this.#open(rpc, (message) => message as Buffer, deadlineMs);
  }

  #open(rpc: string, serialize: (message: unknown) => Buffer, deadlineMs: number): OpenCall {
    const method = methodOf(rpc);
    const options = { deadline: Date.now() + deadlineMs };
    const stream = this.#channel.makeBidiStreamRequest(
      method.path,
      serialize,
      (bytes) => method.responseDeserialize(bytes) as Message,
      new Metadata(),
      options,
    );
    return trackCall(rpc, stream);
  }

  [Symbol.dispose](): void {
    this.#channel.close();
  }
}

/** The answers that are still to come, once the server has ended the call well. Throws CallRefused. */
export async function answersOf(call: OpenCall): Promise<Message[]> {
  const answers: Message[] = [];
  for (let answer = await call.next(); answer !== undefined; answer = await call.next()) answers.push(answer);
  return answers;
}

/** The bytes of a request message. */
export function serialize(rpc: string, request: object): Buffer {
  return methodOf(rpc).requestSerialize(request);
}

/** The bytes of a reply message. */
export function serializeReply(rpc: string, reply: object): Buffer {
  return methodOf(rpc).responseSerialize(reply);
}

function methodOf(rpc: string): Method {
  const method = methods.get(rpc) ?? methods.get(`veilface.v1.${rpc}`);
  if (method === undefined) throw new Error(`the contract has no rpc ${rpc}`);
  return method;
}

function trackCall(rpc: string, stream: ClientDuplexStream<unknown, Message>): OpenCall {
  const received: Message[] = [];
  const taken: Message[] = [];
  let outcome: "open" | "ended" | CallRefused = "open";
  let wake = (): void => undefined;
  stream.on("data", (message: Message) => {
    received.push(message);
    wake();
  });
  stream.on("end", () => {
    if (outcome === "open") outcome = "ended";
    wake();
  });
  stream.on("error", (error: ServiceError) => {
    outcome = new CallRefused(rpc, error, [...taken, ...received]);
    wake();
  });
  // "end" comes before a failing status: only the status tells which of the two it was.
  let settled = false;
  stream.on("status", () => {
    settled = true;
    setImmediate(() => {
      wake();
    });
  });
  return {
    received,
    send: (message) => void stream.write(message),
    end: () => {
      stream.end();
    },
    hangUp: () => {
      stream.cancel();
    },
    next: async () => {
      while (received.length === 0 && (outcome === "open" || (outcome === "ended" && !settled)))
        await new Promise<void>((resolve) => (wake = resolve));
      const message = received.shift();
      if (message !== undefined) taken.push(message);
      if (message === undefined && outcome instanceof CallRefused) throw outcome;
      return message;
    },
  };
}

/** The closed list of ErrorReason, as ErrorInfo spells it: without the prefix. */
export function closedReasons(): ReadonlySet<string> {
  const { type } = contract["veilface.v1.ErrorReason"] as {
    readonly type: { readonly value: readonly { readonly name: string }[] };
  };
  return new Set(
    type.value.map(({ name }) => name.replace("ERROR_REASON_", "")).filter((name) => name !== "UNSPECIFIED"),
  );
}
