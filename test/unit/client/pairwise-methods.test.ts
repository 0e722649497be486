// Every public method of PairwiseClient, by name: a new one that is not here fails the first test.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Status } from "nice-grpc";
import { UNBOUNDED } from "../../../client/remote/call-bounds.ts";
import type { CallOptions } from "../../../client/remote/call-bounds.ts";
import { Rpcs } from "../../../client/remote/calls.ts";
import { openServices } from "../../../client/remote/channel.ts";
import { ClientError } from "../../../client/errors.ts";
import type { ClientErrorReason } from "../../../client/errors.ts";
import { PairwiseCalls } from "../../../client/pairwise/pairwise-calls.ts";
import { PairwiseClient } from "../../../client/pairwise/pairwise-client.ts";
import type { PairwiseCiphertext } from "../../../client/pairwise/pairwise-wire.ts";
import { FAKE_CONTEXT_ID, FakePairwiseServer, refusal } from "../../support/fake/fake-pairwise-server.ts";
import { freePort } from "../../support/process/free-port.ts";
import { silentServer } from "../../support/hostile/silent-server.ts";
import { SMALL, TensealMaker } from "../../support/independent/tenseal-maker.ts";

const maker = await TensealMaker.create(SMALL);
after(() => {
  maker[Symbol.dispose]();
});
const publicContext = maker.publicContext(maker.makeKeys([1, 2]));
const vector: PairwiseCiphertext = { encoding: "TENSEAL_CKKS_VECTOR", bytes: maker.vector([1, 2, 3]) };
const other: PairwiseCiphertext = { encoding: "TENSEAL_CKKS_VECTOR", bytes: maker.vector([4, 5, 6]) };
const keys = {
  encryptionParameters: Buffer.from("p"),
  scale: 2 ** 30,
  relinKeys: Buffer.alloc(9, 1),
  galoisKeys: Buffer.alloc(9, 2),
};
const gallery = { galleryId: "g", contextId: FAKE_CONTEXT_ID, metric: "euclidean", dimension: 3 } as const;
const operation = "SQUARED_DISTANCE" as const;

type Method = (client: PairwiseClient, options: CallOptions) => Promise<unknown>;
type MethodName = Exclude<keyof PairwiseClient, "close" | typeof Symbol.dispose>;

const METHODS: Readonly<Record<MethodName, Method>> = {
  uploadTensealContext: (client, options) => client.uploadTensealContext(publicContext, options),
  uploadContext: (client, options) => client.uploadContext(keys, options),
  getServerInfo: (client, options) => client.getServerInfo(options),
  getContext: (client, options) => client.getContext(FAKE_CONTEXT_ID, options),
  listContexts: (client, options) => client.listContexts(options),
  deleteContext: (client, options) => client.deleteContext(FAKE_CONTEXT_ID, options),
  compare: (client, options) =>
    client.compare(FAKE_CONTEXT_ID, { first: vector, second: other }, { operation, ...options }),
  compareMany: (client, options) =>
    client.compareMany(FAKE_CONTEXT_ID, { first: vector, others: [other] }, { operation, ...options }).next(),
  createGallery: (client, options) => client.createGallery(gallery, options),
  getGallery: (client, options) => client.getGallery("g", options),
  openGallery: (client, options) => client.openGallery("g", options),
  listGalleries: (client, options) => client.listGalleries(FAKE_CONTEXT_ID, options),
  deleteGallery: (client, options) => client.deleteGallery("g", options),
  enroll: (client, options) => client.enroll("g", [{ templateId: "t", subjectId: "s", vector }], options),
  search: (client, options) => client.search("g", vector, options).next(),
  compareTemplates: (client, options) =>
    client.compareTemplates("g", { subjectId: "s", probe: vector }, options).next(),
  listTemplates: (client, options) => client.listTemplates("g", options),
  deleteTemplates: (client, options) => client.deleteTemplates("g", { subjectIds: ["s"] }, options),
};
const methods = Object.entries(METHODS);

const isError =
  (reason: ClientErrorReason, message = /./) =>
  (error: unknown): boolean =>
    error instanceof ClientError && error.reason === reason && message.test(error.message);

const open = (address: string): PairwiseClient => new PairwiseClient({ address });

test("every public method is tried below", () => {
  const names = Object.getOwnPropertyNames(PairwiseClient.prototype).filter(
    (name) => !["constructor", "close"].includes(name),
  );
  assert.deepEqual(Object.keys(METHODS).sort(), names.sort());
});

test("once the client is closed every method says so", async () => {
  const client = open("127.0.0.1:1");
  client.close();
  client.close();
  client[Symbol.dispose]();
  for (const [name, run] of methods)
    await assert.rejects(run(client, {}), isError("USAGE", /the client is closed/), name);
});

test("where no server is every method says SERVER_UNAVAILABLE, where none answers in time DEADLINE_EXCEEDED", async () => {
  using nowhere = open(`127.0.0.1:${await freePort()}`);
  await using server = await silentServer();
  using unheard = open(server.address);
  await Promise.all(
    methods.flatMap(([name, run]) => [
      assert.rejects(run(nowhere, { deadlineMs: 30_000 }), isError("SERVER_UNAVAILABLE", /ECONNREFUSED/), name),
      assert.rejects(run(unheard, { deadlineMs: 300 }), isError("DEADLINE_EXCEEDED"), name),
    ]),
  );
});

test("a signal stops every method, before the call and under it", async () => {
  await using server = await silentServer();
  using client = open(server.address);
  for (const [name, run] of methods)
    await assert.rejects(run(client, { signal: AbortSignal.abort() }), isError("CANCELLED"), name);
  const signal = AbortSignal.timeout(250);
  await Promise.all(methods.map(([name, run]) => assert.rejects(run(client, { signal }), isError("CANCELLED"), name)));
});

test("arguments of types that the compiler refuses are ClientErrors too", async () => {
  await using server = await FakePairwiseServer.start();
  using client = open(server.address);
  const wrong = (value: unknown): never => value as never;
  const calls = [
    () => client.getContext(wrong(undefined)),
    () => client.listContexts(wrong(null)),
    () => client.uploadTensealContext(wrong(5)),
    () => client.uploadContext(wrong({})),
    () => client.compare(FAKE_CONTEXT_ID, { first: wrong(undefined), second: vector }, { operation }),
    () => client.compareMany(FAKE_CONTEXT_ID, { first: vector, others: wrong(5) }, { operation }).next(),
    () => client.compare(FAKE_CONTEXT_ID, { first: vector, second: other }, { operation: wrong("squared-distance") }),
    () =>
      client.compare(FAKE_CONTEXT_ID, { first: { ...vector, encoding: wrong("seal") }, second: other }, { operation }),
    () => client.createGallery(wrong({})),
    () => client.enroll("g", wrong(5)),
    () => client.search("g", wrong(undefined)).next(),
    () => client.getGallery("g", { deadlineMs: NaN }),
  ];
  for (const call of calls) await assert.rejects(call, (error) => error instanceof ClientError, call.toString());
});

test("what the caller's own source throws comes back as it is", async () => {
  await using server = await FakePairwiseServer.start();
  server.distance = maker.vector([1]);
  using client = open(server.address);
  const thrown = new TypeError("the camera is gone");
  const failing = async function* <T>(first: T): AsyncGenerator<T> {
    yield await Promise.resolve(first);
    throw thrown;
  };
  const drained = async (): Promise<void> => {
    for await (const distance of client.compareMany(
      FAKE_CONTEXT_ID,
      { first: vector, others: failing(other) },
      { operation },
    ))
      assert.ok(distance);
  };
  const isThrown = (error: unknown): boolean => error === thrown;
  await assert.rejects(drained(), isThrown);
  await assert.rejects(client.uploadTensealContext(failing(publicContext.subarray(0, 100))), isThrown);
  await assert.rejects(
    client.uploadTensealContext(failing(publicContext.subarray(0, 100)), { dimension: 3 }),
    isThrown,
  );
});

test("what changes nothing is asked again where the server is away for a moment", async () => {
  await using server = await FakePairwiseServer.start();
  server.distance = maker.vector([1]);
  using client = open(server.address);
  let failures = 2;
  const once = <T>(value: T): T => {
    if (failures-- > 0) throw refusal("SHUTTING_DOWN", "it goes down", Status.UNAVAILABLE);
    return value;
  };
  server.interference = { context: once };
  assert.equal((await client.getContext(FAKE_CONTEXT_ID)).contextId, FAKE_CONTEXT_ID);
  failures = 2;
  server.interference = { distance: once };
  assert.ok(await client.compare(FAKE_CONTEXT_ID, { first: vector, second: other }, { operation }));
  assert.equal(server.comparisons.length, 3);
});

test("a stream is begun again where the server is away before it says anything, never afterwards", async () => {
  const services = openServices({ address: "127.0.0.1:1" });
  after(() => {
    services.close();
  });
  const calls = new PairwiseCalls(new Rpcs(services));
  const isAway = new ClientError("SERVER_UNAVAILABLE", "away");
  const read = (begun: () => Generator<number>): Promise<number[]> =>
    Array.fromAsync(
      calls.readStream(UNBOUNDED, async function* () {
        yield* await Promise.resolve(begun());
      }),
    );
  let tries = 0;
  assert.deepEqual(
    await read(function* () {
      if (++tries < 3) throw isAway;
      yield* [1, 2];
    }),
    [1, 2],
  );
  tries = 0;
  await assert.rejects(
    read(function* () {
      tries++;
      yield 1;
      throw isAway;
    }),
  );
  assert.equal(tries, 1);
  const nothing: readonly number[] = [];
  assert.deepEqual(
    await read(function* () {
      yield* nothing;
    }),
    [],
  );
});
