import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { IndependentClient } from "../support/independent/independent-client.ts";

const MAIN = join(import.meta.dirname, "..", "..", "server", "main.ts");

/** A server that is sent signals at moments of the test's choosing. */
class SignalledServer implements AsyncDisposable {
  readonly #folder: string;
  readonly #child;
  readonly #ended: Promise<unknown[]>;
  #printed = "";

  static async start(...args: string[]): Promise<SignalledServer> {
    return new SignalledServer(await mkdtemp(join(tmpdir(), "veilface-test-")), args);
  }

  private constructor(folder: string, args: readonly string[]) {
    this.#folder = folder;
    const env = { ...process.env, NODE_TEST_CONTEXT: undefined };
    const all = ["--conditions=source", MAIN, "--address", "127.0.0.1:0", "--data", folder, ...args];
    this.#child = spawn(process.execPath, all, { env, stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream.on("data", (text: Buffer) => {
        this.#printed += text.toString();
      });
    this.#ended = once(this.#child, "close");
  }

  get printed(): string {
    return this.#printed;
  }

  get address(): string {
    return /listening on (\S+),/.exec(this.#printed)?.[1] ?? assert.fail(this.#printed);
  }

  /** Resolves in the same turn in which the first bytes of a stream come. */
  async firstBytes(stream: "stdout" | "stderr"): Promise<void> {
    await once(this.#child[stream], "data");
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Exit code and signal. */
  async ended(): Promise<unknown[]> {
    return Promise.race([this.#ended, sleep(60_000, ["it still runs"], { ref: false })]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#ended;
    await rm(this.#folder, { recursive: true, force: true });
  }
}

for (const signal of ["SIGTERM", "SIGINT", "SIGTERM", "SIGINT"] as const) {
  test(`${signal} at the moment in which the server says that it listens stops it in order`, async () => {
    await using server = await SignalledServer.start("--log-level", "info");
    await server.firstBytes("stdout");
    server.signal(signal);
    assert.deepEqual(await server.ended(), [0, null], server.printed);
    assert.match(server.printed, /"msg":"stopped"/);
  });
}

test("further signals while the server stops change nothing: calls under way still have their grace", async () => {
  await using server = await SignalledServer.start("--grace", "3");
  await server.firstBytes("stdout");
  using client = new IndependentClient(server.address);
  const watch = client.open("grpc.health.v1.Health/Watch", 60_000);
  watch.send({ service: "" });
  watch.end();
  assert.deepEqual(await watch.next(), { status: "SERVING" });
  const begin = performance.now();
  for (const signal of ["SIGTERM", "SIGINT", "SIGTERM", "SIGINT", "SIGTERM"] as const) {
    server.signal(signal);
    await sleep(50);
  }
  assert.deepEqual(await watch.next(), { status: "NOT_SERVING" }, "the server still answers");
  assert.deepEqual(await server.ended(), [0, null], server.printed);
  assert.ok(performance.now() - begin > 2900, "it waited for the call");
  assert.equal(server.printed.match(/"msg":"stopping"/g)?.length, 1);
});

test("a server that gets a signal while it starts ends in order, or by the signal before it has begun, and never says that it listens", async () => {
  for (const delayMs of [100, 300, 600, 900, 1200]) {
    await using server = await SignalledServer.start();
    await sleep(delayMs);
    const early = server.printed === "";
    server.signal("SIGTERM");
    const outcome = await server.ended();
    assert.ok(outcome[0] === 0 || (early && outcome[1] === "SIGTERM"), `${JSON.stringify(outcome)} ${server.printed}`);
  }
});
