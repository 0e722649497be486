import { connect, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";

/** A TCP relay on loopback that counts what passes, so that sizes on the wire are measured rather than claimed. */
export class ByteCounter implements Disposable {
  sent = 0;
  received = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  /** `target`: where to relay to, asked at each connection: a restarted server has another port. */
  static async open(target: () => string): Promise<ByteCounter> {
    const counter = new ByteCounter(target);
    await new Promise<void>((resolve) => counter.#server.listen(0, "127.0.0.1", resolve));
    return counter;
  }

  private constructor(target: () => string) {
    this.#server = createServer((client) => {
      const [host, port] = target().split(":");
      const server = connect(Number(port), host);
      this.#sockets.add(client).add(server);
      client
        .on("data", (chunk) => (this.sent += chunk.length))
        .on("error", () => server.destroy())
        .pipe(server);
      server
        .on("data", (chunk) => (this.received += chunk.length))
        .on("error", () => client.destroy())
        .pipe(client);
    });
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }
}
