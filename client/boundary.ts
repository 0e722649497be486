import { definedOnly } from "@veilface/proto";
import { ClientError } from "./errors.ts";
import { CallBounds, checkDeadline } from "./remote/call-bounds.ts";
import type { Bounded, CallOptions } from "./remote/call-bounds.ts";
import { Rpcs } from "./remote/calls.ts";
import { openServices } from "./remote/channel.ts";
import type { ServerOptions } from "./remote/channel.ts";

/** What a method was asked about, for messages about what is not there. */
export interface Names {
  readonly galleryId?: string;
  readonly subjectId?: string;
}

/** What the caller's own code threw, carried through this package to be thrown as it is. */
class CallersError extends Error {
  constructor(thrown: unknown) {
    super("the caller's own code threw", { cause: thrown });
  }
}

/**
 * A source of the caller's: what it throws reaches the caller as it is. Throws ClientError USAGE for what is not
 * iterable.
 */
export async function* callersSource<T>(source: AsyncIterable<T> | Iterable<T>): AsyncGenerator<T, void, undefined> {
  const isIterable = typeof source === "object" && (Symbol.asyncIterator in source || Symbol.iterator in source);
  if (!isIterable)
    throw new ClientError("USAGE", "the source is not iterable: expected an array, an iterable or an async iterable");
  try {
    yield* source;
  } catch (error) {
    throw new CallersError(error);
  }
}

/** A callback of the caller's: what it throws reaches the caller as it is. */
export function callersCallback<Arguments extends unknown[]>(
  callback: ((...given: Arguments) => void) | undefined,
): (...given: Arguments) => void {
  return (...given) => {
    try {
      callback?.(...given);
    } catch (error) {
      throw new CallersError(error);
    }
  };
}

/** How to reach the server, and how long calls may take. */
export interface ConnectionOptions extends ServerOptions {
  /** The deadline of calls that name none, in milliseconds > 0 (CallOptions.deadlineMs). */
  readonly deadlineMs?: number;
}

/**
 * Where public methods begin: on an open connection, each within bounds of its own, throwing nothing but ClientError.
 */
export class Boundary {
  readonly rpcs: Rpcs;
  readonly #deadlineMs: number | undefined;

  /** Throws ClientError USAGE as the clients' constructors. */
  constructor(options: ConnectionOptions) {
    checkDeadline(options.deadlineMs);
    this.#deadlineMs = options.deadlineMs;
    this.rpcs = new Rpcs(openServices(options));
  }

  /** Runs a public method: whatever it throws is a ClientError, or what the caller's own code threw. */
  async run<Options extends CallOptions, T>(
    names: Names,
    options: Options,
    method: (options: Bounded<Options>) => Promise<T>,
  ): Promise<T> {
    return await throwingClientErrors(names, async () => {
      using bounds = this.#boundsOf(options);
      bounds.check();
      return await method({ ...options, bounds });
    });
  }

  /** As {@link run}, of a method that yields. */
  async *stream<Options extends CallOptions, T>(
    names: Names,
    options: Options,
    method: (options: Bounded<Options>) => AsyncIterable<T>,
  ): AsyncGenerator<T, void, undefined> {
    using bounds = await throwingClientErrors(names, () => this.#boundsOf(options));
    const items = method({ ...options, bounds })[Symbol.asyncIterator]();
    try {
      for (;;) {
        const item = await throwingClientErrors(names, () => {
          bounds.check();
          return items.next();
        });
        if (item.done === true) return;
        yield item.value;
      }
    } finally {
      await items.return?.();
    }
  }

  /** Ends the connection; again, it does nothing. */
  close(): void {
    this.rpcs.services.close();
  }

  #boundsOf({ signal, deadlineMs = this.#deadlineMs }: CallOptions): CallBounds {
    this.rpcs.services.checkOpen();
    return new CallBounds(definedOnly({ signal, deadlineMs }));
  }
}

async function throwingClientErrors<T>(names: Names, run: () => Promise<T> | T): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw forCallers(names, error);
  }
}

function forCallers(names: Names, error: unknown): unknown {
  if (error instanceof CallersError) return error.cause;
  return error instanceof ClientError ? inWords(names, error) : internal(error);
}

function inWords({ galleryId, subjectId }: Names, error: ClientError): ClientError {
  const { reason, serverReason } = error;
  if (serverReason === undefined || galleryId === undefined) return error;
  const worded = (message: string): ClientError => new ClientError(reason, message, { cause: error, serverReason });
  if (serverReason === "GALLERY_NOT_FOUND")
    return worded(`there is no gallery "${galleryId}" on the server: create it first, or check the id`);
  if (serverReason !== "SUBJECT_NOT_FOUND" || subjectId === undefined) return error;
  return worded(`gallery "${galleryId}" has no subject "${subjectId}": enroll it first, or check the id`);
}

// Without the cause's message, which may hold what it was about.
function internal(cause: unknown): ClientError {
  const what = cause instanceof Error ? cause.name : "something else than an error";
  return new ClientError(
    "INTERNAL",
    `a fault in the client, or arguments of types that it does not take (${what}): its cause says where; report it`,
    { cause },
  );
}
