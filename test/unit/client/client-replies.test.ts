import assert from "node:assert/strict";
import { after, test } from "node:test";
import type {
  BlockComparison,
  CompareTemplatesResponse,
  EncryptedDistances,
  SearchGalleryResponse,
  TemplateEntry,
} from "@veilface/proto";
import type { Enrollment } from "../../../client/enroll/unit-maker.ts";
import { EnrollmentStream } from "../../../client/enroll/enrollment-stream.ts";
import { UnitMaker, encodeEnrollments } from "../../../client/enroll/unit-maker.ts";
import type { EnrollmentUnit } from "../../../client/enroll/unit-maker.ts";
import { ClientError } from "../../../client/errors.ts";
import type { ClientErrorReason } from "../../../client/errors.ts";
import { KeyHolder } from "../../../client/keys/key-holder.ts";
import { PackedCrypto } from "../../../client/keys/packed-crypto.ts";
import type { ModelSpace } from "../../../client/model-space.ts";
import { CallBounds } from "../../../client/remote/call-bounds.ts";
import { Rpcs } from "../../../client/remote/calls.ts";
import { openServices } from "../../../client/remote/channel.ts";
import { VeilfaceClient } from "../../../client/veilface-client.ts";
import { FakeServer, sha256 } from "../../support/fake/fake-server.ts";

const keyHolder = await KeyHolder.create();
const server = await FakeServer.start(keyHolder.contextId);
const client = new VeilfaceClient({ keyHolder, address: server.address });
after(async () => {
  client[Symbol.dispose]();
  await server[Symbol.asyncDispose]();
  keyHolder[Symbol.dispose]();
});

const SPACE: ModelSpace = { dimension: 4, metric: "cosine", modelId: "fake", normBound: 1 };
const PEOPLE: Enrollment[] = [
  { templateId: "t-ada", subjectId: "ada", embedding: [1, 0, 0, 0] },
  { templateId: "t-bob", subjectId: "bob", embedding: [0, 1, 0, 0] },
  { templateId: "t-ada-2", subjectId: "ada", embedding: [0.6, 0, 0.8, 0] },
];

const refusedAs =
  (reason: ClientErrorReason) =>
  (error: unknown): boolean =>
    error instanceof ClientError && error.reason === reason;

function enrollment(i: number): Enrollment {
  return { templateId: `t-${i}`, subjectId: "many", embedding: [0, 0, 0, 1] };
}

test("an honest server's replies give the plain distances, the nearest template of a subject and the nearest subjects", async () => {
  const acknowledged: string[] = [];
  assert.equal(
    await client.enroll("g", PEOPLE, {
      onProgress: (count, { templateId }) => acknowledged.push(`${count} ${templateId}`),
    }),
    3,
  );
  assert.deepEqual(acknowledged, ["1 t-ada", "2 t-bob", "3 t-ada-2"]);
  const verified = await client.verify("g", { subjectId: "ada", embedding: [0.6, 0, 0.8, 0] }, { threshold: 0.5 });
  assert.equal(verified.templateId, "t-ada-2");
  assert.ok(verified.accepted && verified.distance < 1e-5);
  const impostor = await client.verify("g", { subjectId: "bob", embedding: [0.6, 0, 0.8, 0] }, { threshold: 0.5 });
  assert.ok(!impostor.accepted && Math.abs(impostor.distance - 1) < 1e-5);
  const candidates = await client.identify("g", [0.8, 0.6, 0, 0]);
  assert.deepEqual(
    candidates.map(({ subjectId, templateId }) => [subjectId, templateId]),
    [
      ["ada", "t-ada"],
      ["bob", "t-bob"],
    ],
  );
  candidates.forEach(({ distance }, i) => {
    assert.ok(Math.abs(distance - [0.2, 0.4][i]!) < 1e-5);
  });
  for (const options of [{ threshold: 0.3 }, { maxCandidates: 1 }]) {
    assert.deepEqual(
      (await client.identify("g", [0.8, 0.6, 0, 0], options)).map(({ subjectId }) => subjectId),
      ["ada"],
    );
  }
});

const damage: Record<string, (distances: EncryptedDistances) => void> = {
  "of another context": ({ ciphertext }) => (ciphertext!.contextId = "0".repeat(64)),
  "with a flipped bit": ({ ciphertext }) => (ciphertext!.data[1000]! ^= 1),
  "cut short under its right SHA-256": ({ ciphertext }) => {
    ciphertext!.data = Buffer.from(ciphertext!.data.subarray(15_360));
    ciphertext!.sha256 = sha256(ciphertext!.data);
  },
  "with residues beyond their primes": ({ ciphertext }) => {
    ciphertext!.data = Buffer.alloc(ciphertext!.data.length, 255);
    ciphertext!.sha256 = sha256(ciphertext!.data);
  },
  "in an encoding nobody asked for": ({ ciphertext }) => (ciphertext!.encoding = 1),
  "without its SHA-256": ({ ciphertext }) => (ciphertext!.sha256 = Buffer.alloc(0)),
  "that is not there": (distances) => (distances.ciphertext = undefined),
  "at a stride that was not asked with": (distances) => (distances.stride = 2),
  "to a probe that was not sent": (distances) => (distances.probe = 1),
  "to a probe before the first": (distances) => (distances.probe = -1),
};

/** Changes the distances of a comparison or a search. */
function falsifyDistances(change: (distances: EncryptedDistances) => void): void {
  const compare = (reply: CompareTemplatesResponse): CompareTemplatesResponse => {
    if (reply.message?.$case === "comparison") change(reply.message.value.distances!);
    return reply;
  };
  const search = (reply: SearchGalleryResponse): SearchGalleryResponse => {
    if (reply.message?.$case === "distances") change(reply.message.value);
    return reply;
  };
  server.falsify = { compare, search };
}

for (const [name, change] of Object.entries(damage)) {
  test(`a distance ${name} is refused, in verification and in identification`, async () => {
    falsifyDistances(change);
    await assert.rejects(
      client.verify("g", { subjectId: "ada", embedding: [1, 0, 0, 0] }, { threshold: 0.5 }),
      refusedAs("REPLY_INVALID"),
    );
    await assert.rejects(client.identify("g", [1, 0, 0, 0]), refusedAs("REPLY_INVALID"));
    server.falsify = {};
    assert.equal(
      (await client.verify("g", { subjectId: "ada", embedding: [1, 0, 0, 0] }, { threshold: 0.5 })).accepted,
      true,
    );
  });
}

const changed = (change: (entry: TemplateEntry) => Partial<TemplateEntry>) => (comparison: BlockComparison) => ({
  ...comparison,
  entries: comparison.entries.map((entry) => ({ ...entry, ...change(entry) })),
});

const comparisons: Record<string, (comparison: BlockComparison) => BlockComparison> = {
  "another subject's template": changed(() => ({ subjectId: "bob" })),
  "no template": (comparison) => ({ ...comparison, entries: [] }),
  "a template of another block": changed(({ placement }) => ({ placement: { ...placement!, block: 1 } })),
  "a slot beyond the block": changed(({ placement }) => ({ placement: { ...placement!, slot: 1024 } })),
  "a deleted template": changed(() => ({ deleted: true })),
};

for (const [name, change] of Object.entries(comparisons)) {
  test(`a comparison with ${name} is refused rather than decided on`, async () => {
    const compare = ({ message }: CompareTemplatesResponse): CompareTemplatesResponse => {
      if (message?.$case !== "comparison") return { message };
      return { message: { $case: "comparison", value: change(message.value) } };
    };
    server.falsify = { compare };
    await assert.rejects(
      client.verify("g", { subjectId: "ada", embedding: [1, 0, 0, 0] }, { threshold: 0.5 }),
      refusedAs("REPLY_INVALID"),
    );
    server.falsify = {};
  });
}

test("a search that leaves out a block, or its revision, is refused rather than read as nobody", async () => {
  for (const left of ["distances", "start", "gallery"]) {
    server.falsify = { search: (reply) => (reply.message?.$case === left ? undefined : reply) };
    await assert.rejects(client.identify("g", [1, 0, 0, 0]), refusedAs("REPLY_INVALID"), left);
  }
  server.falsify = { search: () => undefined };
  await assert.rejects(client.identify("g", [1, 0, 0, 0]), refusedAs("REPLY_INVALID"));
  server.falsify = { search: () => ({ message: undefined }) };
  await assert.rejects(client.identify("g", [1, 0, 0, 0]), refusedAs("REPLY_INVALID"));
  server.falsify = {};
  assert.equal((await client.identify("g", [1, 0, 0, 0]))[0]?.subjectId, "ada");
});

test("a gallery that was deleted and created again under its id names its own people, not the earlier ones", async () => {
  assert.equal((await client.identify("g", [1, 0, 0, 0]))[0]?.subjectId, "ada");
  const { entries, gallery } = server;
  const before = structuredClone({ entries, uid: gallery.uid });
  gallery.uid = Buffer.alloc(16, 2);
  entries.forEach((entry) => (entry.subjectId = `new-${entry.subjectId}`));
  assert.equal((await client.identify("g", [1, 0, 0, 0]))[0]?.subjectId, "new-ada");
  gallery.uid = Buffer.from(before.uid);
  entries.splice(0, entries.length, ...before.entries);
});

test("an acknowledgement of another template than the one sent ends the enrollment", async () => {
  server.falsify = {
    enroll: (reply) => {
      if (reply.message?.$case === "template") reply.message.value.entry!.templateId = "somebody-else";
      return reply;
    },
  };
  await assert.rejects(client.enroll("g", [enrollment(0)]), refusedAs("REPLY_INVALID"));
  server.falsify = {};
});

test("no more templates are under way than were allowed, however many there are and however slow the server is", async () => {
  server.mostInFlight = 0;
  assert.equal(
    await client.enroll(
      "g",
      Array.from({ length: 40 }, (_, i) => enrollment(i)),
      { maxInFlight: 8 },
    ),
    40,
  );
  assert.ok(server.mostInFlight <= 8 && server.mostInFlight > 1, `${server.mostInFlight} were under way`);
});

test("where the source fails, exactly what was acknowledged is enrolled", async () => {
  const before = server.entries.length;
  let acknowledged = 0;
  function* source(): Generator<Enrollment> {
    for (let i = 0; i < 5; i++) yield enrollment(100 + i);
    throw new Error("the photos ran out");
  }
  await assert.rejects(client.enroll("g", source(), { onProgress: (count) => (acknowledged = count) }), /ran out/);
  assert.equal(acknowledged, 5);
  assert.equal(server.entries.length, before + 5);
});

test("a cancelled call ends as cancelled, one without an answer in time as past its deadline", async () => {
  const cancelled = AbortSignal.abort();
  await assert.rejects(client.identify("g", [1, 0, 0, 0], { signal: cancelled }), refusedAs("CANCELLED"));
  const aborting = new AbortController();
  const source = Array.from({ length: 1000 }, (_, i) => enrollment(i));
  const enrolling = client.enroll("g", source, {
    signal: aborting.signal,
    onProgress: (count) => {
      if (count === 3) aborting.abort();
    },
  });
  await assert.rejects(enrolling, refusedAs("CANCELLED"));
  server.ackDelayMs = 1000;
  await assert.rejects(client.enroll("g", [enrollment(1)], { deadlineMs: 200 }), refusedAs("DEADLINE_EXCEEDED"));
  server.ackDelayMs = 0;
});

test("a source that takes its time is not taken for a server that does not answer", async () => {
  async function* slow(): AsyncGenerator<Enrollment> {
    for (const pause of [150, 150]) {
      await new Promise((resolve) => setTimeout(resolve, pause));
      yield enrollment(200);
    }
  }
  const services = openServices({ address: server.address });
  const crypto = new PackedCrypto(keyHolder, SPACE);
  const units = (): AsyncIterable<EnrollmentUnit> =>
    new UnitMaker(crypto, keyHolder.contextId, undefined).units(encodeEnrollments(slow(), crypto));
  const stream = (patienceMs: number): EnrollmentStream => {
    const bounds = new CallBounds({}, { patienceMs });
    return new EnrollmentStream(new Rpcs(services), { galleryId: "g", space: SPACE }, { bounds });
  };
  assert.equal(await stream(120).run(units()), 2);
  server.ackDelayMs = 1000;
  await assert.rejects(stream(120).run(units()), refusedAs("DEADLINE_EXCEEDED"));
  server.ackDelayMs = 0;
  services.close();
});
