// Every public method of VeilfaceClient, by name: a new one that is not here fails the first test.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { CallOptions } from "../../../client/remote/call-bounds.ts";
import { ClientError } from "../../../client/errors.ts";
import type { ClientErrorReason } from "../../../client/errors.ts";
import { KeyHolder } from "../../../client/keys/key-holder.ts";
import type { ModelSpace } from "../../../client/model-space.ts";
import { VeilfaceClient } from "../../../client/veilface-client.ts";
import { FakeServer } from "../../support/fake/fake-server.ts";
import { freePort } from "../../support/process/free-port.ts";
import { silentServer } from "../../support/hostile/silent-server.ts";
import { ciphersOf } from "../../../client/keys/key-holder.ts";

const keyHolder = await KeyHolder.create();
const newKeyHolder = await KeyHolder.create("PACKED_N4096_Q30");
after(() => {
  for (const holder of [keyHolder, newKeyHolder]) holder[Symbol.dispose]();
});

const SPACE: ModelSpace = { dimension: 4, metric: "cosine", normBound: 1, modelId: "m" };
const PROBE = [1, 0, 0, 0];
const PERSON = { templateId: "t", subjectId: "s", embedding: PROBE };

type Method = (client: VeilfaceClient, options: CallOptions) => Promise<unknown>;
type MethodName = Exclude<keyof VeilfaceClient, "close" | typeof Symbol.dispose>;

const METHODS: Readonly<Record<MethodName, Method>> = {
  ensureContext: (client, options) => client.ensureContext(options),
  createGallery: (client, options) => client.createGallery("g", SPACE, options),
  getServerInfo: (client, options) => client.getServerInfo(options),
  updateGallery: (client, options) => client.updateGallery("g", { labels: {} }, options),
  getGallery: (client, options) => client.getGallery("g", options),
  openGallery: (client, options) => client.openGallery("g", options),
  listGalleries: (client, options) => client.listGalleries(options),
  deleteGallery: (client, options) => client.deleteGallery("g", options),
  enroll: (client, options) => client.enroll("g", [PERSON], options),
  packGallery: (client, options) => client.packGallery("g", options),
  rotateKey: (client, options) => client.rotateKey(newKeyHolder, options),
  discardDrafts: (client, options) => client.discardDrafts("g", options),
  verify: (client, options) => client.verify("g", { subjectId: "s", embedding: PROBE }, { threshold: 0.5, ...options }),
  identify: (client, options) => client.identify("g", PROBE, options),
  identifyMany: (client, options) => client.identifyMany("g", [PROBE, PROBE], options),
  listTemplates: (client, options) => client.listTemplates("g", options),
  listSubjects: (client, options) => client.listSubjects("g", options),
  deleteTemplates: (client, options) => client.deleteTemplates("g", { subjectIds: ["s"] }, options),
};
const methods = Object.entries(METHODS);

const isError =
  (reason: ClientErrorReason, message = /./) =>
  (error: unknown): boolean =>
    error instanceof ClientError && error.reason === reason && message.test(error.message);

const open = (address: string): VeilfaceClient => new VeilfaceClient({ keyHolder, address });

test("every public method is tried below", () => {
  const names = Object.getOwnPropertyNames(VeilfaceClient.prototype).filter(
    (name) => !["constructor", "close"].includes(name),
  );
  assert.deepEqual(Object.keys(METHODS).sort(), names.sort());
});

test("once the client is closed every method says so, and closing it again does nothing", async () => {
  const client = open("127.0.0.1:1");
  client.close();
  client.close();
  client[Symbol.dispose]();
  for (const [name, run] of methods)
    await assert.rejects(run(client, {}), isError("USAGE", /the client is closed/), name);
  await assert.rejects(client.deleteTemplates("g", {}), isError("USAGE", /the client is closed/), "with nothing to do");
  await assert.rejects(client.rotateKey(newKeyHolder, { galleryIds: [] }), isError("USAGE", /the client is closed/));
});

test("a call under way when the client is closed ends as one on a closed client", async () => {
  await using server = await silentServer();
  const client = open(server.address);
  const calls = methods.map(([name, run]) =>
    assert.rejects(run(client, {}), isError("USAGE", /the client is closed/), name),
  );
  setTimeout(() => {
    client[Symbol.dispose]();
  }, 200);
  await Promise.all(calls);
});

test("where no server is, every method says SERVER_UNAVAILABLE", async () => {
  using client = open(`127.0.0.1:${await freePort()}`);
  await Promise.all(
    methods.map(([name, run]) =>
      assert.rejects(run(client, { deadlineMs: 30_000 }), isError("SERVER_UNAVAILABLE", /ECONNREFUSED/), name),
    ),
  );
});

test("where no answer comes in time, every method says DEADLINE_EXCEEDED", async () => {
  await using server = await silentServer();
  using client = open(server.address);
  await Promise.all(
    methods.map(([name, run]) => assert.rejects(run(client, { deadlineMs: 300 }), isError("DEADLINE_EXCEEDED"), name)),
  );
});

test("a signal stops every method: before the call, under it, and while it waits to try again", async () => {
  await using silent = await silentServer();
  for (const address of [silent.address, `127.0.0.1:${await freePort()}`]) {
    using client = open(address);
    for (const [name, run] of methods)
      await assert.rejects(run(client, { signal: AbortSignal.abort() }), isError("CANCELLED"), name);
    const signal = AbortSignal.timeout(250);
    await Promise.all(
      methods.map(([name, run]) => assert.rejects(run(client, { signal }), isError("CANCELLED"), name)),
    );
  }
});

for (const deadlineMs of [NaN, 0, -1]) {
  test(`a deadline of ${deadlineMs} ms is refused by every method`, async () => {
    using client = open("127.0.0.1:1");
    for (const [name, run] of methods)
      await assert.rejects(run(client, { deadlineMs }), isError("USAGE", /deadlineMs/), name);
    assert.throws(
      () => new VeilfaceClient({ keyHolder, address: "127.0.0.1:1", deadlineMs }),
      isError("USAGE", /deadlineMs/),
    );
  });
}

test("a deadline of no end is one", async () => {
  await using server = await FakeServer.start(keyHolder.contextId);
  using client = open(server.address);
  assert.equal((await client.getGallery("g", { deadlineMs: Infinity })).galleryId, "g");
});

test("a gallery that is opened is read once, and its methods are the client's with its id and model", async () => {
  await using server = await FakeServer.start(keyHolder.contextId);
  using client = open(server.address);
  const gallery = await client.openGallery("g", { modelId: "fake" });
  assert.deepEqual(server.rpcs, ["GetGallery"]);
  assert.equal(await gallery.enroll([PERSON]), 1);
  assert.equal((await gallery.verify({ subjectId: "s", embedding: PROBE }, { threshold: 0.1 })).templateId, "t");
  assert.equal((await gallery.identify(PROBE, { maxCandidates: 1 }))[0]?.subjectId, "s");
  const [[first] = [], [second] = []] = await gallery.identifyMany([PROBE, PROBE]);
  assert.deepEqual([first?.subjectId, second?.subjectId], ["s", "s"]);
  assert.deepEqual(await gallery.listTemplates(), await client.listTemplates("g"));
  assert.equal((await gallery.info()).galleryId, "g");
  const isOther = isError("MODEL_MISMATCH");
  await assert.rejects(gallery.identify(PROBE, { modelId: "another" }), isOther, "a model of the call's own");
  await assert.rejects(gallery.identifyMany([PROBE], { modelId: "another" }), isOther, "a model of the call's own");
  server.gallery.space!.modelId = "another";
  await assert.rejects(gallery.enroll([PERSON]), isOther, "the model of the opening");
});

test("a gallery of another key or of another model is refused when it is opened", async () => {
  await using server = await FakeServer.start(keyHolder.contextId);
  using client = open(server.address);
  await assert.rejects(client.openGallery("g", { modelId: "another" }), isError("MODEL_MISMATCH"));
  using stranger = new VeilfaceClient({ keyHolder: newKeyHolder, address: server.address });
  await assert.rejects(stranger.openGallery("g"), isError("KEY_MISMATCH"));
});

/** Values of types that the compiler refuses, as JavaScript passes them. */
const wrong = (value: unknown): never => value as never;

const BAD_ARGUMENTS: readonly (readonly [string, ClientErrorReason, (client: VeilfaceClient) => Promise<unknown>])[] = [
  [
    "a threshold that is not a number",
    "USAGE",
    (client) => client.verify("g", { subjectId: "s", embedding: PROBE }, { threshold: NaN }),
  ],
  ["a negative threshold", "USAGE", (client) => client.identify("g", PROBE, { threshold: -1 })],
  [
    "a number of candidates that is not whole",
    "USAGE",
    (client) => client.identify("g", PROBE, { maxCandidates: 1.5 }),
  ],
  ["an empty gallery id", "USAGE", (client) => client.identify("", PROBE)],
  ["an empty gallery id to tidy up", "USAGE", (client) => client.discardDrafts("")],
  ["an empty gallery id to create", "USAGE", (client) => client.createGallery("", SPACE)],
  [
    "an empty subject id",
    "USAGE",
    (client) => client.verify("g", { subjectId: "", embedding: PROBE }, { threshold: 0.5 }),
  ],
  [
    "a missing subject id",
    "USAGE",
    (client) => client.verify("g", { subjectId: wrong(undefined), embedding: PROBE }, { threshold: 0.5 }),
  ],
  ["an empty template id", "USAGE", (client) => client.enroll("g", [{ ...PERSON, templateId: "" }])],
  ["a missing template id", "USAGE", (client) => client.enroll("g", [wrong({ subjectId: "s", embedding: PROBE })])],
  ["an empty id to delete", "USAGE", (client) => client.deleteTemplates("g", { templateIds: [""] })],
  ["no iterable source", "USAGE", (client) => client.enroll("g", wrong(5))],
  ["no room under way", "USAGE", (client) => client.enroll("g", [PERSON], { maxInFlight: 0 })],
  ["room under way that is not a number", "USAGE", (client) => client.enroll("g", [PERSON], { maxInFlight: NaN })],
  [
    "a template of another dimension",
    "EMBEDDING_INVALID",
    (client) => client.enroll("g", [{ ...PERSON, embedding: [1] }]),
  ],
  [
    "a template without embedding",
    "EMBEDDING_INVALID",
    (client) => client.enroll("g", [wrong({ templateId: "t", subjectId: "s" })]),
  ],
  ["a probe of another dimension", "EMBEDDING_INVALID", (client) => client.identify("g", [1, 0, 0])],
  [
    "a probe with what is not a number",
    "EMBEDDING_INVALID",
    (client) => client.verify("g", { subjectId: "s", embedding: [1, NaN, 0, 0] }, { threshold: 0.5 }),
  ],
  ["several probes of which one is none", "EMBEDDING_INVALID", (client) => client.identifyMany("g", [PROBE, []])],
  ["no probe", "EMBEDDING_INVALID", (client) => client.identify("g", wrong(undefined))],
  ["a dimension of zero", "USAGE", (client) => client.createGallery("h", { ...SPACE, dimension: 0 })],
  ["a dimension that is not a number", "USAGE", (client) => client.createGallery("h", { ...SPACE, dimension: NaN })],
  ["an unknown metric", "USAGE", (client) => client.createGallery("h", wrong({ ...SPACE, metric: "manhattan" }))],
  [
    "a norm bound that is not a number",
    "USAGE",
    (client) => client.createGallery("h", { ...SPACE, metric: "euclidean", normBound: NaN }),
  ],
  ["an empty model id", "USAGE", (client) => client.createGallery("h", { ...SPACE, modelId: "" })],
  ["a stride that is not whole", "USAGE", (client) => client.createGallery("h", SPACE, { packedStride: 1.5 })],
  ["a negative expectation", "USAGE", (client) => client.createGallery("h", SPACE, { expectedTemplates: -1 })],
  ["a stride to pack at that is not whole", "USAGE", (client) => client.packGallery("g", { stride: NaN })],
  ["the old key to rotate to", "USAGE", (client) => client.rotateKey(keyHolder)],
  ["no options at all", "INTERNAL", (client) => client.identify("g", PROBE, wrong(null))],
  ["no options at all to pack with", "INTERNAL", (client) => client.packGallery("g", wrong(null))],
  [
    "no options where some are required",
    "INTERNAL",
    (client) => client.verify("g", { subjectId: "s", embedding: PROBE }, wrong(undefined)),
  ],
];

test("bad arguments are ClientErrors that say what was wrong", async () => {
  await using server = await FakeServer.start(keyHolder.contextId);
  using client = open(server.address);
  for (const [what, reason, run] of BAD_ARGUMENTS) await assert.rejects(run(client), isError(reason), what);
});

test("what the caller's own source and callback throw comes back as it is", async () => {
  await using server = await FakeServer.start(keyHolder.contextId);
  using client = open(server.address);
  const thrown = new TypeError("the camera is gone");
  const rethrown = (error: unknown): boolean => error === thrown;
  const source = function* (): Generator<typeof PERSON> {
    yield PERSON;
    throw thrown;
  };
  await assert.rejects(client.enroll("g", source()), rethrown);
  await assert.rejects(
    client.enroll("g", [PERSON], {
      onProgress: () => {
        throw thrown;
      },
    }),
    rethrown,
  );
});

const LIES: Readonly<Record<string, readonly unknown[]>> = {
  strides: [[0], [-1], [5], [5000], [4, 4]],
  packedStride: [-1, 5, 4097],
  dimension: [0, 5000, 2 ** 31 - 1],
  templateCount: [-1],
  revision: [-1],
};

test("a gallery that cannot be is refused as a reply by every method that reads it", async () => {
  await using server = await FakeServer.start(keyHolder.contextId);
  const gallery = server.gallery as unknown as Record<string, unknown>;
  for (const [field, values] of Object.entries(LIES)) {
    const target = field === "dimension" ? (gallery["space"] as Record<string, unknown>) : gallery;
    const honest = target[field];
    for (const value of values) {
      using client = open(server.address);
      target[field] = value;
      for (const name of ["openGallery", "enroll", "verify", "identify", "identifyMany", "listTemplates"] as const) {
        await assert.rejects(
          METHODS[name](client, {}),
          isError("REPLY_INVALID"),
          `${name}, ${field} ${JSON.stringify(value)}`,
        );
      }
    }
    target[field] = honest;
  }
});

test("a key holder that was disposed of refuses to work rather than to work without its key", () => {
  const holder = newKeyHolder;
  holder[Symbol.dispose]();
  holder[Symbol.dispose]();
  const uses: (() => unknown)[] = [
    () => ciphersOf(holder).encryptPolynomial(new Float64Array(4096)),
    () => ciphersOf(holder).decryptProduct("PACKED_RESIDUES", new Uint8Array(1)),
    () => ciphersOf(holder).decryptPolynomial("PACKED_RESIDUES", new Uint8Array(1)),
    () => holder.pseudonym("a"),
    () => ciphersOf(holder).encryptLocally("a", new Uint8Array(1)),
    () => ciphersOf(holder).decryptLocally("a", new Uint8Array(64)),
    () => holder.exportSecretKeyUnprotected(),
  ];
  for (const use of uses) assert.throws(use, isError("USAGE", /the key holder is closed/));
});
