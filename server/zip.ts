/** What lies in the same place of both, as often as both have something there. */
export function* zip<A, B>(some: Iterable<A>, others: Iterable<B>): Generator<readonly [A, B]> {
  const rest = others[Symbol.iterator]();
  for (const one of some) {
    const next = rest.next();
    if (next.done === true) return;
    yield [one, next.value];
  }
}
