import { ServerInterceptingCall, status as Status } from "@grpc/grpc-js";
import type { ServerInterceptingCallInterface, ServerInterceptor } from "@grpc/grpc-js";
import { IDLE_BETWEEN_UNITS_MS, NEWCOMER_MS, PACE, RETRY_AFTER_MS } from "../limits.ts";
import { UnreadableRequest } from "./readable-requests.ts";
import { statusWithReason } from "./status-details.ts";
import type { BareRefusal } from "./status-details.ts";

/** How long each call may keep the server waiting, in milliseconds. */
export interface CallPatience {
  /** For the first message. */
  readonly firstMs: number;
  /** For a later message. */
  readonly idleMs: number;
  /** Age from which a call that waits for its client makes room for others where too many are open. */
  readonly newcomerMs: number;
  /** How often the calls are looked at. */
  readonly sweepMs: number;
}

/** A little longer than the handlers', which say more in their refusals. */
const USUAL: CallPatience = {
  firstMs: PACE.graceMs + 5000,
  idleMs: IDLE_BETWEEN_UNITS_MS + 5000,
  newcomerMs: NEWCOMER_MS,
  sweepMs: 1000,
};

const OVERLOADED = { code: Status.RESOURCE_EXHAUSTED, reason: "OVERLOADED" };
const TOO_SLOW = { code: Status.DEADLINE_EXCEEDED, reason: "TOO_SLOW" };

/** Answered at any load, so that a server with much to do is not taken for a dead one. */
const ALWAYS_WELCOME = "/grpc.health.v1.Health/Check";

type Method = Parameters<ServerInterceptor>[0];
type Listener = Parameters<ServerInterceptingCall["start"]>[0];
type PartialStatus = Parameters<ServerInterceptingCall["sendStatus"]>[0];

/**
 * Bounds the calls of a server and its patience with them, also with those that no handler sees because their message
 * never comes.
 */
export class OpenCalls implements Disposable {
  readonly #most: number;
  readonly #patience: CallPatience;
  readonly #calls = new Set<WatchedCall>();
  readonly #sweeping: NodeJS.Timeout;

  /** `most`: how many may be open at once, health checks aside; >= 1. */
  constructor(most: number, patience: CallPatience = USUAL) {
    this.#most = most;
    this.#patience = patience;
    this.#sweeping = setInterval(() => {
      this.#sweep();
    }, patience.sweepMs).unref();
  }

  /** For the options of the server. */
  readonly interceptor: ServerInterceptor = (method, call) => {
    const watched = new WatchedCall(method, call, () => this.#calls.delete(watched));
    if (this.#calls.size < this.#most || method.path === ALWAYS_WELCOME || this.#makeRoom()) this.#calls.add(watched);
    else this.#end(watched, OVERLOADED, `the server has ${this.#most} calls under way already: try again later`);
    return watched;
  };

  [Symbol.dispose](): void {
    clearInterval(this.#sweeping);
  }

  #sweep(): void {
    const { firstMs, idleMs } = this.#patience;
    for (const call of this.#calls) {
      if (!call.ending && call.waitedMs > (call.heard ? idleMs : firstMs))
        this.#end(call, TOO_SLOW, "the client sent nothing for too long: call again");
    }
  }

  #makeRoom(): boolean {
    const silent = [...this.#calls].filter((call) => !call.ending && call.waitedMs >= this.#patience.newcomerMs);
    const longest = silent.reduce<WatchedCall | undefined>(
      (a, b) => (a !== undefined && a.waitedMs >= b.waitedMs ? a : b),
      undefined,
    );
    if (longest === undefined) return false;
    this.#end(
      longest,
      OVERLOADED,
      "the server has too many calls open, and this one was silent the longest: call again",
    );
    return true;
  }

  #end(call: WatchedCall, refusal: Pick<BareRefusal, "code" | "reason">, details: string): void {
    call.ending = true;
    call.refuse(statusWithReason({ ...refusal, details, retryAfterMs: RETRY_AFTER_MS }));
  }
}

/** A call whose waits for its client are known. */
class WatchedCall extends ServerInterceptingCall {
  readonly path: string;
  readonly #isStream: boolean;
  /** Whether it is being refused. */
  ending = false;
  readonly #over: () => void;
  #refused: PartialStatus | undefined;
  #started = false;
  #heard = false;
  #waitingSince: number | undefined;

  constructor({ path, requestStream }: Method, call: ServerInterceptingCallInterface, over: () => void) {
    super(call);
    this.path = path;
    this.#isStream = requestStream;
    this.#over = over;
  }

  /** Whether any message came. */
  get heard(): boolean {
    return this.#heard;
  }

  /** How long the next message has been waited for; 0 if none is. */
  get waitedMs(): number {
    return sinceMs(this.#waitingSince);
  }

  override start(listener: Listener): void {
    const heard = (): void => {
      this.#heard = true;
      this.#waitingSince = undefined;
    };
    super.start({
      onReceiveMetadata: (metadata) => {
        this.#started = true;
        if (this.#refused === undefined) listener.onReceiveMetadata(metadata);
        else super.sendStatus(this.#refused);
      },
      onReceiveMessage: (message: unknown) => {
        heard();
        // The handler of a single request would wait for its client to end the stream first. That of a stream answers
        // what came before.
        if (message instanceof UnreadableRequest && !this.#isStream) this.refuse(refusalOf(message));
        else listener.onReceiveMessage(message);
      },
      onReceiveHalfClose: () => {
        heard();
        listener.onReceiveHalfClose();
      },
      onCancel: () => {
        this.#over();
        listener.onCancel();
      },
    });
  }

  override startRead(): void {
    this.#waitingSince = performance.now();
    super.startRead();
  }

  override sendStatus(status: PartialStatus): void {
    this.#over();
    super.sendStatus(status);
  }

  /** Ends the call with a status, before its handler sees it if it has not. */
  refuse(status: PartialStatus): void {
    this.#refused = status;
    if (this.#started) super.sendStatus(status);
  }
}

function refusalOf({ refusal }: UnreadableRequest): PartialStatus {
  return statusWithReason({ code: Status.INVALID_ARGUMENT, details: refusal.message, reason: refusal.reason });
}

function sinceMs(time: number | undefined): number {
  return time === undefined ? 0 : performance.now() - time;
}
