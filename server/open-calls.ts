import { constants } from "node:http2";
import { Metadata, ServerInterceptingCall } from "@grpc/grpc-js";
import type { ServerInterceptingCallInterface, ServerInterceptor } from "@grpc/grpc-js";
import type { Logger } from "pino";
import { ServerError } from "./errors.ts";
import { IDLE_BETWEEN_UNITS_MS, MOST_CALLS, NEWCOMER_MS, PACE, RETRY_AFTER_MS, UNREAD_MS } from "./limits.ts";
import { statusOf } from "./wall.ts";

/** How many calls may be open at once, and how long each may keep the server waiting, in milliseconds. */
export interface CallLimits {
  readonly most: number;
  /** For the first message. */
  readonly firstMs: number;
  /** For a later message. */
  readonly idleMs: number;
  /** For its client to read an answer. */
  readonly unreadMs: number;
  /** Age from which a call that waits for its client makes room for others where too many are open. */
  readonly newcomerMs: number;
  /** How often the calls are looked at. */
  readonly sweepMs: number;
}

/** A little longer than the handlers', which say more in their refusals. */
const USUAL: CallLimits = {
  most: MOST_CALLS, firstMs: PACE.graceMs + 5000, idleMs: IDLE_BETWEEN_UNITS_MS + 5000, unreadMs: UNREAD_MS, newcomerMs: NEWCOMER_MS, sweepMs: 1000,
};

type Listener = Parameters<ServerInterceptingCall["start"]>[0];
type PartialStatus = Parameters<ServerInterceptingCall["sendStatus"]>[0];

/** Bounds all calls of a server, also those that no handler sees because their message never comes. */
export class OpenCalls implements Disposable {
  readonly #limits: CallLimits;
  readonly #log: Logger;
  readonly #calls = new Set<WatchedCall>();
  readonly #sweeping: NodeJS.Timeout;

  constructor(log: Logger, limits: CallLimits = USUAL) {
    this.#log = log;
    this.#limits = limits;
    this.#sweeping = setInterval(() => { this.#sweep(); }, limits.sweepMs).unref();
  }

  /** For the options of the server. */
  readonly interceptor: ServerInterceptor = (method, call) => {
    const watched = new WatchedCall(method.path, call, () => this.#calls.delete(watched));
    if (this.#calls.size < this.#limits.most || this.#makeRoom()) this.#calls.add(watched);
    else this.#end(watched, refusal(`the server has ${this.#limits.most} calls open: try again later`));
    return watched;
  };

  [Symbol.dispose](): void {
    clearInterval(this.#sweeping);
  }

  #sweep(): void {
    const { firstMs, idleMs, unreadMs } = this.#limits;
    for (const call of this.#calls) {
      if (!call.ending && call.waitedMs > (call.heard ? idleMs : firstMs)) this.#end(call, refusal("the client sent nothing for too long: call again"));
      if (call.unreadForMs > unreadMs) this.#drop(call);
    }
  }

  #makeRoom(): boolean {
    const silent = [...this.#calls].filter((call) => !call.ending && call.waitedMs >= this.#limits.newcomerMs);
    const longest = silent.reduce<WatchedCall | undefined>((a, b) => (a !== undefined && a.waitedMs >= b.waitedMs ? a : b), undefined);
    if (longest === undefined) return false;
    this.#end(longest, refusal("the server has too many calls open, and this one was silent the longest: call again"));
    return true;
  }

  #end(call: WatchedCall, error: ServerError): void {
    call.ending = true;
    this.#log.info({ method: call.path, status: "RESOURCE_EXHAUSTED", reason: error.reason }, "call ended for others' sake");
    void statusOf(error).then((status) => {
      const metadata = new Metadata();
      metadata.set("grpc-status-details-bin", Buffer.from(status.details));
      call.refuse({ code: status.code, details: error.message, metadata });
    });
  }

  // A status would wait behind the answer that is not read.
  #drop(call: WatchedCall): void {
    this.#log.info({ method: call.path, status: "CANCELLED" }, "call dropped: its client does not read the answers");
    call.drop();
  }
}

function refusal(message: string): ServerError {
  return new ServerError("LIMIT_EXCEEDED", message, { retryAfterMs: RETRY_AFTER_MS });
}

/** A call whose waits for its client are known. */
class WatchedCall extends ServerInterceptingCall {
  readonly path: string;
  /** Whether it is being refused. */
  ending = false;
  readonly #call: ServerInterceptingCallInterface;
  readonly #over: () => void;
  #refused: PartialStatus | undefined;
  #started = false;
  #heard = false;
  #waitingSince: number | undefined;
  #unreadSince: number | undefined;

  constructor(path: string, call: ServerInterceptingCallInterface, over: () => void) {
    super(call);
    this.path = path;
    this.#call = call;
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

  /** How long an answer has been waiting for its client to read; 0 if none is. */
  get unreadForMs(): number {
    return sinceMs(this.#unreadSince);
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
      onReceiveMessage: (message) => { heard(); listener.onReceiveMessage(message); },
      onReceiveHalfClose: () => { heard(); listener.onReceiveHalfClose(); },
      onCancel: () => { this.#over(); listener.onCancel(); },
    });
  }

  override startRead(): void {
    this.#waitingSince = performance.now();
    super.startRead();
  }

  override sendMessage(message: unknown, callback: () => void): void {
    this.#unreadSince = performance.now();
    super.sendMessage(message, () => {
      this.#unreadSince = undefined;
      callback();
    });
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

  /** Resets the stream: what waits to be sent on it is let go. */
  drop(): void {
    const { stream } = this.#call as unknown as { readonly stream?: { close(code: number): void } };
    stream?.close(constants.NGHTTP2_CANCEL);
  }
}

function sinceMs(time: number | undefined): number {
  return time === undefined ? 0 : performance.now() - time;
}
