/**
 * Keeps writes of a gallery in the order in which they were asked for where some take time to get ready: of two
 * templates of one id the one that came later stays.
 */
export class PutOrder {
  readonly #last = new Map<number, Promise<unknown>>();

  /**
   * Resolves once all that was asked for before is ready; undefined if it is. Whoever awaits it goes on in the order of
   * these calls.
   */
  after(gallery: number): Promise<unknown> | undefined {
    return this.#last.get(gallery);
  }

  /**
   * Resolves with what `ready` does, once all that was asked for before is ready too; what comes later waits for it.
   */
  async take<T>(gallery: number, ready: Promise<T>): Promise<T> {
    const all = Promise.allSettled([this.#last.get(gallery), ready]);
    this.#last.set(gallery, all);
    await all;
    if (this.#last.get(gallery) === all) this.#last.delete(gallery);
    return ready;
  }
}
