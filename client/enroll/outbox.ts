/**
 * A bounded queue of what is to be sent: filled by one producer, read by one sender at a time, which may start over
 * with what was not acknowledged. Its memory is what it holds: at most `limit` by `weigh`, or a single item of any
 * weight.
 */
export class Outbox<T> {
  readonly #limit: number;
  readonly #weigh: (item: T) => number;
  readonly #items: T[] = [];
  #weight = 0;
  #acknowledged = 0;
  #ended = false;
  #closed = false;
  #changed = Promise.withResolvers<undefined>();

  constructor(limit: number, weigh: (item: T) => number) {
    this.#limit = limit;
    this.#weigh = weigh;
  }

  /** How many items were acknowledged: the number of the first that is not. */
  get acknowledged(): number {
    return this.#acknowledged;
  }

  /** Whether the producer has ended and everything is acknowledged. */
  get done(): boolean {
    return this.#ended && this.#items.length === 0;
  }

  /** Puts an item in once there is room. False where the outbox was closed: the producer then stops. */
  async put(item: T): Promise<boolean> {
    const weight = this.#weigh(item);
    while (!this.#closed && this.#items.length > 0 && this.#weight + weight > this.#limit) await this.#changed.promise;
    if (this.#closed) return false;
    this.#items.push(item);
    this.#weight += weight;
    this.wake();
    return true;
  }

  /** No more items will be put. */
  end(): void {
    this.#ended = true;
    this.wake();
  }

  /** Whoever waits stops waiting; nothing is sent any more. */
  close(): void {
    this.#closed = true;
    this.wake();
  }

  /**
   * Item number `index`, once it is there; undefined after the last one, or as soon as `stopped` says so when woken.
   */
  async at(index: number, stopped: () => boolean): Promise<T | undefined> {
    for (;;) {
      if (this.#closed || stopped()) return undefined;
      const item = this.#items[index - this.#acknowledged];
      if (item !== undefined || this.#ended) return item;
      await this.#changed.promise;
    }
  }

  /** The oldest item, which is not acknowledged yet. */
  oldest(): T | undefined {
    return this.#items[0];
  }

  /** The oldest item is acknowledged, and forgotten. */
  acknowledge(): void {
    const item = this.#items.shift();
    if (item === undefined) return;
    this.#weight -= this.#weigh(item);
    this.#acknowledged++;
    this.wake();
  }

  /** Lets everyone who waits look again. */
  wake(): void {
    this.#changed.resolve(undefined);
    this.#changed = Promise.withResolvers();
  }
}
