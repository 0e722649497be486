import assert from "node:assert/strict";
import { connect, constants } from "node:http2";
import type { ClientHttp2Session } from "node:http2";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { contractKey, startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import { COSINE_128, TestGallery, freshId } from "../support/independent/gallery-fixture.ts";
import type { GalleryMessage, RosterMessage } from "../support/independent/gallery-fixture.ts";
import { CallRefused, methodsOf, serialize } from "../support/independent/independent-client.ts";
import { contract } from "../../scripts/dev/published-contract.ts";
import { randomEmbedding } from "../support/independent/independent-encoding.ts";
import { assertRefused } from "../support/independent/refusals.ts";
import { readStatusDetails } from "../support/independent/status-details.ts";

const { server, client } = await startContractServer();
const key = await contractKey();
const gallery = await TestGallery.create(client, key);
const invalid = { status: "INVALID_ARGUMENT", reason: "FIELD_INVALID" } as const;
/** Field 1, of a wire type that does not exist. */
const NO_MESSAGE = Buffer.from([0x0f, 0xff, 0xff]);
const LIST_SERVICES = Buffer.from([0x3a, 1, 0x2a]);
const REFLECTION = ["v1", "v1alpha"].map(
  (version) => `grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`,
);
const STANDARD = ["grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch", ...REFLECTION];

/** The status, reason and method of the last calls that the log has. */
function logged(rpc: string): string[] {
  const lines = server.log
    .split("\n")
    .filter((line) => line.includes('"msg":"call"'))
    .map((line) => JSON.parse(line) as Record<string, string>);
  return lines
    .filter(({ method }) => method === `/${rpc}`)
    .map(({ status, reason }) => `${status!} ${reason ?? ""}`.trim());
}

async function assertLogged(rpc: string, outcome: string): Promise<void> {
  for (let tries = 0; tries < 200 && logged(rpc).at(-1) !== outcome; tries++) await sleep(20);
  assert.equal(logged(rpc).at(-1), outcome);
}

for (const rpc of [...methodsOf(contract).keys(), ...STANDARD]) {
  test(`${rpc} refuses bytes that are no message as its own mistake, not the server's, and the log has it`, async () => {
    for (const bytes of [NO_MESSAGE, Buffer.from([0x0a, 0x7f]), Buffer.alloc(64, 0xff)]) {
      await assertRefused(client.callRaw(rpc, bytes), { ...invalid, says: /cannot be read/ });
      await assertLogged(rpc, "INVALID_ARGUMENT FIELD_INVALID");
    }
  });
}

test("no bytes at all make any rpc fail as a fault of the server", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...methodsOf(contract).keys()),
      fc.uint8Array({ minLength: 1, maxLength: 40 }),
      async (rpc, bytes) => {
        const refusal: unknown = await client.callRaw(rpc, Buffer.from(bytes)).then(
          () => undefined,
          (error: unknown) => error,
        );
        if (refusal === undefined) return;
        assert.ok(refusal instanceof CallRefused);
        assert.ok(refusal.code !== 13 && refusal.code !== 2, refusal.message);
      },
    ),
    { numRuns: 150 },
  );
});

const OUTSIDE = ["9007199254740992", "9223372036854775807", "-9223372036854775808", "-9007199254740992"];
const asked = { gallery_id: "any", context_id: key.contextId, space: COSINE_128 };

for (const value of OUTSIDE) {
  test(`an int64 of ${value} is refused wherever it stands, in single requests and in streams`, async () => {
    const says = /int64/;
    await assertRefused(
      client.call("GalleryService/ListTemplateChanges", { gallery_id: gallery.galleryId, since_revision: value }),
      { ...invalid, says },
    );
    await assertRefused(
      client.call("GalleryService/ReplaceGallery", { gallery_id: "a", draft_id: "b", expected_revision: value }),
      { ...invalid, says },
    );
    await assertRefused(
      client.call("GalleryService/CreateGallery", { gallery: { ...asked, expected_templates: value } }),
      { ...invalid, says },
    );
    await assertRefused(client.call("GalleryService/CreateGallery", { gallery: { ...asked, revision: value } }), {
      ...invalid,
      says,
    });
    const upload = { material: 1, total_bytes: value, sha256: Buffer.alloc(32) };
    await assertRefused(
      client.call("ContextService/CreateContext", {
        new_context: { context: { pairwise: {} }, key_uploads: [upload] },
      }),
      { ...invalid, says },
    );
    const begin = { new_context: { context: { pairwise: {} }, key_uploads: [{ ...upload, total_bytes: 5 }] } };
    await assertRefused(
      client.call("ContextService/CreateContext", begin, { key_chunk: { material: 1, offset: value } }),
      { ...invalid, says },
    );
  });
}

for (const revision of ["281474976710654", "281474976710655", "281474976710656", "9007199254740991"]) {
  test(`after revision ${revision} there is nothing in any gallery, and no gallery is at it`, async () => {
    const filled = await TestGallery.create(client, key);
    await filled.enroll([{ template_id: "t", subject_id: "s", embedding: randomEmbedding(128) }]);
    const request = { gallery_id: filled.galleryId, since_revision: revision };
    const [page] = await client.call<RosterMessage>("GalleryService/ListTemplateChanges", request);
    assert.deepEqual([page!.entries, page!.revision], [[], 1]);
    const draft = await client.call<{ gallery: GalleryMessage }>("GalleryService/CreateGallery", {
      gallery: { ...asked, gallery_id: freshId("draft"), draft_of: filled.galleryId },
    });
    const replace = {
      gallery_id: filled.galleryId,
      draft_id: draft[0]!.gallery.gallery_id,
      expected_revision: revision,
    };
    await assertRefused(client.call("GalleryService/ReplaceGallery", replace), {
      status: "ABORTED",
      reason: "GALLERY_CHANGED",
    });
  });
}

test("a page token with a revision that no gallery reaches is refused", async () => {
  for (const page_token of ["281474976710655", "9007199254740991", "9007199254740992", "99999999999999999999"]) {
    const call = client.call("GalleryService/ListTemplates", { gallery_id: gallery.galleryId, page_token });
    await assertRefused(call, { ...invalid, field: "page_token" });
  }
});

for (const rpc of REFLECTION) {
  test(`${rpc} ends with the refusal when a request cannot be read while answers to others are written`, async () => {
    for (let count = 0; count < 8; count++) {
      const requests = [...Array.from({ length: count }, () => LIST_SERVICES), NO_MESSAGE];
      const refusal = await assertRefused(client.callRaw(rpc, ...requests), invalid);
      assert.equal(refusal.received.length, count);
    }
  });
}

test("an enrollment acknowledges what came before a message that cannot be read, and then ends, even if the client sends no end", async () => {
  const rpc = "GalleryService/EnrollTemplates";
  for (const ended of [true, false]) {
    const people = Array.from({ length: 40 }, (_, i) => ({
      template_id: `t-${i}`,
      subject_id: "s",
      embedding: randomEmbedding(128),
    }));
    const into = await TestGallery.create(client, key);
    const messages = into
      .enrollment(people.map((person) => into.template(person)))
      .map((message) => serialize(rpc, message));
    const outcome = await raw(
      `veilface.v1.${rpc}`,
      [...messages, NO_MESSAGE].map((bytes) => frame(bytes)),
      { ended },
    );
    assert.deepEqual([outcome.status, outcome.reason], [3, "FIELD_INVALID"]);
    assert.equal((await into.roster()).length, 40);
  }
});

test("messages that are too large, badly compressed, or too large once they are not compressed any more end their call with a reason", async () => {
  const tooLarge = [8, "TOO_LARGE"];
  const cases = [
    {
      frames: [Buffer.concat([frame(Buffer.alloc(10), { length: 5 << 20 }), Buffer.alloc(100_000)])],
      headers: {},
      expected: tooLarge,
    },
    {
      frames: [frame(gzipSync(Buffer.alloc(100 << 20)), { compressed: true })],
      headers: { "grpc-encoding": "gzip" },
      expected: tooLarge,
    },
    {
      frames: [frame(Buffer.from("no gzip"), { compressed: true })],
      headers: { "grpc-encoding": "gzip" },
      expected: [3, "FIELD_INVALID"],
    },
    { frames: [frame(Buffer.from("?"), { compressed: true })], headers: { "grpc-encoding": "br" }, expected: [12, ""] },
    { frames: [frame(Buffer.alloc(0))], headers: { "grpc-timeout": "soon" }, expected: [3, "FIELD_INVALID"] },
  ];
  for (const rpc of ["GalleryService/GetGallery", "GalleryService/EnrollTemplates", "MatchingService/SearchGallery"]) {
    for (const { frames, headers, expected } of cases) {
      const { status, reason } = await raw(`veilface.v1.${rpc}`, frames, { headers });
      assert.deepEqual([status, reason], expected, `${rpc} ${JSON.stringify(headers)}`);
    }
    await assertLogged(`veilface.v1.${rpc}`, "INVALID_ARGUMENT FIELD_INVALID");
  }
});

test("a single request that cannot be read ends its call at once, even if the client sends no end", async () => {
  for (const rpc of [...methodsOf(contract).keys(), "grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch"]) {
    const outcome = await raw(rpc, [frame(NO_MESSAGE)], { ended: false });
    assert.deepEqual([outcome.status, outcome.reason], [3, "FIELD_INVALID"], rpc);
    await assertLogged(rpc, "INVALID_ARGUMENT FIELD_INVALID");
  }
});

test("a message that is too large in the middle of an enrollment ends it while acknowledgements are written", async () => {
  const rpc = "GalleryService/EnrollTemplates";
  const people = Array.from({ length: 20 }, (_, i) => ({
    template_id: `t-${i}`,
    subject_id: "s",
    embedding: randomEmbedding(128),
  }));
  const messages = gallery
    .enrollment(people.map((person) => gallery.template(person)))
    .map((message) => frame(serialize(rpc, message)));
  for (let pause = 0; pause < 5; pause++) {
    const outcome = await raw(`veilface.v1.${rpc}`, [...messages, frame(Buffer.alloc(10), { length: 5 << 20 })], {
      pauseMs: pause * 5,
    });
    assert.deepEqual([outcome.status, outcome.reason], [8, "TOO_LARGE"]);
  }
});

test("a name of a megabyte in a health check does not break the other calls of its connection", async () => {
  for (const letter of ["a", "\u{1f600}", "é"]) {
    const enrolling = client.open("GalleryService/EnrollTemplates");
    enrolling.send({ target: gallery.target });
    const check = client.call("grpc.health.v1.Health/Check", {
      service: letter.repeat((1 << 20) / Buffer.byteLength(letter)),
    });
    await assert.rejects(check, (error: CallRefused) => error.code === 5 && error.details.length < 1000);
    enrolling.end();
    assert.equal(await enrolling.next(), undefined);
  }
});

interface Ended {
  readonly status: number;
  /** ErrorInfo.reason; empty if there is none. */
  readonly reason: string;
}

interface Sending {
  readonly headers?: Record<string, string>;
  readonly ended?: boolean;
  /** Before the last frame. */
  readonly pauseMs?: number;
}

/**
 * A call by hand, on a connection of its own: bytes that no gRPC library would send. `rpc`: "package.Service/Method".
 */
async function raw(
  rpc: string,
  frames: readonly Buffer[],
  { headers = {}, ended = true, pauseMs = 0 }: Sending = {},
): Promise<Ended> {
  const session: ClientHttp2Session = connect(`http://${server.address}`);
  session.on("error", () => undefined);
  const sent = { [constants.HTTP2_HEADER_METHOD]: "POST", [constants.HTTP2_HEADER_PATH]: `/${rpc}`, te: "trailers" };
  const stream = session.request({ ...sent, "content-type": "application/grpc", ...headers });
  try {
    return await new Promise<Ended>((resolve, reject) => {
      const take = (received: Record<string, unknown>): void => {
        if (received["grpc-status"] !== undefined) resolve(endOf(received));
      };
      stream
        .on("response", take)
        .on("trailers", take)
        .on("error", () => undefined)
        .on("data", () => undefined);
      stream.on("close", () =>
        setTimeout(() => {
          reject(new Error("the call was closed without a status"));
        }, 100),
      );
      setTimeout(() => {
        reject(new Error("the call never ended"));
      }, 20_000).unref();
      void send(stream, frames, pauseMs).then(() => {
        if (ended) stream.end();
      });
    });
  } finally {
    session.destroy();
  }
}

async function send(
  stream: { write(bytes: Buffer): boolean },
  frames: readonly Buffer[],
  pauseMs: number,
): Promise<void> {
  for (const bytes of frames.slice(0, -1)) stream.write(bytes);
  if (pauseMs > 0) await sleep(pauseMs);
  for (const bytes of frames.slice(-1)) stream.write(bytes);
}

function endOf(headers: Record<string, unknown>): Ended {
  const details = headers["grpc-status-details-bin"];
  const binary = typeof details === "string" ? Buffer.from(details, "base64") : undefined;
  return { status: Number(headers["grpc-status"]), reason: readStatusDetails(binary).reason };
}

/** A gRPC message on the wire: whether it is compressed, its length (or another one), its bytes. */
function frame(bytes: Buffer, { compressed = false, length = bytes.length } = {}): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(compressed ? 1 : 0);
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, bytes]);
}

testThatTheLogTellsNothing(server);
