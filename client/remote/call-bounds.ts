import { setTimeout as sleep } from "node:timers/promises";
import { ClientError } from "../errors.ts";

/** The options every call takes. */
export interface CallOptions {
  /** Cancels the call: it then throws ClientError CANCELLED. */
  readonly signal?: AbortSignal;
  /**
   * How long the whole call may take, in milliseconds > 0, until it throws ClientError DEADLINE_EXCEEDED: with all
   * pages, streams, pauses and repetitions that it is made of, the time that the caller's own source or callbacks take,
   * and, where it yields, from the first time it is asked for an item to its end. With every rpc the server is told how
   * much of it is left, and stops by then too. Unless given it is the client's; where that has none either, the call
   * may take as long as it needs, but each answer of the server, and each next message of a stream that is due from it,
   * is waited for {@link DEFAULT_PATIENCE_MS} only.
   */
  readonly deadlineMs?: number;
}

/**
 * How long one answer of the server, or the next message of a stream, is waited for in calls without a deadline, in
 * milliseconds; they then throw ClientError DEADLINE_EXCEEDED.
 */
export const DEFAULT_PATIENCE_MS = 60_000;
// What a timer can hold; 25 days.
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Throws ClientError USAGE for a deadline that is not a number > 0. */
export function checkDeadline(deadlineMs: number | undefined): void {
  if (deadlineMs === undefined || deadlineMs > 0) return;
  throw new ClientError("USAGE", `deadlineMs ${deadlineMs} is out of range: expected a number of milliseconds > 0`);
}

/** Bounds that are not a public method's own. */
export interface BoundsOptions {
  /** As CallBounds.patienceMs, for a call without a deadline. */
  readonly patienceMs?: number;
  /** The call that it is a part of: it ends with it. */
  readonly within?: CallBounds;
}

/**
 * What ends one call of a public method, and with it every rpc, pause and wait that it is made of: the caller's signal,
 * its deadline, or being disposed of.
 */
export class CallBounds implements Disposable {
  /** How long one answer is waited for, in milliseconds; Infinity where only the deadline counts. */
  readonly patienceMs: number;
  readonly #deadlineMs: number;
  /** On the clock of performance.now(). */
  readonly #endsAt: number;
  readonly #within: CallBounds | undefined;
  readonly #caller: AbortSignal | undefined;
  readonly #controller = new AbortController();
  readonly #abort = (): void => {
    this.#controller.abort();
  };
  readonly #timer: NodeJS.Timeout | undefined;
  #isLate = false;

  /** Time runs from now on. Throws ClientError USAGE for a deadline out of range. */
  constructor({ signal, deadlineMs }: CallOptions = {}, { patienceMs, within }: BoundsOptions = {}) {
    checkDeadline(deadlineMs);
    this.#deadlineMs = deadlineMs ?? Infinity;
    this.#endsAt = within === undefined ? performance.now() + this.#deadlineMs : within.#endsAt;
    this.#within = within;
    this.patienceMs = within?.patienceMs ?? (deadlineMs === undefined ? (patienceMs ?? DEFAULT_PATIENCE_MS) : Infinity);
    this.#caller = signal;
    if (signal?.aborted === true) this.#abort();
    signal?.addEventListener("abort", this.#abort);
    if (this.#deadlineMs <= LONGEST_TIMER_MS) this.#timer = setTimeout(this.#expire.bind(this), this.#deadlineMs);
  }

  /** Aborted once the call is over. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** What is left of the deadline, in milliseconds >= 0; Infinity without one. */
  get leftMs(): number {
    return Math.max(0, this.#endsAt - performance.now());
  }

  /** The same bounds for a part of the call: disposing of them ends that part alone. */
  part(): CallBounds {
    return new CallBounds({ signal: this.signal }, { within: this });
  }

  /** Why the call is over; undefined while it is not. `cause`: what that made fail. */
  endedBy(cause?: unknown): ClientError | undefined {
    if (this.#within !== undefined) return this.#within.endedBy(cause) ?? this.#cancelled(cause);
    if (this.#caller?.aborted !== true && (this.#isLate || this.leftMs === 0)) return this.#late(cause);
    return this.#cancelled(cause);
  }

  /** Throws ClientError CANCELLED or DEADLINE_EXCEEDED once the call is over. */
  check(): void {
    const ended = this.endedBy();
    if (ended !== undefined) throw ended;
  }

  /** Waits. Throws as {@link check}. */
  async pause(milliseconds: number): Promise<void> {
    await sleep(milliseconds, undefined, { signal: this.signal }).catch((cause: unknown) => {
      throw this.endedBy(cause) ?? cause;
    });
  }

  /** The result of work that others wait for too, unless the call is over first. Throws as {@link check}. */
  async unlessOver<T>(work: Promise<T>): Promise<T> {
    const over = Promise.withResolvers<never>();
    const onAbort = (): void => {
      over.reject(this.endedBy() ?? new Error("aborted before the call was over"));
    };
    this.signal.addEventListener("abort", onAbort);
    try {
      this.check();
      return await Promise.race([work, over.promise]);
    } finally {
      this.signal.removeEventListener("abort", onAbort);
    }
  }

  /** Ends what is under way still. */
  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#caller?.removeEventListener("abort", this.#abort);
    this.#abort();
  }

  #expire(): void {
    this.#isLate = true;
    this.#abort();
  }

  #late(cause: unknown): ClientError {
    const message = `the call was not done within its deadline of ${this.#deadlineMs} ms: try again, or allow more time`;
    return new ClientError("DEADLINE_EXCEEDED", message, { cause });
  }

  #cancelled(cause: unknown): ClientError | undefined {
    if (!this.signal.aborted) return undefined;
    return new ClientError("CANCELLED", "the call was cancelled", { cause });
  }
}

/** The options of a public method on their way below it: what they say of signal and deadline is in the bounds. */
export type Bounded<Options = unknown> = Options & { readonly bounds: CallBounds };

/** For what must be done although its call is over, such as tidying up. */
export const UNBOUNDED: Bounded = { bounds: new CallBounds() };
