/**
 * What `run` makes of each item, in their order; at most `width` are under way at a time. Throws what `run` throws,
 * once all before it were yielded.
 */
export async function* mapInOrder<T, U>(
  items: Iterable<T> | AsyncIterable<T>,
  width: number,
  run: (item: T) => Promise<U>,
): AsyncGenerator<U, void, undefined> {
  let running: Promise<U>[] = [];
  for await (const item of items) {
    const result = run(item);
    // Awaited in its turn; until then its failure must not count as unheard.
    result.catch(() => undefined);
    running.push(result);
    if (running.length < width) continue;
    const [oldest = result, ...others] = running;
    running = others;
    yield await oldest;
  }
  for (const result of running) yield await result;
}
