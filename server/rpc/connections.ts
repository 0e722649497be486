import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Socket } from "node:net";

/** Bounds on the TCP connections of a server. */
export interface ConnectionLimits {
  /** How many may be open at once, >= 1; one more is closed as soon as it is accepted. */
  readonly most: number;
  /**
   * A connection from which no byte comes for so long is cut, within twice that time. Longer than living peers take to
   * answer a ping.
   */
  readonly silenceMs: number;
}

// gRPC keeps its sockets to itself, and cannot be told to let go of one that has unsent bytes; Node tells of each that
// it accepts.
const ACCEPTED = "net.server.socket";

/**
 * The TCP connections of this process's server on one port: cut where they are silent or too many, and all at the end.
 */
export class Connections implements Disposable {
  readonly #limits: ConnectionLimits;
  /** With the bytes that had come from each when it was last looked at. */
  readonly #open = new Map<Socket, number>();
  readonly #watch: NodeJS.Timeout;
  #port: number | undefined;

  /** Begins to watch: make it before the server listens. */
  constructor(limits: ConnectionLimits) {
    this.#limits = limits;
    this.#watch = setInterval(this.#cutSilent, limits.silenceMs).unref();
    subscribe(ACCEPTED, this.#onAccepted);
  }

  /** Says which port is the server's; connections of other ports are left alone. */
  listensOn(port: number): void {
    this.#port = port;
    for (const socket of this.#open.keys()) if (socket.localPort !== port) this.#open.delete(socket);
  }

  /** Cuts all that are open, whatever is unsent, and watches no more. */
  [Symbol.dispose](): void {
    unsubscribe(ACCEPTED, this.#onAccepted);
    clearInterval(this.#watch);
    for (const socket of this.#open.keys()) socket.destroy();
  }

  readonly #onAccepted = (message: unknown): void => {
    const { socket } = message as { readonly socket: Socket };
    if (this.#port !== undefined && socket.localPort !== this.#port) return;
    if (this.#open.size >= this.#limits.most) {
      socket.destroy();
      return;
    }
    this.#open.set(socket, -1);
    socket.once("close", () => this.#open.delete(socket));
  };

  readonly #cutSilent = (): void => {
    for (const [socket, before] of this.#open) {
      if (socket.bytesRead === before) socket.destroy();
      else this.#open.set(socket, socket.bytesRead);
    }
  };
}
