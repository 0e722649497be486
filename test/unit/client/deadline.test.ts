// A deadline is for the whole call of a public method: what is sent of it is read off the wire.
import assert from "node:assert/strict";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ClientError as GrpcError, Metadata, ServerError, Status } from "nice-grpc";
import type { Enrollment } from "../../../client/enroll/unit-maker.ts";
import { ClientError } from "../../../client/errors.ts";
import type { ClientErrorReason } from "../../../client/errors.ts";
import { KeyHolder } from "../../../client/keys/key-holder.ts";
import { PairwiseClient } from "../../../client/pairwise/pairwise-client.ts";
import type { PairwiseCiphertext } from "../../../client/pairwise/pairwise-wire.ts";
import { CallBounds } from "../../../client/remote/call-bounds.ts";
import { Rpcs } from "../../../client/remote/calls.ts";
import { openServices } from "../../../client/remote/channel.ts";
import { VeilfaceClient } from "../../../client/veilface-client.ts";
import { SlowServer } from "../../support/fake/slow-server.ts";
import { SMALL, TensealMaker } from "../../support/independent/tenseal-maker.ts";

const keyHolder = await KeyHolder.create();
const maker = await TensealMaker.create(SMALL);
after(() => {
  keyHolder[Symbol.dispose]();
  maker[Symbol.dispose]();
});
const probe: PairwiseCiphertext = { encoding: "TENSEAL_CKKS_VECTOR", bytes: maker.vector([1, 2, 3, 4]) };

const isError =
  (reason: ClientErrorReason, message = /./) =>
  (error: unknown): boolean =>
    error instanceof ClientError && error.reason === reason && message.test(error.message);

/** The rpcs that this process makes while it is used, each with its grpc-timeout. */
class Sent implements Disposable {
  readonly rpcs: { readonly name: string; readonly timeout: string | undefined }[] = [];
  readonly #note = (message: unknown): void => {
    const { headers } = message as { headers: Record<string, string | undefined> };
    this.rpcs.push({ name: headers[":path"]!.split("/").at(-1)!, timeout: headers["grpc-timeout"] });
  };

  constructor() {
    subscribe("http2.client.stream.created", this.#note);
  }

  /** In milliseconds, in the order they were sent. */
  timeouts(): number[] {
    return this.rpcs.map(({ timeout }) => Number(/^(\d+)m$/.exec(timeout ?? "")?.[1]));
  }

  [Symbol.dispose](): void {
    unsubscribe("http2.client.stream.created", this.#note);
  }
}

function isFallingFrom(deadlineMs: number, timeouts: readonly number[]): boolean {
  return timeouts.every((timeout, i) => timeout >= 1 && timeout <= (timeouts[i - 1] ?? deadlineMs));
}

const DEADLINE_MS = 500;
const options = { deadlineMs: DEADLINE_MS };

const PAGED: Readonly<Record<string, (address: string) => Promise<unknown>>> = {
  "VeilfaceClient.listTemplates": async (address) => {
    using client = new VeilfaceClient({ keyHolder, address });
    return await client.listTemplates("g", options);
  },
  "VeilfaceClient.listTemplates by the client's own deadline": async (address) => {
    using client = new VeilfaceClient({ keyHolder, address, deadlineMs: DEADLINE_MS });
    return await client.listTemplates("g");
  },
  "VeilfaceClient.listGalleries": async (address) => {
    using client = new VeilfaceClient({ keyHolder, address });
    return await client.listGalleries(options);
  },
  "PairwiseClient.listTemplates": async (address) => {
    using client = new PairwiseClient({ address });
    return await client.listTemplates("g", options);
  },
  "PairwiseClient.listContexts": async (address) => {
    using client = new PairwiseClient({ address });
    return await client.listContexts(options);
  },
};

for (const [name, list] of Object.entries(PAGED)) {
  test(`${name} ends at its deadline however many pages there are, and says with each what is left`, async () => {
    await using server = await SlowServer.start(keyHolder.contextId, 100);
    using sent = new Sent();
    await assert.rejects(list(server.address), isError("DEADLINE_EXCEEDED", /its deadline of 500 ms/));
    const timeouts = sent.timeouts();
    assert.ok(timeouts.length >= 2 && timeouts.length <= 1 + DEADLINE_MS / 100, `${timeouts.length} rpcs`);
    assert.ok(isFallingFrom(DEADLINE_MS, timeouts), JSON.stringify(sent.rpcs));
    await server.stopped();
  });
}

test("the server stops by the header alone, where it does not hear that the client gave up", async () => {
  await using server = await SlowServer.start(keyHolder.contextId, 60_000);
  const rpcs = new Rpcs(openServices({ address: server.address }));
  using bounds = new CallBounds({ deadlineMs: 200 });
  const { metadata = Metadata() } = rpcs.watchStream({ bounds }).rpc;
  const isLate = (error: unknown): boolean => error instanceof GrpcError && error.code === Status.DEADLINE_EXCEEDED;
  await assert.rejects(rpcs.services.galleries.listTemplateChanges({ galleryId: "g" }, { metadata }), isLate);
  await server.stopped();
  rpcs.services.close();
});

test("a search is one call from its first to its last answer, the time between them included", async () => {
  await using server = await SlowServer.start(keyHolder.contextId, 20);
  server.pages = 2;
  using client = new PairwiseClient({ address: server.address });
  using sent = new Sent();
  const read = async (): Promise<void> => {
    for await (const { templateId } of client.search("g", probe, options)) await sleep(templateId.length);
  };
  await assert.rejects(read(), isError("DEADLINE_EXCEEDED"));
  const names = sent.rpcs.map((rpc) => rpc.name);
  assert.deepEqual(names.slice(0, 3), ["GetGallery", "GetContext", "SearchGallery"]);
  assert.ok(isFallingFrom(DEADLINE_MS, sent.timeouts()), JSON.stringify(sent.rpcs));
  await server.stopped();
});

test("an enrollment without end ends at its deadline, its source's time included", async () => {
  await using server = await SlowServer.start(keyHolder.contextId, 1);
  using client = new VeilfaceClient({ keyHolder, address: server.address });
  async function* endless(): AsyncGenerator<Enrollment> {
    for (let i = 0; ; i++) {
      await sleep(50);
      yield { templateId: `t-${i}`, subjectId: "s", embedding: [1, 0, 0, 0] };
    }
  }
  using sent = new Sent();
  await assert.rejects(client.enroll("g", endless(), { ...options, packing: "never" }), isError("DEADLINE_EXCEEDED"));
  assert.deepEqual(
    sent.rpcs.map((rpc) => rpc.name),
    ["GetGallery", "EnrollTemplates"],
  );
  assert.ok(isFallingFrom(DEADLINE_MS, sent.timeouts()), JSON.stringify(sent.rpcs));
  await server.stopped();
});

test("a deadline bounds all repetitions together, and says why there had to be some", async () => {
  await using server = await SlowServer.start(keyHolder.contextId, 0);
  using client = new VeilfaceClient({ keyHolder, address: server.address });
  const away = (): ServerError => new ServerError(Status.UNAVAILABLE, "going away");
  using sent = new Sent();
  let asked = 0;
  server.interference = async () => {
    if (++asked < 3) throw away();
    await sleep(60_000, undefined, { ref: false });
  };
  const late = isError("DEADLINE_EXCEEDED", /its deadline of 3000 ms.*\(before that: no veilface server answers/);
  await assert.rejects(client.getGallery("g", { deadlineMs: 3000 }), late);
  const timeouts = sent.timeouts();
  assert.equal(timeouts.length, 3);
  assert.ok(isFallingFrom(3000, timeouts) && timeouts[2]! <= 2700, JSON.stringify(timeouts));
  server.interference = () => Promise.reject(away());
  await assert.rejects(client.getGallery("g", { deadlineMs: 250 }), isError("SERVER_UNAVAILABLE"));
  const again = sent.timeouts().length - 3;
  assert.ok(again === 1 || again === 2, "a pause that outlasts the deadline is not begun");
});

test("a deletion whose answer was lost is repeated, and what it deleted may be missing then", async () => {
  await using server = await SlowServer.start(keyHolder.contextId, 0);
  using client = new VeilfaceClient({ keyHolder, address: server.address });
  let answers = 0;
  server.interference = () =>
    answers++ === 0 ? Promise.reject(new ServerError(Status.UNAVAILABLE, "going away")) : Promise.resolve();
  await client.deleteGallery("g");
  assert.equal(answers, 2);
  await assert.rejects(client.deleteGallery("g"), isError("SERVER_REFUSED"));
});

test("without a deadline each rpc has a minute, and a stream as long as it needs", async () => {
  await using server = await SlowServer.start(keyHolder.contextId, 0);
  server.pages = 1;
  using client = new VeilfaceClient({ keyHolder, address: server.address });
  using sent = new Sent();
  await client.listTemplates("g");
  await client.enroll("g", [{ templateId: "t", subjectId: "s", embedding: [1, 0, 0, 0] }]);
  assert.deepEqual(
    sent.rpcs.map(({ name, timeout }) => [name, timeout]),
    [
      ["GetGallery", "60000m"],
      ["ListTemplateChanges", "60000m"],
      ["GetGallery", "60000m"],
      ["GetGallery", "60000m"],
      ["EnrollTemplates", undefined],
    ],
  );
});

test("deadlines of more than eight digits are told in seconds, and those of no end not at all", async () => {
  await using server = await SlowServer.start(keyHolder.contextId, 0);
  using client = new VeilfaceClient({ keyHolder, address: server.address });
  using sent = new Sent();
  for (const deadlineMs of [99_999_999, 100_000_000, Infinity]) await client.getGallery("g", { deadlineMs });
  assert.deepEqual(
    sent.rpcs.map(({ timeout }) => timeout?.at(-1)),
    ["m", "S", undefined],
  );
});
