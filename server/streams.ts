import type { Pace } from "./limits.ts";

/** How much of a stream may be under way at once. */
interface Load<T> {
  /** In weight; an item that is heavier goes alone. */
  readonly limit: number;
  /** The weight of an item; 1 unless given. */
  readonly weigh?: (item: T) => number;
}

interface Weighed<R> {
  readonly result: Promise<R>;
  readonly weight: number;
}

/**
 * Maps a stream, some items at a time, in the order of the stream. A result is yielded as soon as it and those before
 * it are there, even while the source is silent. The first failure, of the source or of a result, ends it after what
 * came before.
 */
export async function* mapOrdered<T, R>(
  source: AsyncIterable<T>,
  { limit, weigh = () => 1 }: Load<T>,
  map: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const items = source[Symbol.asyncIterator]();
  const pending: Weighed<R>[] = [];
  let load = 0;
  let incoming: Promise<IteratorResult<T>> | undefined = quiet(items.next());
  try {
    while (incoming !== undefined || pending.length > 0) {
      const next: Step<T, R> = await firstOf(load < limit ? incoming : undefined, pending[0]);
      if ("result" in next) {
        pending.shift();
        load -= next.weight;
        yield next.result;
      } else if (next.item === undefined) {
        incoming = undefined;
      } else {
        const weight = weigh(next.item.value);
        pending.push({ result: quiet(map(next.item.value)), weight });
        load += weight;
        incoming = quiet(items.next());
      }
    }
  } finally {
    await Promise.allSettled(pending.map(({ result }) => result));
    // Not awaited: a source that is silent in its next() would hold up the failure that ends this stream.
    void items.return?.().catch(() => undefined);
  }
}

type Step<T, R> = { result: R; weight: number } | { item: { value: T } | undefined };

async function firstOf<T, R>(
  incoming: Promise<IteratorResult<T>> | undefined,
  oldest: Weighed<R> | undefined,
): Promise<Step<T, R>> {
  const steps: Promise<Step<T, R>>[] = [];
  const result = oldest?.result.then((result) => ({ result, weight: oldest.weight }));
  // The result comes first: of two that are ready, an acknowledgement goes out before more work is taken on.
  if (result !== undefined) steps.push(result);
  // A failing source must not overtake results that are still under way.
  if (incoming !== undefined) {
    const step = incoming.then(
      (item): Step<T, R> => ({ item: item.done === true ? undefined : { value: item.value } }),
    );
    steps.push(result === undefined ? step : step.catch(() => result));
  }
  return Promise.race(steps);
}

/** Maps items with up to `limit` results under way, each yielded as soon as it is there. The first failure ends it. */
export async function* mapUnordered<T, R>(
  items: Iterable<T>,
  limit: number,
  map: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const source = items[Symbol.iterator]();
  const pending = new Map<number, Promise<{ key: number; result: R }>>();
  let started = 0;
  try {
    for (;;) {
      while (pending.size < limit) {
        const next = source.next();
        if (next.done === true) break;
        const key = started++;
        pending.set(key, quiet(map(next.value).then((result) => ({ key, result }))));
      }
      if (pending.size === 0) return;
      const { key, result } = await Promise.race(pending.values());
      pending.delete(key);
      yield result;
    }
  } finally {
    await Promise.allSettled(pending.values());
  }
}

/** Marks a promise's failure as handled: it is awaited later, or its stream has failed already. */
export function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

/** The same stream until `signal` aborts; then it fails with what `failure` makes, even if the source is silent. */
export function failingOn<T>(
  source: AsyncIterable<T>,
  signal: AbortSignal,
  failure: () => Error,
): AsyncIterableIterator<T> {
  return interruptible(source, (fail) =>
    onAbort(signal, () => {
      fail(failure());
    }),
  );
}

/** How long a stream still waits for its source; who consumes it says what came. */
export class Patience {
  readonly #pace: Pace;
  #leftMs: number;
  #paused = false;
  /** What happens where the wait that is under way takes too long. */
  #over: (() => void) | undefined;
  #since: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** Fails the stream with its reason once it aborts, even if the source is silent. */
  interrupt: AbortSignal | undefined;

  constructor(pace: Pace) {
    this.#pace = pace;
    this.#leftMs = pace.graceMs;
  }

  /** Milliseconds. */
  get leftMs(): number {
    return this.#leftMs;
  }

  /** A wait begins; what is returned ends it. Calls back where it takes longer than the patience lasts. */
  watch(over: () => void): () => void {
    this.#over = over;
    this.#begin();
    return () => {
      this.#end();
      this.#over = undefined;
    };
  }

  /** Waiting costs nothing until {@link resume}: the client has something else to do. */
  pause(): void {
    this.#end();
    this.#paused = true;
  }

  /** Waiting counts from now on, also where it is under way. */
  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (this.#over !== undefined) this.#begin();
  }

  #begin(): void {
    if (this.#paused || this.#over === undefined) return;
    this.#since = performance.now();
    this.#timer = setTimeout(this.#over, this.#leftMs);
  }

  #end(): void {
    clearTimeout(this.#timer);
    if (this.#since !== undefined) this.#leftMs = Math.max(0, this.#leftMs - (performance.now() - this.#since));
    this.#since = undefined;
  }

  /** So many bytes of use came: each gives back its share of the time, up to the grace. */
  earn(bytes: number): void {
    this.#leftMs = Math.min(this.#pace.graceMs, this.#leftMs + (bytes * 1000) / this.#pace.bytesPerSecond);
  }

  /** From here on it waits so long, whatever it waited before. */
  renew(milliseconds: number = this.#pace.graceMs): void {
    this.#leftMs = milliseconds;
  }
}

/** The same stream; it fails with what `failure` makes where the source takes longer than the patience lasts. */
export function patiently<T>(
  source: AsyncIterable<T>,
  patience: Patience,
  failure: () => Error,
): AsyncIterableIterator<T> {
  return interruptible(source, (fail) => {
    const disarm = patience.watch(() => {
      fail(failure());
    });
    const { interrupt } = patience;
    const listening =
      interrupt &&
      onAbort(interrupt, () => {
        fail(interrupt.reason);
      });
    return () => {
      disarm();
      listening?.();
    };
  });
}

/**
 * The same stream, each of whose waits `arm` may fail; what it returns ends the wait. No item is held while the next
 * one is awaited, as a generator would: a message may be large, and the wait long.
 */
function interruptible<T>(
  source: AsyncIterable<T>,
  arm: (fail: (error: unknown) => void) => () => void,
): AsyncIterableIterator<T> {
  const items = source[Symbol.asyncIterator]();
  const next = async (): Promise<IteratorResult<T>> => {
    const { promise, resolve, reject } = Promise.withResolvers<IteratorResult<T>>();
    const disarm = arm(reject);
    items.next().then(resolve, reject);
    return promise.finally(disarm);
  };
  const end = async (): Promise<IteratorResult<T>> => {
    // Not awaited: a source that is silent in its next() would hold up what ends this stream.
    void items.return?.().catch(() => undefined);
    return Promise.resolve({ done: true, value: undefined });
  };
  const stream = { next, return: end, [Symbol.asyncIterator]: () => stream };
  return stream;
}

/** Calls back when the signal aborts, or at once if it has; what is returned ends that. */
function onAbort(signal: AbortSignal, call: () => void): () => void {
  if (signal.aborted) call();
  else signal.addEventListener("abort", call);
  return () => {
    signal.removeEventListener("abort", call);
  };
}

/** Hands every item to `use`, in order, and holds on to none while it waits for the next. */
export async function forEachItem<T>(source: AsyncIterable<T>, use: (item: T) => Promise<void> | void): Promise<void> {
  const items = source[Symbol.asyncIterator]();
  try {
    while (await useNext(items, use)) continue;
  } finally {
    void items.return?.().catch(() => undefined);
  }
}

// A frame of its own for every item: that of a loop would keep the last one.
async function useNext<T>(items: AsyncIterator<T>, use: (item: T) => Promise<void> | void): Promise<boolean> {
  const next = await items.next();
  if (next.done === true) return false;
  await use(next.value);
  return true;
}
