import { overloaded, tooSlow } from "../errors.ts";
import type { ServerError } from "../errors.ts";
import { NEWCOMER_MS, ROOM_PATIENCE_MS, SLOW_BYTES_PER_SECOND } from "../limits.ts";

/** How much may wait. */
interface WaitingLimits {
  /** What waits, in the plural, for refusals. */
  readonly what: string;
  /** Over all holdings; one that is alone may be larger. */
  readonly bytes: number;
  /** Holdings at once. */
  readonly holders?: number;
  /** How long to wait for room, in milliseconds. */
  readonly roomPatienceMs?: number;
  /** The time in milliseconds; for tests. */
  readonly now?: () => number;
}

interface Waiter {
  readonly holding: Holding;
  readonly bytes: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** What a holding asks of the place where it is counted. */
interface Account {
  take(holding: Holding, bytes: number): void;
  takeOrWait(holding: Holding, bytes: number): Promise<void>;
  settle(holding: Holding): void;
  release(holding: Holding): void;
}

/** A rate is an average over about so many milliseconds. */
const RATE_WINDOW_MS = 5000;

/** The bytes that one call has received and that wait. Dispose of it once they do not wait any more. */
export class Holding implements Disposable {
  readonly #account: Account;
  readonly #now: () => number;
  readonly #since: number;
  readonly #givenUp = new AbortController();
  #bytes = 0;
  #recent = 0;
  #countedAt: number;
  #settled = false;
  #over = false;

  /** Made by {@link WaitingBytes.open}. */
  constructor(account: Account, now: () => number) {
    this.#account = account;
    this.#now = now;
    this.#since = this.#countedAt = now();
  }

  /** Aborts with a ServerError TOO_SLOW where the holding had to make room. */
  get signal(): AbortSignal {
    return this.#givenUp.signal;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Whether all of it is here, so that its end does not depend on its client. */
  get settled(): boolean {
    return this.#settled;
  }

  /** Whether it was disposed of, or had to make room: it takes nothing any more. */
  get over(): boolean {
    return this.#over;
  }

  /** Bytes a second lately. */
  get rate(): number {
    const decay = Math.exp((this.#countedAt - this.#now()) / RATE_WINDOW_MS);
    return (this.#recent * decay * 1000) / RATE_WINDOW_MS;
  }

  /** Whether it has been slow for long enough to make room for others. */
  get slow(): boolean {
    return !this.#settled && this.#now() - this.#since >= NEWCOMER_MS && this.rate < SLOW_BYTES_PER_SECOND;
  }

  /** Throws ServerError OVERLOADED if there is no room for so many bytes more. */
  take(bytes: number): void {
    this.#account.take(this, bytes);
  }

  /** As {@link take}, but waits where others are about to make room, in the order of asking. */
  async takeOrWait(bytes: number): Promise<void> {
    return this.#account.takeOrWait(this, bytes);
  }

  /** All of it is here. */
  settle(): void {
    if (this.#settled || this.#over) return;
    this.#settled = true;
    this.#account.settle(this);
  }

  /** Counts bytes that were granted. */
  add(bytes: number): void {
    const now = this.#now();
    this.#recent = this.#recent * Math.exp((this.#countedAt - now) / RATE_WINDOW_MS) + bytes;
    this.#countedAt = now;
    this.#bytes += bytes;
  }

  /** Ends it for others' sake. */
  giveUp(error: ServerError): void {
    this.#givenUp.abort(error);
    this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    if (this.#over) return;
    this.#over = true;
    this.#account.release(this);
  }
}

/**
 * A bound on the bytes that wait in memory, over all calls. Where it is reached, whoever sends slowly makes room for
 * others; then calls wait for what is complete to be done with; and where nothing is, they are refused.
 */
export class WaitingBytes implements Account {
  readonly #limits: WaitingLimits;
  readonly #now: () => number;
  readonly #holdings = new Set<Holding>();
  readonly #queue: Waiter[] = [];
  #held = 0;
  #settled = 0;

  constructor(limits: WaitingLimits) {
    this.#limits = limits;
    this.#now = limits.now ?? ((): number => performance.now());
  }

  /** Bytes that wait now. */
  get held(): number {
    return this.#held;
  }

  /** Throws ServerError OVERLOADED if there are too many. */
  open(): Holding {
    const { holders = Number.POSITIVE_INFINITY } = this.#limits;
    if (this.#holdings.size >= holders && !this.#giveUpSlowest()) throw this.#full();
    const holding = new Holding(this, this.#now);
    this.#holdings.add(holding);
    return holding;
  }

  /** See {@link Holding.take}. */
  take(holding: Holding, bytes: number): void {
    this.#checkOpen(holding);
    if (!this.#makeRoom(holding, bytes)) throw this.#full();
    this.#grant(holding, bytes);
  }

  /** See {@link Holding.takeOrWait}. */
  async takeOrWait(holding: Holding, bytes: number): Promise<void> {
    this.#checkOpen(holding);
    if (this.#queue.length === 0 && this.#makeRoom(holding, bytes)) this.#grant(holding, bytes);
    else if (this.#settled === 0) throw this.#full();
    else await this.#room(holding, bytes);
  }

  /** See {@link Holding.settle}. */
  settle(holding: Holding): void {
    this.#settled += holding.bytes;
  }

  /** The bytes of a holding that is over. */
  release(holding: Holding): void {
    this.#holdings.delete(holding);
    this.#held -= holding.bytes;
    if (holding.settled) this.#settled -= holding.bytes;
    const own = this.#queue.findIndex((waiter) => waiter.holding === holding);
    const [left] = own < 0 ? [] : this.#queue.splice(own, 1);
    left?.reject(holding.signal.reason ?? this.#full());
    this.#serve();
  }

  // What is taken for a call that is over would never be given back.
  #checkOpen(holding: Holding): void {
    if (holding.over) throw holding.signal.reason ?? overloaded("the call is over");
  }

  async #room(holding: Holding, bytes: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    const patience = this.#limits.roomPatienceMs ?? ROOM_PATIENCE_MS;
    const impatience = setTimeout(() => {
      holding.giveUp(this.#full());
    }, patience);
    this.#queue.push({
      holding,
      bytes,
      resolve: () => {
        resolve(undefined);
      },
      reject,
    });
    try {
      await promise;
    } finally {
      clearTimeout(impatience);
    }
  }

  // The first in the queue is given up where nothing is about to make room: its own bytes are what the others wait for.
  #serve(): void {
    for (let [first] = this.#queue; first !== undefined; [first] = this.#queue) {
      const { holding, bytes, resolve } = first;
      if (this.#fits(holding, bytes)) {
        this.#queue.shift();
        this.#grant(holding, bytes);
        resolve();
      } else if (this.#settled === 0) holding.giveUp(this.#full());
      else return;
    }
  }

  #grant(holding: Holding, bytes: number): void {
    holding.add(bytes);
    this.#held += bytes;
    if (holding.settled) this.#settled += bytes;
  }

  #fits(holding: Holding, bytes: number): boolean {
    return this.#held + bytes <= this.#limits.bytes || this.#held === holding.bytes;
  }

  #makeRoom(holding: Holding, bytes: number): boolean {
    while (!this.#fits(holding, bytes)) if (!this.#giveUpSlowest(holding)) return false;
    return true;
  }

  #giveUpSlowest(except?: Holding): boolean {
    const waiting = new Set(this.#queue.map(({ holding }) => holding));
    const slow = [...this.#holdings].filter((holding) => holding !== except && holding.slow && !waiting.has(holding));
    const slowest = slow.reduce<Holding | undefined>(
      (a, b) => (a !== undefined && a.rate <= b.rate ? a : b),
      undefined,
    );
    slowest?.giveUp(this.#tooSlow());
    return slowest !== undefined;
  }

  #full(): ServerError {
    const { what } = this.#limits;
    return overloaded(`the server has no memory for more ${what} at once`);
  }

  #tooSlow(): ServerError {
    const message = `others waited for the memory of ${this.#limits.what} that came at less than ${SLOW_BYTES_PER_SECOND} bytes a second: send it again later`;
    return tooSlow(message);
  }
}

/** The holdings of one stream, which are over with it at the latest. */
export class StreamHoldings implements Disposable {
  readonly #waiting: WaitingBytes;
  readonly #open = new Set<Holding>();
  #over = false;

  constructor(waiting: WaitingBytes) {
    this.#waiting = waiting;
  }

  /** Throws ServerError OVERLOADED if there are too many, or if the stream is over. */
  open(): Holding {
    if (this.#over) throw overloaded("the stream is over, and what was not acknowledged is not stored");
    const holding = this.#waiting.open();
    this.#open.add(holding);
    return holding;
  }

  /** One of them is over. */
  close(holding: Holding): void {
    this.#open.delete(holding);
    holding[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.#over = true;
    for (const holding of this.#open) this.close(holding);
  }
}
