import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { CallRefused, IndependentClient } from "../support/independent/independent-client.ts";
import type { OpenCall } from "../support/independent/independent-client.ts";
import { assertRefused } from "../support/independent/refusals.ts";
import { ServerProcess } from "../../scripts/dev/server-process.ts";

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const NO_SETTINGS = Buffer.of(0, 0, 0, 4, 0, 0, 0, 0, 0);

/** A connection that sends some bytes and then never closes its side, whatever the server does. */
async function holdOn(server: ServerProcess, bytes: Buffer | string, reads = true): Promise<Socket> {
  const [host, port] = server.address.split(":");
  const socket = connect({ host: host!, port: Number(port), allowHalfOpen: true });
  socket.on("error", () => undefined);
  await once(socket, "connect");
  socket.write(bytes);
  if (reads) socket.resume();
  return socket;
}

/** A process that is suspended while the server has far more for it than it has read. */
async function suspended(server: ServerProcess): Promise<Disposable> {
  const child = spawn(process.execPath, [join(import.meta.dirname, "suspended-peer.ts"), server.address], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  child.kill("SIGSTOP");
  return {
    [Symbol.dispose]: () => {
      child.kill("SIGKILL");
    },
  };
}

/**
 * A way to the server that can be cut without a word: from then on no packet goes through, and no side learns of it.
 */
class Road implements Disposable {
  readonly #relay = createServer((near) => {
    this.#pair(near);
  });
  readonly #sockets: Socket[] = [];
  readonly #target: ServerProcess;
  #cut = false;

  static async to(server: ServerProcess): Promise<Road> {
    const road = new Road(server);
    await once(road.#relay.listen(0, "127.0.0.1"), "listening");
    return road;
  }

  private constructor(target: ServerProcess) {
    this.#target = target;
  }

  get address(): string {
    return `127.0.0.1:${(this.#relay.address() as AddressInfo).port}`;
  }

  cut(): void {
    this.#cut = true;
    for (const socket of this.#sockets) socket.pause();
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#relay.close();
  }

  #pair(near: Socket): void {
    const [host, port] = this.#target.address.split(":");
    const far = connect(Number(port), host);
    this.#sockets.push(near, far);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from
        .on("error", () => undefined)
        .on("data", (bytes) => {
          if (!this.#cut) to.write(bytes);
        });
    }
  }
}

/** The statuses of the calls of an rpc that have ended, by the server's log. */
function endedCalls(server: ServerProcess, rpc: string): string[] {
  return [...server.log.matchAll(/"method":"\/([^"]+)","status":"([A-Z_]+)"/g)]
    .filter(([, method]) => method === rpc)
    .map(([, , status]) => status!);
}

async function until(what: string, condition: () => boolean, seconds = 100): Promise<void> {
  for (let tries = 0; tries < seconds * 10 && !condition(); tries++) await sleep(100);
  assert.ok(condition(), `${what}: not within ${seconds} s`);
}

async function openEnrollment(client: IndependentClient): Promise<OpenCall> {
  const call = client.open("GalleryService/EnrollTemplates", 300_000);
  await client.call("grpc.health.v1.Health/Check", {});
  return call;
}

test("a server that is stopped ends within its grace, whatever its peers do", async () => {
  await using server = await ServerProcess.start(["--grace", "2"]);
  const sockets = [
    await holdOn(server, ""),
    await holdOn(server, "PRI * HT"),
    await holdOn(server, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    await holdOn(server, Buffer.concat([PREFACE, NO_SETTINGS])),
    await holdOn(server, Buffer.concat([PREFACE, NO_SETTINGS]), false),
  ];
  using client = new IndependentClient(server.address);
  await openEnrollment(client);
  const watch = client.open("grpc.health.v1.Health/Watch");
  watch.send({});
  watch.end();
  using peers = new DisposableStack();
  for (let i = 0; i < 2; i++) peers.use(await suspended(server));
  const exit = await server.kill("SIGTERM");
  for (const socket of sockets) socket.destroy();
  assert.deepEqual(exit, { code: 0, signal: null });
  assert.match(server.log, /"msg":"stopped"/);
});

test("calls whose client vanished without a word, or is suspended, end once it answers no more, and others are served meanwhile", async () => {
  await using server = await ServerProcess.start(["--keepalive", "1"]);
  using road = await Road.to(server);
  using away = new IndependentClient(road.address);
  await openEnrollment(away);
  using peers = new DisposableStack();
  peers.use(await suspended(server));
  road.cut();
  using client = new IndependentClient(server.address);
  assert.equal((await client.call("ContextService/ListContexts", {})).length, 1);
  await until(
    "the vanished client's call ends",
    () => endedCalls(server, "veilface.v1.GalleryService/EnrollTemplates").length === 1,
  );
  await until(
    "the suspended client's call ends",
    () => endedCalls(server, "grpc.reflection.v1.ServerReflection/ServerReflectionInfo").length === 1,
  );
  assert.deepEqual(endedCalls(server, "veilface.v1.GalleryService/EnrollTemplates"), ["CANCELLED"]);
  assert.equal((await client.call("ContextService/ListContexts", {})).length, 1);
});

test("connections that say nothing, or are never used, are closed in time, and one at work is not", async () => {
  await using server = await ServerProcess.start(["--keepalive", "1", "--max-idle", "1"]);
  using client = new IndependentClient(server.address);
  const call = client.open("GalleryService/EnrollTemplates", 300_000);
  const idle = [
    await holdOn(server, ""),
    await holdOn(server, "PRI * HT"),
    await holdOn(server, Buffer.concat([PREFACE, NO_SETTINGS])),
  ];
  const closed = idle.map((socket) => once(socket, "close"));
  const timeout = sleep(100_000, "still open", { ref: false });
  for (const socket of idle) socket.on("end", () => socket.end());
  assert.notEqual(await Promise.race([Promise.all(closed), timeout]), "still open");
  await sleep(3000);
  call.end();
  await assertRefused(call.next(), { status: "INVALID_ARGUMENT", reason: "FIELD_INVALID", field: "target" });
});

test("a connection takes no more calls once it has its age, while the calls on it go on", async () => {
  await using server = await ServerProcess.start(["--max-age", "1"]);
  using client = new IndependentClient(server.address);
  const call = await openEnrollment(client);
  await sleep(3000);
  for (let i = 0; i < 20; i++) await client.call("grpc.health.v1.Health/Check", {});
  call.end();
  await assertRefused(call.next(), { status: "INVALID_ARGUMENT", reason: "FIELD_INVALID", field: "target" });
});

test("more connections than allowed are closed at once, and those there are go on", async () => {
  await using server = await ServerProcess.start(["--max-connections", "3"]);
  using client = new IndependentClient(server.address);
  await client.call("ContextService/ListContexts", {});
  const held = [await holdOn(server, ""), await holdOn(server, "")];
  const refused = await holdOn(server, "");
  await once(refused, "end");
  refused.destroy();
  assert.equal((await client.call("ContextService/ListContexts", {})).length, 1);
  for (const socket of held) socket.destroy();
  let served = false;
  for (let tries = 0; tries < 100 && !served; tries++) {
    await sleep(100);
    using other = new IndependentClient(server.address);
    served = await other.call("ContextService/ListContexts", {}).then(
      () => true,
      () => false,
    );
  }
  assert.ok(served, "there is room again");
});

test("more calls than allowed are refused, the health check is not, and there is room again once one ends", async () => {
  await using server = await ServerProcess.start(["--max-calls", "2"]);
  using client = new IndependentClient(server.address);
  const [first] = [await openEnrollment(client), await openEnrollment(client)];
  for (let i = 0; i < 3; i++) {
    const refusal = await assertRefused(client.call("ContextService/ListContexts", {}), {
      status: "RESOURCE_EXHAUSTED",
      reason: "OVERLOADED",
    });
    assert.ok(refusal.retryAfterMs! > 0, "it says when to try again");
    assert.equal((await client.call("grpc.health.v1.Health/Check", {})).length, 1);
  }
  first.hangUp();
  await assert.rejects(first.next(), (error) => error instanceof CallRefused);
  await until(
    "the first call is over",
    () => endedCalls(server, "veilface.v1.GalleryService/EnrollTemplates").length === 1,
  );
  assert.equal((await client.call("ContextService/ListContexts", {})).length, 1);
  assert.ok(endedCalls(server, "veilface.v1.ContextService/ListContexts").includes("RESOURCE_EXHAUSTED"));
});
