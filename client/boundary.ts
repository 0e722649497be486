import { ClientError } from "./errors.ts";

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

/** Runs a public method: whatever it throws is a ClientError, or what the caller's own code threw. */
export async function throwingClientErrors<T>(names: Names, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw forCallers(names, error);
  }
}

/** As {@link throwingClientErrors}, of a method that yields. */
export async function* yieldingWithClientErrors<T>(
  names: Names,
  run: () => AsyncIterable<T>,
): AsyncGenerator<T, void, undefined> {
  const items = run()[Symbol.asyncIterator]();
  try {
    for (;;) {
      const item = await throwingClientErrors(names, () => items.next());
      if (item.done === true) return;
      yield item.value;
    }
  } finally {
    await items.return?.();
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
