import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:http2";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Client, Metadata, Server, ServerCredentials, credentials, status as Status } from "@grpc/grpc-js";
import type { ServiceError, UntypedServiceImplementation } from "@grpc/grpc-js";
import { pino } from "pino";
import { callGuard } from "../../../server/rpc/call-guard.ts";
import { OpenCalls } from "../../../server/rpc/open-calls.ts";
import type { CallPatience } from "../../../server/rpc/open-calls.ts";
import { readStatusDetails } from "../../support/independent/status-details.ts";

const same = (bytes: Buffer): Buffer => bytes;
const rpc = (name: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/test/${name}`,
  requestStream,
  responseStream,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
});
const METHODS = { Unary: rpc("Unary", false, false), Bidi: rpc("Bidi", true, true), Flood: rpc("Flood", false, true) };
const PATIENCE: CallPatience = { firstMs: 400, idleMs: 1500, newcomerMs: 300, sweepMs: 50 };
const UNREAD_MS = 400;

/** A real server whose Bidi answers each message with the same, and whose Flood answers more than any window holds. */
async function serve({ most = 1000, ...patience }: Partial<CallPatience> & { most?: number }) {
  const calls = new OpenCalls(most, { ...PATIENCE, ...patience });
  const server = new Server({ interceptors: [callGuard(pino({ level: "silent" }), UNREAD_MS), calls.interceptor] });
  const state = { cancelled: 0 };
  const implementation: UntypedServiceImplementation = {
    Unary: (call: { request: Buffer }, answer: (error: null, value: Buffer) => void) => {
      answer(null, call.request);
    },
    Bidi: (call: NodeJS.ReadWriteStream) => {
      call.pipe(call);
    },
    Flood: (call: NodeJS.WritableStream) => {
      call.on("cancelled", () => state.cancelled++);
      for (let i = 0; i < 100; i++) call.write(Buffer.alloc(100_000));
    },
  };
  server.addService(METHODS, implementation);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) => {
      if (error) reject(error);
      else resolve(bound);
    });
  });
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  const end = (): void => {
    client.close();
    server.forceShutdown();
    calls[Symbol.dispose]();
  };
  return { client, port, state, [Symbol.dispose]: end };
}

const open = (client: Client, { path }: { path: string }) =>
  client.makeBidiStreamRequest(path, same, same, new Metadata(), {});

/** The status that a call ends with. */
async function ended(call: ReturnType<typeof open>): Promise<ServiceError> {
  call.on("data", () => undefined);
  return new Promise((resolve) => {
    call.on("error", (error) => {
      resolve(error as ServiceError);
    });
  });
}

function assertRefused(error: ServiceError, expected: { code: number; reason: string }): void {
  const [details] = error.metadata.get("grpc-status-details-bin");
  const { reason, domain, retryAfterMs } = readStatusDetails(details as Buffer);
  assert.deepEqual({ code: error.code, reason, domain }, { ...expected, domain: "veilface.dev" });
  assert.ok(retryAfterMs! > 0);
}

const TOO_SLOW = { code: Status.DEADLINE_EXCEEDED, reason: "TOO_SLOW" };
const OVERLOADED = { code: Status.RESOURCE_EXHAUSTED, reason: "OVERLOADED" };

test("a call of any kind that sends nothing is ended, and one that sends in time is not", async () => {
  using served = await serve({});
  const { client } = served;
  for (const error of await Promise.all(
    [METHODS.Unary, METHODS.Bidi, METHODS.Flood].map((method) => ended(open(client, method))),
  ))
    assertRefused(error, TOO_SLOW);
  const call = open(client, METHODS.Bidi);
  let answers = 0;
  call.on("data", () => answers++);
  for (let i = 0; i < 4; i++) {
    call.write(Buffer.of(1));
    await sleep(300);
  }
  assert.equal(answers, 4);
  assertRefused(await ended(call), TOO_SLOW);
});

test("where too many calls are open a newcomer is refused, until the one that was silent the longest makes room", async () => {
  using served = await serve({ most: 3, firstMs: 60_000 });
  const { client } = served;
  const first = open(client, METHODS.Bidi);
  const firstEnded = ended(first);
  await sleep(50);
  const others = [open(client, METHODS.Bidi), open(client, METHODS.Bidi)];
  for (const call of others) call.on("error", () => undefined);
  await sleep(50);
  assertRefused(await ended(open(client, METHODS.Bidi)), OVERLOADED);
  await sleep(400);
  const answer = await new Promise<unknown>((resolve) => {
    client.makeUnaryRequest(METHODS.Unary.path, same, same, Buffer.of(5), (error, value) => {
      resolve(error ?? value);
    });
  });
  assert.deepEqual(answer, Buffer.of(5));
  assertRefused(await firstEnded, OVERLOADED);
});

test("calls that end make room for as many others", async () => {
  using served = await serve({ most: 2 });
  const { client } = served;
  const unary = async () =>
    new Promise<unknown>((resolve) => {
      client.makeUnaryRequest(METHODS.Unary.path, same, same, Buffer.of(5), (error) => {
        resolve(error);
      });
    });
  for (let i = 0; i < 20; i++) assert.equal(await unary(), null);
  for (let i = 0; i < 20; i++) {
    const call = open(client, METHODS.Bidi);
    call.on("error", () => undefined);
    await sleep(5);
    call.cancel();
    await sleep(20);
  }
  assert.equal(await unary(), null);
});

test("a call whose answers nobody reads is dropped, and what waits to be sent goes with it", async () => {
  using served = await serve({});
  const session = connect(`http://127.0.0.1:${served.port}`);
  try {
    const headers = {
      ":method": "POST",
      ":path": METHODS.Flood.path,
      "content-type": "application/grpc",
      te: "trailers",
    };
    const stream = session.request(headers);
    const closed = once(stream, "close");
    stream.on("error", () => undefined);
    stream.end(Buffer.alloc(5));
    // Never read from: its window is full after 64 KiB.
    await once(stream, "response");
    for (let waited = 0; served.state.cancelled === 0 && waited < 200; waited++) await sleep(50);
    assert.equal(served.state.cancelled, 1);
    stream.resume();
    await closed;
  } finally {
    session.destroy();
  }
});
