import { constants } from "node:http2";
import { ServerInterceptingCall, status as Status } from "@grpc/grpc-js";
import type { ServerInterceptor } from "@grpc/grpc-js";
import type { Logger } from "pino";
import { reasonOf, statusWithReason } from "./status-details.ts";

type Call = Parameters<ServerInterceptor>[1];
type CallStatus = Parameters<Call["sendStatus"]>[0];

/** C-core refuses trailers from 8 KiB on, and a character may be sent as nine. */
const MAX_TEXT_CHARACTERS = 800;

/**
 * Stands between gRPC and the services, as the first interceptor: bounds how many milliseconds an answer may lie
 * unread, gives reasons to what gRPC itself refuses, and writes one log line for every call: method, status, reason and
 * time, never content.
 */
export function callGuard(log: Logger, unreadMs: number): ServerInterceptor {
  return ({ path }, call) => {
    const begin = performance.now();
    const end = ({ code, metadata }: CallStatus): void => {
      log.info(
        { method: path, status: Status[code], reason: reasonOf(metadata), ms: Math.round(performance.now() - begin) },
        "call",
      );
    };
    return new GuardedCall(call, { unreadMs, end }).intercepted();
  };
}

/** What a call is watched with. */
interface Watch {
  readonly unreadMs: number;
  /** Called once it is over and its peer has been told, or is gone. */
  readonly end: (status: CallStatus) => void;
}

/**
 * A call whose methods are replaced in place: what gRPC refuses by itself (messages that are too large or badly
 * compressed, calls that are overdue) it sends from within the call, past all interceptors, and lets the handler wait
 * on for answers to be read.
 */
class GuardedCall {
  readonly #call: Call;
  readonly #watch: Watch;
  readonly #sendStatus: Call["sendStatus"];
  #sent: CallStatus | undefined;
  #impatience: NodeJS.Timeout | undefined;
  #leave: () => void = () => undefined;

  constructor(call: Call, watch: Watch) {
    this.#call = call;
    this.#watch = watch;
    this.#sendStatus = call.sendStatus.bind(call);
    this.#replaceStart(call.start.bind(call));
    this.#replaceSendMessage(call.sendMessage.bind(call));
    call.sendStatus = (status): void => {
      this.#refuse(explained(status));
    };
  }

  /** The call as the services get it. */
  intercepted(): ServerInterceptingCall {
    return new ServerInterceptingCall(this.#call, {
      sendStatus: (status) => {
        this.#send(bounded(status));
      },
    });
  }

  #replaceStart(start: Call["start"]): void {
    this.#call.start = (listener): void => {
      this.#leave = once(() => {
        listener.onCancel();
      });
      start({
        onReceiveMetadata: (metadata) => {
          listener.onReceiveMetadata(metadata);
        },
        onReceiveMessage: (message) => {
          listener.onReceiveMessage(message);
        },
        onReceiveHalfClose: () => {
          listener.onReceiveHalfClose();
        },
        onCancel: () => {
          this.#over();
        },
      });
    };
  }

  #replaceSendMessage(sendMessage: Call["sendMessage"]): void {
    this.#call.sendMessage = (message, callback): void => {
      if (this.#sent !== undefined) return;
      this.#impatience = setTimeout(() => {
        this.#giveUp();
      }, this.#watch.unreadMs);
      sendMessage(message, () => {
        clearTimeout(this.#impatience);
        callback();
      });
    };
  }

  #send(status: CallStatus): void {
    if (this.#sent !== undefined) return;
    this.#sent = status;
    this.#sendStatus(status);
  }

  // The status waits behind the answer that is not read; once that was in vain too, what waits to be sent is let go.
  #giveUp(): void {
    this.#refuse(unread(this.#watch.unreadMs));
    this.#impatience = setTimeout(() => {
      this.#reset();
    }, this.#watch.unreadMs);
  }

  // A private field of grpc-js 1.14, which has no other way to reset a stream.
  #reset(): void {
    (this.#call as unknown as { readonly stream?: { close(code: number): void } }).stream?.close(
      constants.NGHTTP2_CANCEL,
    );
  }

  /**
   * Ends the call against its handler, which is told at once: a peer that reads nothing may not learn of it for long.
   */
  #refuse(status: CallStatus): void {
    this.#send(status);
    this.#leave();
  }

  #over(): void {
    clearTimeout(this.#impatience);
    this.#watch.end(this.#sent ?? { code: Status.CANCELLED, details: "" });
    this.#leave();
  }
}

function once(run: () => void): () => void {
  let pending = true;
  return () => {
    if (pending) run();
    pending = false;
  };
}

function bounded({ code, details, metadata }: CallStatus): CallStatus {
  return { code, details: details.slice(0, MAX_TEXT_CHARACTERS).toWellFormed(), metadata: metadata ?? null };
}

/** What gRPC refused by itself, in the contract's words. */
function explained(status: CallStatus): CallStatus {
  const { code, details } = bounded(status);
  if (code === Status.RESOURCE_EXHAUSTED)
    return statusWithReason({ code, details: `${details}: send less in one message`, reason: "TOO_LARGE" });
  if (code !== Status.INTERNAL) return bounded(status);
  // A write failed: the peer is gone, and nobody is told.
  if (/^(Internal server error|Error writing)/.test(details)) return { code: Status.CANCELLED, details };
  if (/^Error serializing/.test(details)) return statusWithReason({ code, details, reason: "INTERNAL" });
  return statusWithReason({
    code: Status.INVALID_ARGUMENT,
    details: `the call cannot be read: ${details}`,
    reason: "FIELD_INVALID",
  });
}

function unread(milliseconds: number): CallStatus {
  const text = `an answer lay unread for ${milliseconds / 1000} s: read the answers as they come`;
  return statusWithReason({ code: Status.DEADLINE_EXCEEDED, details: text, reason: "TOO_SLOW" });
}
