import { ClientError as GrpcError, Metadata } from "nice-grpc";
import type { CallOptions as RpcOptions } from "nice-grpc";
import { translateGrpc } from "./call-errors.ts";
import type { Bounded, CallBounds } from "./call-bounds.ts";
import type { Services } from "./channel.ts";
import { ClientError } from "../errors.ts";
import { isUnavailable, isUndone, retrying } from "./retrying.ts";
import type { MayRetry } from "./retrying.ts";

export type { RpcOptions };

/** Makes rpcs within the bounds of the call that they are for, and translates what they throw to ClientError. */
export class Rpcs {
  readonly services: Services;

  constructor(services: Services) {
    this.services = services;
  }

  /**
   * Makes an rpc that has one answer; again where it failed in a way that `mayRetry` lets pass, which unless given are
   * those in which nothing was done.
   */
  async call<T>({ bounds }: Bounded, run: (rpc: RpcOptions) => Promise<T>, mayRetry: MayRetry = isUndone): Promise<T> {
    const once = async (): Promise<T> => {
      using watch = new RpcWatch(this.services.address, bounds, Math.min(bounds.leftMs, bounds.patienceMs));
      try {
        return await run(watch.rpc);
      } catch (error) {
        throw watch.translate(error);
      }
    };
    return await retrying(bounds, once, mayRetry);
  }

  /**
   * Makes an rpc that deletes something by its name. Where it may have been done although its answer was lost, it is
   * made again, and it is no fault any more that the thing is missing.
   */
  async deletion<T>(options: Bounded, run: (allowMissing: boolean, rpc: RpcOptions) => Promise<T>): Promise<T> {
    try {
      return await this.call(options, (rpc) => run(false, rpc));
    } catch (error) {
      if (!isUnavailable(error) || isUndone(error)) throw error;
      return await this.call(options, (rpc) => run(true, rpc), isUnavailable);
    }
  }

  /** The pages of a list, each asked for with the token of the one before, and again where the server is away. */
  async *pages<T extends Page>(
    options: Bounded,
    list: (pageToken: string, rpc: RpcOptions) => Promise<T>,
  ): AsyncGenerator<T, void, undefined> {
    for (let pageToken = ""; ; ) {
      const page = await this.call(options, (rpc) => list(pageToken, rpc), isUnavailable);
      yield page;
      if (page.nextPageToken === "") return;
      pageToken = page.nextPageToken;
    }
  }

  /** Yields a stream's messages. */
  async *stream<T>(options: Bounded, run: (rpc: RpcOptions) => AsyncIterable<T>): AsyncGenerator<T, void, undefined> {
    using watch = this.watchStream(options);
    try {
      for await (const message of run(watch.rpc)) {
        watch.pause();
        yield message;
        watch.restart();
      }
    } catch (error) {
      throw watch.translate(error);
    }
  }

  /** For a stream whose messages say themselves when the server's next one is due. */
  watchStream({ bounds }: Bounded): RpcWatch {
    return new RpcWatch(this.services.address, bounds, bounds.leftMs);
  }
}

/** A page of a list; an empty token is the last one's. */
interface Page {
  readonly nextPageToken: string;
}

/** One rpc under way: ends it with its call, or where the server kept silent for longer than the call's patience. */
export class RpcWatch implements Disposable {
  /** What the rpc is made with. */
  readonly rpc: RpcOptions;
  readonly #address: string;
  readonly #bounds: CallBounds;
  readonly #controller = new AbortController();
  readonly #abort = (): void => {
    this.#controller.abort();
  };
  #timer: NodeJS.Timeout | undefined;
  #isUnanswered = false;

  /**
   * `timeoutMs`: after which the server gives up too. Throws ClientError CANCELLED or DEADLINE_EXCEEDED where the call
   * is over already.
   */
  constructor(address: string, bounds: CallBounds, timeoutMs: number) {
    bounds.check();
    this.#address = address;
    this.#bounds = bounds;
    this.rpc = { signal: this.#controller.signal, metadata: timeoutMetadata(timeoutMs) };
    bounds.signal.addEventListener("abort", this.#abort);
    this.restart();
  }

  /** Nothing is due from the server now. */
  pause(): void {
    clearTimeout(this.#timer);
  }

  /** The server's next message is due from now on. */
  restart(): void {
    clearTimeout(this.#timer);
    if (this.#bounds.patienceMs === Infinity) return;
    this.#timer = setTimeout(() => {
      this.#isUnanswered = true;
      this.#abort();
    }, this.#bounds.patienceMs);
  }

  /** What the rpc threw, as the ClientError it means; errors that are neither gRPC's nor an abort's pass unchanged. */
  translate(cause: unknown): unknown {
    if (!isAbort(cause) && !(cause instanceof GrpcError)) return cause;
    const ended = this.#bounds.endedBy(cause);
    if (ended !== undefined) return ended;
    if (this.#isUnanswered || !(cause instanceof GrpcError)) return this.#unanswered(cause);
    return translateGrpc(this.#address, cause);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#bounds.signal.removeEventListener("abort", this.#abort);
  }

  #unanswered(cause: unknown): ClientError {
    const { patienceMs } = this.#bounds;
    const message = `no answer from ${this.#address} within ${patienceMs} ms: try again, or give the call a deadline`;
    return new ClientError("DEADLINE_EXCEEDED", message, { cause });
  }
}

// Eight digits at most; and grpc-js, as a server, can count no further than 2^31 ms.
const MOST_DIGITS = 99_999_999;
const MOST_SECONDS = 2_147_483;

/**
 * The header by which a server knows how long it has (the specification's Timeout). nice-grpc has no option for
 * grpc-js' deadline, which would send the same.
 */
function timeoutMetadata(timeoutMs: number): Metadata {
  const [milliseconds, seconds] = [Math.ceil(timeoutMs), Math.ceil(timeoutMs / 1000)];
  if (seconds > MOST_SECONDS) return Metadata();
  return Metadata().set("grpc-timeout", milliseconds <= MOST_DIGITS ? `${milliseconds}m` : `${seconds}S`);
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === "AbortError";
}
