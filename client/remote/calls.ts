import { ClientError as GrpcError } from "nice-grpc";
import { translateGrpc } from "./call-errors.ts";
import { ClientError } from "../errors.ts";
import { isUnavailable, retrying } from "./retrying.ts";

/** The options every call takes. */
export interface CallOptions {
  /** Cancels the call: it then throws ClientError CANCELLED. */
  readonly signal?: AbortSignal;
  /**
   * Milliseconds without an answer after which it throws ClientError DEADLINE_EXCEEDED, > 0. Streams: between two
   * messages. Trying again what can be tried again ends with it too.
   */
  readonly deadlineMs?: number;
}

/** The deadline of calls where neither they nor their client name one, in milliseconds. */
export const DEFAULT_DEADLINE_MS = 60_000;
// What a timer can hold; 25 days.
const LONGEST_DEADLINE_MS = 2 ** 31 - 1;

/** Throws ClientError USAGE for a deadline that is not a number > 0. */
export function checkDeadline(deadlineMs: number | undefined): void {
  if (deadlineMs === undefined || deadlineMs > 0) return;
  throw new ClientError("USAGE", `deadlineMs ${deadlineMs} is out of range: expected a number of milliseconds > 0`);
}

/**
 * Runs one call within its deadline and translates what it throws to ClientError. Tried again only where nothing
 * reached the server. `address`: what messages call the server.
 */
export async function call<T>(
  address: string,
  options: CallOptions,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  using watch = new Watchdog(options);
  return await retrying({ ...options, deadlineMs: watch.deadlineMs }, translated(address, watch, run));
}

/** As {@link call}, for what changes nothing more when it is done again: it is, also where the server went away. */
export async function repeatableCall<T>(
  address: string,
  options: CallOptions,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  using watch = new Watchdog(options);
  const bounds = { ...options, deadlineMs: watch.deadlineMs };
  return await retrying(bounds, translated(address, watch, run), isUnavailable);
}

function translated<T>(address: string, watch: Watchdog, run: (signal: AbortSignal) => Promise<T>): () => Promise<T> {
  return async () => {
    try {
      return await run(watch.signal);
    } catch (error) {
      throw translate(address, watch, error);
    }
  };
}

/** Yields a stream's messages, translates what it throws, and cancels it where none comes within the deadline. */
export async function* callStream<T>(
  address: string,
  options: CallOptions,
  run: (signal: AbortSignal) => AsyncIterable<T>,
): AsyncGenerator<T, void, undefined> {
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

/**
 * The result of work that others wait for too, unless the caller's signal is aborted first. Throws ClientError
 * CANCELLED.
 */
export async function unlessAborted<T>(work: Promise<T>, { signal }: CallOptions): Promise<T> {
  if (signal === undefined) return work;
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => {
    aborted.reject(cancelled());
  };
  signal.addEventListener("abort", onAbort);
  try {
    throwIfAborted({ signal });
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** Throws ClientError CANCELLED once the caller's signal was aborted. */
export function throwIfAborted({ signal }: CallOptions): void {
  if (signal?.aborted === true) throw cancelled();
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
    checkDeadline(deadlineMs);
    this.deadlineMs = Math.min(deadlineMs, LONGEST_DEADLINE_MS);
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

/** What a call threw, as the ClientError it means; errors that are neither gRPC's nor an abort's pass as they are. */
export function translate(address: string, watch: Watchdog, cause: unknown): unknown {
  if (!isAbort(cause) && !(cause instanceof GrpcError)) return cause;
  if (watch.cancelledByCaller) return cancelled(cause);
  if (watch.expired) return late(address, watch, cause);
  return cause instanceof GrpcError ? translateGrpc(address, cause) : cancelled(cause);
}

function late(address: string, { deadlineMs }: Watchdog, cause: unknown): ClientError {
  const message = `no answer from ${address} within ${deadlineMs} ms: try again, or allow more time`;
  return new ClientError("DEADLINE_EXCEEDED", message, { cause });
}

function cancelled(cause?: unknown): ClientError {
  return new ClientError("CANCELLED", "the call was cancelled", { cause });
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === "AbortError";
}
