import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, test } from "node:test";
import { promisify } from "node:util";
import { freePort } from "../support/process/free-port.ts";
import { MemoryServer } from "../support/fake/memory-server.ts";

const CHILD = join(import.meta.dirname, "client-proxy-child.ts");
const VARIABLES = ["http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY", "GRPC_PROXY"];

/** What was asked of the proxy, which refuses it all. */
const asked: string[] = [];
const proxy = createServer((request, response) => {
  asked.push(`${request.method ?? ""} ${request.url ?? ""}`);
  response.writeHead(405).end();
})
  .on("connect", ({ url }, socket) => {
    asked.push(`CONNECT ${url ?? ""}`);
    socket.end("HTTP/1.1 403 Forbidden\r\n\r\n");
  })
  .on("connection", () => asked.push("a connection"))
  .listen(0, "127.0.0.1");
await once(proxy, "listening");
const proxyPort = (proxy.address() as AddressInfo).port;
const server = await MemoryServer.start();
const port = server.address.split(":")[1]!;
after(async () => {
  proxy.close();
  await server[Symbol.asyncDispose]();
});

interface Outcome {
  readonly galleries?: number;
  readonly name?: string;
  readonly reason?: string;
  readonly message?: string;
}

/** What a client in a process of its own, under these variables, says; and all that it printed. */
async function run(
  variables: readonly string[],
  toPort: number,
  ...args: string[]
): Promise<{ readonly outcome: Outcome; readonly printed: string }> {
  asked.length = 0;
  const proxies = Object.fromEntries(variables.map((name) => [name, `http://somebody:p4ssword@127.0.0.1:${toPort}`]));
  const env = { PATH: process.env["PATH"], HOME: process.env["HOME"], ...proxies };
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ["--conditions=source", CHILD, ...args], {
    env,
  });
  return { outcome: JSON.parse(stdout) as Outcome, printed: stdout + stderr };
}

for (const host of ["127.0.0.1", "localhost", "127.1", "[::ffff:127.0.0.1]"]) {
  test(`${host} is reached past every proxy, which hears nothing of it`, async () => {
    const { outcome } = await run(VARIABLES, proxyPort, `${host}:${port}`);
    assert.deepEqual(outcome, { galleries: 0 });
    assert.deepEqual(asked, []);
  });
}

test("a proxy hears nothing of a name under localhost either, whether or not it can be resolved", async () => {
  await run(VARIABLES, proxyPort, `matcher.localhost:${port}`, "insecure");
  assert.deepEqual(asked, []);
});

for (const variable of ["http_proxy", "https_proxy", "grpc_proxy"]) {
  test(`plain text to another machine through the proxy of ${variable} is refused, and nothing sent`, async () => {
    const { outcome, printed } = await run([variable], proxyPort, "192.0.2.1:50051", "insecure");
    assert.deepEqual([outcome.name, outcome.reason], ["ClientError", "USAGE"]);
    assert.match(
      outcome.message ?? "",
      new RegExp(`${variable} names the proxy 127\\.0\\.0\\.1:${proxyPort}.*use TLS.*192\\.0\\.2\\.1`),
    );
    assert.ok(!/p4ssword|somebody/.test(printed));
    assert.deepEqual(asked, []);
  });
}

test("with TLS the proxy is asked for a tunnel; where it refuses or is down, the error names it", async () => {
  for (const toPort of [proxyPort, await freePort()]) {
    const { outcome, printed } = await run(["https_proxy"], toPort, "matcher.veilface.example:443", "tls");
    assert.deepEqual([outcome.name, outcome.reason], ["ClientError", "SERVER_UNAVAILABLE"]);
    assert.match(
      outcome.message ?? "",
      new RegExp(
        `matcher\\.veilface\\.example:443 through the proxy 127\\.0\\.0\\.1:${toPort}, which https_proxy names`,
      ),
    );
    assert.ok(!/undefined|p4ssword|somebody/.test(printed), printed);
    if (toPort === proxyPort) assert.ok(asked.includes("CONNECT matcher.veilface.example:443"));
  }
});
