import { setTimeout } from "node:timers/promises";
import { ClientError as GrpcError, Status } from "nice-grpc";
import { RichClientError } from "nice-grpc-error-details";
import { ClientError } from "./errors.ts";

/** The options every call takes. */
export interface CallOptions {
  /** Cancels the call: it then throws ClientError CANCELLED. */
  readonly signal?: AbortSignal;
  /** Milliseconds without an answer after which it throws ClientError DEADLINE_EXCEEDED, > 0. Streams: between two messages. */
  readonly deadlineMs?: number;
}

export const DEFAULT_DEADLINE_MS = 60_000;

const ERROR_DOMAIN = "veilface.dev";

/** Runs one call within its deadline and translates what it throws to ClientError. */
export async function call<T>(address: string, options: CallOptions, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  using watch = new Watchdog(options);
  try {
    return await run(watch.signal);
  } catch (error) {
    throw translate(address, watch, error);
  }
}

/** Yields a stream's messages, translates what it throws, and cancels it where none comes within the deadline. */
export async function* callStream<T>(address: string, options: CallOptions, run: (signal: AbortSignal) => AsyncIterable<T>): AsyncGenerator<T, void, undefined> {
  using watch = new Watchdog(options);
  try {
    for await (const message of run(watch.signal)) {
      watch.pause();
      yield message;
      watch.restart();
    }
  } catch (error) {
    throw translate(address, watch, error);
  }
}

// 0.1 + 0.2 + ... + 5 + 5 + 5 s: a server has 21 s to come back.
const MAX_RETRIES = 9;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5000;

/** Whether a call failed because the server went away or is going: what is idempotent may then be tried again. */
export function isUnavailable(error: unknown): boolean {
  return error instanceof ClientError && error.reason === "SERVER_UNAVAILABLE";
}

/** Waits before an idempotent call is tried again after so many failures in a row. Throws `error` once there were too many; ClientError CANCELLED. */
export async function pauseBeforeRetry(failures: number, error: unknown, { signal }: CallOptions): Promise<void> {
  if (failures > MAX_RETRIES) throw error;
  const milliseconds = Math.min(FIRST_PAUSE_MS * 2 ** (failures - 1), LONGEST_PAUSE_MS);
  await setTimeout(milliseconds, undefined, signal && { signal }).catch((cause: unknown) => {
    throw new ClientError("CANCELLED", "the call was cancelled", { cause });
  });
}

/** Aborts its signal when the caller's is aborted, or when it was not restarted in time. */
export class Watchdog implements Disposable {
  readonly deadlineMs: number;
  expired = false;
  readonly #controller = new AbortController();
  readonly #caller: AbortSignal | undefined;
  readonly #onCallerAbort: () => void;
  #timer: NodeJS.Timeout | undefined;

  constructor({ signal, deadlineMs = DEFAULT_DEADLINE_MS }: CallOptions) {
    this.deadlineMs = deadlineMs;
    this.#caller = signal;
    this.#onCallerAbort = () => {
      this.#controller.abort();
    };
    if (signal?.aborted === true) this.#controller.abort();
    signal?.addEventListener("abort", this.#onCallerAbort);
    this.restart();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get cancelledByCaller(): boolean {
    return this.#caller?.aborted === true;
  }

  pause(): void {
    clearTimeout(this.#timer);
  }

  restart(): void {
    clearTimeout(this.#timer);
    this.#timer = globalThis.setTimeout(() => {
      this.expired = true;
      this.#controller.abort();
    }, this.deadlineMs);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#caller?.removeEventListener("abort", this.#onCallerAbort);
  }
}

/** What a call threw, as the ClientError it means; errors that are not gRPC's pass as they are. */
export function translate(address: string, watch: Watchdog, cause: unknown): unknown {
  if (watch.cancelledByCaller && (isAbort(cause) || cause instanceof GrpcError)) {
    return new ClientError("CANCELLED", "the call was cancelled", { cause });
  }
  if (watch.expired && (isAbort(cause) || cause instanceof GrpcError)) {
    return new ClientError("DEADLINE_EXCEEDED", `no answer from ${address} within ${watch.deadlineMs} ms: try again, or allow more time`, { cause });
  }
  return cause instanceof GrpcError ? translateGrpc(address, cause) : cause;
}

function translateGrpc(address: string, cause: GrpcError): ClientError {
  const serverReason = reasonOf(cause);
  const options = serverReason === undefined ? { cause } : { cause, serverReason };
  if (cause.code === Status.UNAVAILABLE) return new ClientError("SERVER_UNAVAILABLE", unavailable(address, cause, serverReason), options);
  if (cause.code === Status.DEADLINE_EXCEEDED) return new ClientError("DEADLINE_EXCEEDED", `${address} gave up: its deadline passed`, options);
  return new ClientError("SERVER_REFUSED", `the server refused: ${cause.details || Status[cause.code]}`, options);
}

function unavailable(address: string, { details }: GrpcError, serverReason: string | undefined): string {
  if (serverReason !== undefined) return `the server at ${address} does not serve now: ${details}`;
  // grpc-js wraps the socket's or TLS's own words in its own.
  const why = /Last error: (?:Error: )?(.+?)\.? Resolution note/.exec(details)?.[1];
  const advice = "check the address, that the server is running, and that both or neither use TLS";
  return `no veilface server answers at ${address}${why === undefined ? "" : ` (${why})`}: ${advice}`;
}

function reasonOf(error: GrpcError): string | undefined {
  if (!(error instanceof RichClientError)) return undefined;
  const info = error.extra.find((detail) => detail.$type === "google.rpc.ErrorInfo");
  return info?.domain === ERROR_DOMAIN ? info.reason : undefined;
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === "AbortError";
}
