/**
 * Maps a stream with items of up to `limit` in weight under way, in the order of the stream; an item that is heavier goes alone. A
 * result is yielded as soon as it and those before it are there, even while the source is silent. The first failure, of the source or
 * of a result, ends it after what came before.
 */
export async function* mapOrdered<T, R>(source: AsyncIterable<T>, limit: number, map: (item: T) => Promise<R>, weigh: (item: T) => number = () => 1): AsyncGenerator<R> {
  const items = source[Symbol.asyncIterator]();
  const pending: Promise<R>[] = [];
  const weights: number[] = [];
  let load = 0;
  let incoming: Promise<IteratorResult<T>> | undefined = quiet(items.next());
  try {
    while (incoming !== undefined || pending.length > 0) {
      const next: Step<T, R> = await firstOf(load < limit ? incoming : undefined, pending[0]);
      if ("result" in next) {
        void pending.shift();
        load -= weights.shift()!;
        yield next.result;
      } else if (next.item === undefined) {
        incoming = undefined;
      } else {
        pending.push(quiet(map(next.item.value)));
        weights.push(weigh(next.item.value));
        load += weights.at(-1)!;
        incoming = quiet(items.next());
      }
    }
  } finally {
    await Promise.allSettled(pending);
    // Not awaited: a source that is silent in its next() would hold up the failure that ends this stream.
    void items.return?.().catch(() => undefined);
  }
}

type Step<T, R> = { result: R } | { item: { value: T } | undefined };

async function firstOf<T, R>(incoming: Promise<IteratorResult<T>> | undefined, oldest: Promise<R> | undefined): Promise<Step<T, R>> {
  const steps: Promise<Step<T, R>>[] = [];
  // The result comes first: of two that are ready, an acknowledgement goes out before more work is taken on.
  if (oldest !== undefined) steps.push(oldest.then((result) => ({ result })));
  // A failing source must not overtake results that are still under way.
  if (incoming !== undefined) {
    const step = incoming.then((item): Step<T, R> => ({ item: item.done === true ? undefined : { value: item.value } }));
    steps.push(oldest === undefined ? step : step.catch(() => oldest.then((result) => ({ result }))));
  }
  return Promise.race(steps);
}

/** Maps items with up to `limit` results under way, each yielded as soon as it is there. The first failure ends it. */
export async function* mapUnordered<T, R>(items: Iterable<T>, limit: number, map: (item: T) => Promise<R>): AsyncGenerator<R> {
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

// Marks a promise's failure as handled: it is awaited later, or its stream has failed already.
function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

/** The same stream until `signal` aborts; then it fails with what `failure` makes, even if the source is silent. */
export async function* failingOn<T>(source: AsyncIterable<T>, signal: AbortSignal, failure: () => Error): AsyncGenerator<T> {
  const items = source[Symbol.asyncIterator]();
  let fail: (error: Error) => void = () => undefined;
  const onAbort = (): void => {
    fail(failure());
  };
  signal.addEventListener("abort", onAbort);
  try {
    for (;;) {
      if (signal.aborted) throw failure();
      // Each wait has a promise of its own: a race against one promise for the whole stream would keep every item until the end.
      const next = await new Promise<IteratorResult<T>>((resolve, reject) => {
        fail = reject;
        items.next().then(resolve, reject);
      });
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** The same stream; it fails with what `failure` makes where an item takes longer than so many milliseconds. */
export async function* failingWhenSilent<T>(source: AsyncIterable<T>, milliseconds: number, failure: () => Error): AsyncGenerator<T> {
  const items = source[Symbol.asyncIterator]();
  for (;;) {
    const next = await new Promise<IteratorResult<T>>((resolve, reject) => {
      const timer = setTimeout(() => { reject(failure()); }, milliseconds);
      items.next().then(resolve, reject).finally(() => { clearTimeout(timer); });
    });
    if (next.done === true) return;
    yield next.value;
  }
}
