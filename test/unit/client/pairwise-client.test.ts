import assert from "node:assert/strict";
import { after, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { CiphertextEncoding, KeyMaterial, PairwiseOperation } from "@veilface/proto";
import type { Ciphertext, Context, PairwiseScheme } from "@veilface/proto";
import fc from "fast-check";
import { Status } from "nice-grpc";
import { ClientError } from "../../../client/errors.ts";
import type { ClientErrorReason } from "../../../client/errors.ts";
import { PairwiseCalls } from "../../../client/pairwise/pairwise-calls.ts";
import { PairwiseClient } from "../../../client/pairwise/pairwise-client.ts";
import { PairwiseContexts } from "../../../client/pairwise/pairwise-contexts.ts";
import type { PairwiseCompareOptions, PairwiseKeys } from "../../../client/pairwise/pairwise-options.ts";
import type { PairwiseCiphertext } from "../../../client/pairwise/pairwise-wire.ts";
import { CallBounds } from "../../../client/remote/call-bounds.ts";
import { Rpcs } from "../../../client/remote/calls.ts";
import { openServices } from "../../../client/remote/channel.ts";
import { FAKE_CONTEXT_ID, FakePairwiseServer, refusal } from "../../support/fake/fake-pairwise-server.ts";
import type { ReceivedUpload } from "../../support/fake/fake-pairwise-server.ts";
import { sha256 } from "../../support/fake/fake-server.ts";
import { SMALL, TensealMaker } from "../../support/independent/tenseal-maker.ts";
import { decodeTensealContext, encodeTensealVector } from "../../../scripts/dev/tenseal-wire.ts";

const CHUNK = 65_536;
// Of a prime length, so that chunks differ.
const PATTERN = Buffer.from(Array.from({ length: 251 }, (_, i) => i));

const maker = await TensealMaker.create(SMALL);
const keys = maker.makeKeys([1, 2]);
const server = await FakePairwiseServer.start();
const client = new PairwiseClient({ address: server.address });
after(async () => {
  client[Symbol.dispose]();
  await server[Symbol.asyncDispose]();
  maker[Symbol.dispose]();
});
beforeEach(() => {
  server.interference = {};
  server.identical = false;
  server.distance = maker.vector([1]);
  for (const calls of [server.uploads, server.comparisons, server.deletions]) calls.length = 0;
});

const publicContext = maker.publicContext(keys);
const vectors = [maker.vector([1, 2, 3]), maker.vector([4, 5, 6])] as const;
const ciphertexts = [maker.ciphertext([1, 2, 3]), maker.ciphertext([4, 5, 6])] as const;
const tenseal = (bytes: Uint8Array): PairwiseCiphertext => ({ encoding: "TENSEAL_CKKS_VECTOR", bytes });
const seal = (bytes: Uint8Array): PairwiseCiphertext => ({ encoding: "SEAL", bytes });

const refusedAs =
  (reason: ClientErrorReason, says = /./) =>
  (error: unknown): boolean =>
    error instanceof ClientError && error.reason === reason && says.test(error.message);

/** Key material of that many bytes, which is none: the server in this process does not look. */
const sized = (relin: number, galois: number): PairwiseKeys => ({
  encryptionParameters: Buffer.from("parameters"),
  scale: 2 ** 30,
  relinKeys: Buffer.alloc(relin, 1),
  galoisKeys: Buffer.alloc(galois, PATTERN),
});

/** The bytes of one announced object as they came, after asserting that its chunks came in order. */
function received({ chunks }: ReceivedUpload, material: KeyMaterial): Buffer {
  const own = chunks.filter((chunk) => chunk.material === material);
  let offset = 0;
  for (const chunk of own) {
    assert.equal(chunk.offset, offset);
    assert.ok(chunk.data.length >= 1 && chunk.data.length <= 1_048_576);
    offset += chunk.data.length;
  }
  return Buffer.concat(own.map(({ data }) => data));
}

test("a TenSEAL context is announced with its length and hash and sent in chunks in order, without its public key", async () => {
  const progress: [number, number][] = [];
  const context = await client.uploadTensealContext(publicContext, {
    onProgress: (sent, total) => progress.push([sent, total]),
  });
  const [upload] = server.uploads;
  const bytes = received(upload!, KeyMaterial.KEY_MATERIAL_TENSEAL_CONTEXT);
  assert.deepEqual(upload!.announced, [
    { material: KeyMaterial.KEY_MATERIAL_TENSEAL_CONTEXT, totalBytes: bytes.length, sha256: sha256(bytes) },
  ]);
  const { encryption_parameters, public_context } = decodeTensealContext(bytes);
  assert.deepEqual(
    [encryption_parameters, public_context!.galois_keys, public_context!.relin_keys],
    [maker.encryptionParameters(), keys.galoisKeys(), keys.relinKeys()],
  );
  assert.equal(public_context!.public_key!.length, 0);
  const { encryptionParameters, scale } = (upload!.context!.scheme as { value: PairwiseScheme }).value;
  assert.deepEqual([encryptionParameters.length, scale], [0, 0]);
  assert.deepEqual(
    progress,
    upload!.chunks.map(({ offset, data }) => [offset + data.length, bytes.length]),
  );
  const { contextId, degree, modulusBits, rotationSteps, maxDimension, maxDistance, createTime } = context;
  assert.equal(context.expectedError, 2.5e-6);
  assert.deepEqual(
    [contextId, degree, modulusBits, context.scale, rotationSteps, maxDimension, maxDistance, createTime],
    [FAKE_CONTEXT_ID, 8192, [60, 40, 40, 60], 2 ** 40, [1, 2, 4, 8], 16, 1e6, new Date(1)],
  );
});

test("SEAL's keys are sent one object after the other, whole whatever their lengths", async () => {
  const lengths = fc.oneof(
    fc.integer({ min: 1, max: 10 }),
    fc.constantFrom(CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK),
    fc.integer({ min: 1, max: 4 * CHUNK }),
  );
  await fc.assert(
    fc.asyncProperty(lengths, lengths, async (relin, galois) => {
      const material = sized(relin, galois);
      await client.uploadContext(material);
      const { context, announced, chunks } = server.uploads.pop()!;
      const [RELIN, GALOIS] = [KeyMaterial.KEY_MATERIAL_SEAL_RELIN_KEYS, KeyMaterial.KEY_MATERIAL_SEAL_GALOIS_KEYS];
      assert.deepEqual(
        announced.map(({ material, totalBytes }) => [material, totalBytes]),
        [
          [RELIN, relin],
          [GALOIS, galois],
        ],
      );
      for (const [i, bytes] of [material.relinKeys, material.galoisKeys].entries()) {
        assert.deepEqual(received({ context, announced, chunks }, announced[i]!.material), bytes);
        assert.deepEqual(announced[i]!.sha256, sha256(bytes));
      }
      assert.equal(
        chunks.findLastIndex((chunk) => chunk.material === RELIN) + 1,
        chunks.findIndex((chunk) => chunk.material === GALOIS),
      );
      const { encryptionParameters, scale } = (context!.scheme as { value: PairwiseScheme }).value;
      assert.deepEqual([encryptionParameters, scale], [material.encryptionParameters, material.scale]);
    }),
    { numRuns: 30 },
  );
});

test("a server that reads slowly holds the upload back", async () => {
  const stalled = Promise.withResolvers<undefined>();
  server.interference = { chunk: () => stalled.promise };
  let sent = 0;
  const uploading = client.uploadContext(sized(1, 24 * 2 ** 20), { onProgress: (bytes) => (sent = bytes) });
  await sleep(500);
  assert.ok(sent > 0 && sent < 8 * 2 ** 20, `${sent} bytes were handed over while the server read none`);
  stalled.resolve(undefined);
  await uploading;
  assert.equal(sent, 24 * 2 ** 20 + 1);
});

for (const chunks of [1, 3, 200]) {
  test(`a refusal after ${chunks} chunks is told with the server's reason, though the upload was under way`, async () => {
    server.interference = {
      chunk: (upload) => {
        if (upload.chunks.length >= chunks) throw refusal("KEYS_MISMATCH", "the keys were made with other parameters");
      },
    };
    await assert.rejects(
      client.uploadContext(sized(1, 16 * 2 ** 20)),
      (error: unknown) =>
        refusedAs("SERVER_REFUSED", /made with other parameters/)(error) &&
        (error as ClientError).serverReason === "KEYS_MISMATCH",
    );
    assert.equal(server.uploads.length, 1, "a refusal is not tried again");
  });
}

test("where the server goes away on the way, all is sent again", async () => {
  server.interference = {
    chunk: ({ chunks }) => {
      if (server.uploads.length < 3 && chunks.length === 2)
        throw refusal("SHUTTING_DOWN", "the server is shutting down", Status.UNAVAILABLE);
    },
  };
  assert.equal((await client.uploadContext(sized(10, 5 * CHUNK))).contextId, FAKE_CONTEXT_ID);
  assert.equal(server.uploads.length, 3);
  assert.deepEqual(
    received(server.uploads[2]!, KeyMaterial.KEY_MATERIAL_SEAL_GALOIS_KEYS),
    sized(10, 5 * CHUNK).galoisKeys,
  );
});

test("where no server is, that is told at once and not after the retries", async () => {
  using nobody = new PairwiseClient({ address: "127.0.0.1:1" });
  const start = performance.now();
  await assert.rejects(nobody.uploadContext(sized(1, 1)), refusedAs("SERVER_UNAVAILABLE", /127\.0\.0\.1:1/));
  assert.ok(performance.now() - start < 10_000);
});

test("a cancelled upload ends as cancelled, before it began and on the way", async () => {
  await assert.rejects(client.uploadContext(sized(1, 1), { signal: AbortSignal.abort() }), refusedAs("CANCELLED"));
  assert.equal(server.uploads.length, 0);
  const aborting = new AbortController();
  server.interference = {
    chunk: ({ chunks }) => {
      if (chunks.length === 3) aborting.abort();
    },
  };
  await assert.rejects(
    client.uploadContext(sized(1, 32 * 2 ** 20), { signal: aborting.signal }),
    refusedAs("CANCELLED"),
  );
  assert.equal(server.uploads.length, 1);
});

test("without a deadline patience is for a server that takes nothing, not for a slow one", async () => {
  const services = openServices({ address: server.address });
  const contexts = new PairwiseContexts(new PairwiseCalls(new Rpcs(services)));
  const bounds = (): CallBounds => new CallBounds({}, { patienceMs: 1500 });
  server.interference = { chunk: () => sleep(20) };
  const start = performance.now();
  await contexts.uploadSeal(sized(1, 200 * CHUNK), { bounds: bounds() });
  assert.ok(performance.now() - start > 3000, "it took longer than the patience in all");
  const never = Promise.withResolvers<undefined>();
  server.interference = { chunk: () => never.promise };
  await assert.rejects(contexts.uploadSeal(sized(1, 10), { bounds: bounds() }), refusedAs("DEADLINE_EXCEEDED"));
  services.close();
  await assert.rejects(client.uploadContext(sized(1, 10), { deadlineMs: 200 }), refusedAs("DEADLINE_EXCEEDED"));
  never.resolve(undefined);
});

test("a secret key is refused before a call is made, as a context, as keys and as a vector", async () => {
  const key = maker.secretKey();
  using nobody = new PairwiseClient({ address: "127.0.0.1:1" });
  const secret = refusedAs("SECRET_KEY_REFUSED", /nothing of it was sent/);
  await assert.rejects(nobody.uploadTensealContext(maker.secretContext()), secret);
  await assert.rejects(nobody.uploadTensealContext(Buffer.from(maker.secretContext().toString("base64"))), secret);
  for (const field of ["encryptionParameters", "relinKeys", "galoisKeys"])
    await assert.rejects(nobody.uploadContext({ ...sized(1, 1), [field]: key }), secret);
  const compare = (first: PairwiseCiphertext): Promise<unknown> =>
    nobody.compare(FAKE_CONTEXT_ID, { first, second: tenseal(vectors[1]) }, { operation: "INNER_PRODUCT" });
  for (const first of [
    tenseal(maker.secretContext()),
    tenseal(key),
    seal(key),
    seal(maker.secretKey("none")),
    seal(Buffer.from(key.toString("base64"))),
  ])
    await assert.rejects(compare(first), secret);
});

test("more key material than a server takes is refused before a call is made", async () => {
  using nobody = new PairwiseClient({ address: "127.0.0.1:1" });
  await assert.rejects(
    nobody.uploadContext({ ...sized(1, 1), galoisKeys: Buffer.alloc(67_108_864) }),
    refusedAs("USAGE", /67108865 bytes: expected at most 67108864/),
  );
});

const wrongContexts: Record<string, (context: Context, scheme: PairwiseScheme) => Context | undefined> = {
  "that is not there": () => undefined,
  "without a scheme": (context) => ({ ...context, scheme: undefined }),
  "without a creation time": (context) => ({ ...context, createTime: undefined }),
  "with a malformed id": (context) => ({ ...context, contextId: "0123" }),
  "with a dimension beyond its slots": (context, value) => ({
    ...context,
    scheme: { $case: "pairwise", value: { ...value, maxDimension: 4097 } },
  }),
  "without a scale": (context, value) => ({ ...context, scheme: { $case: "pairwise", value: { ...value, scale: 0 } } }),
  "of the packed scheme": (context) => ({
    ...context,
    scheme: { $case: "packed", value: { parameterSet: 1, keyId: Buffer.alloc(32) } },
  }),
};

for (const [name, change] of Object.entries(wrongContexts)) {
  test(`a context ${name} is refused as an answer to an upload`, async () => {
    server.interference = {
      context: (context) => change(context, (context.scheme as { value: PairwiseScheme }).value),
    };
    await assert.rejects(client.uploadContext(sized(1, 1)), refusedAs("REPLY_INVALID"));
  });
}

test("a context is read and deleted by its whole id", async () => {
  const id = "f".repeat(64);
  assert.equal((await client.getContext(id)).contextId, id);
  await client.deleteContext(id);
  await client.deleteContext(id, { force: true });
  assert.deepEqual(server.deletions, [
    { contextId: id, force: false, allowMissing: false },
    { contextId: id, force: true, allowMissing: false },
  ]);
  for (const wrong of ["", "0123", "F".repeat(64), "0".repeat(65)]) {
    await assert.rejects(client.getContext(wrong), refusedAs("USAGE", /64 lowercase hexadecimal digits/));
    await assert.rejects(client.deleteContext(wrong), refusedAs("USAGE"));
    await assert.rejects(
      client.compare(
        wrong,
        { first: tenseal(vectors[0]), second: tenseal(vectors[1]) },
        { operation: "INNER_PRODUCT" },
      ),
      refusedAs("USAGE"),
    );
  }
  server.interference = {
    context: (context) =>
      wrongContexts["of the packed scheme"]!(context, (context.scheme as { value: PairwiseScheme }).value),
  };
  await assert.rejects(client.getContext(id), refusedAs("USAGE", /packed scheme/));
  server.interference = { context: (context) => ({ ...context, contextId: FAKE_CONTEXT_ID }) };
  await assert.rejects(client.getContext(id), refusedAs("REPLY_INVALID", /another context/));
});

const { CIPHERTEXT_ENCODING_TENSEAL_CKKS_VECTOR: TENSEAL, CIPHERTEXT_ENCODING_SEAL: SEAL } = CiphertextEncoding;
const comparisons: readonly (readonly [
  string,
  readonly [PairwiseCiphertext, PairwiseCiphertext],
  PairwiseCompareOptions,
  object,
])[] = [
  [
    "two TenSEAL vectors",
    [tenseal(vectors[0]), tenseal(vectors[1])],
    { operation: "SQUARED_DISTANCE" },
    {
      operation: PairwiseOperation.PAIRWISE_OPERATION_SQUARED_DISTANCE,
      dimension: 3,
      normBound: 0,
      replyEncoding: TENSEAL,
    },
  ],
  [
    "two SEAL ciphertexts",
    [seal(ciphertexts[0]), seal(ciphertexts[1])],
    { operation: "INNER_PRODUCT", dimension: 2, normBound: 1 },
    { operation: PairwiseOperation.PAIRWISE_OPERATION_INNER_PRODUCT, dimension: 2, normBound: 1, replyEncoding: SEAL },
  ],
  [
    "a SEAL ciphertext and a TenSEAL vector",
    [seal(ciphertexts[0]), tenseal(vectors[1])],
    { operation: "SQUARED_DISTANCE", dimension: 3, replyEncoding: "TENSEAL_CKKS_VECTOR" },
    {
      operation: PairwiseOperation.PAIRWISE_OPERATION_SQUARED_DISTANCE,
      dimension: 3,
      normBound: 0,
      replyEncoding: TENSEAL,
    },
  ],
];

for (const [name, [first, second], options, expected] of comparisons) {
  test(`${name} are sent with their hashes, their dimension and what to compute, and the reply is handed over`, async () => {
    const reply = await client.compare(FAKE_CONTEXT_ID, { first, second }, options);
    assert.ok(reply !== undefined);
    assert.deepEqual(
      [Buffer.from(reply.bytes), reply.encoding],
      [server.distance, options.replyEncoding ?? first.encoding],
    );
    const wire = ({ encoding, bytes }: PairwiseCiphertext): Ciphertext => ({
      contextId: FAKE_CONTEXT_ID,
      encoding: encoding === "SEAL" ? SEAL : TENSEAL,
      data: bytes,
      sha256: sha256(bytes),
    });
    assert.deepEqual(server.comparisons, [{ ...expected, first: wire(first), second: wire(second) }]);
  });
}

test("a vector that came as base64 text is sent as the bytes that it stands for", async () => {
  const text = (bytes: Buffer): PairwiseCiphertext => tenseal(Buffer.from(bytes.toString("base64")));
  await client.compare(
    FAKE_CONTEXT_ID,
    { first: text(vectors[0]), second: text(vectors[1]) },
    { operation: "SQUARED_DISTANCE" },
  );
  assert.deepEqual(
    server.comparisons.map(({ first, second }) => [first?.data, second?.data]),
    [[...vectors]],
  );
});

test("what cannot be compared is refused before a call is made", async () => {
  const compare = (
    first: PairwiseCiphertext,
    second: PairwiseCiphertext,
    options: Partial<PairwiseCompareOptions> = {},
  ): Promise<unknown> =>
    client.compare(FAKE_CONTEXT_ID, { first, second }, { operation: "SQUARED_DISTANCE", ...options });
  await assert.rejects(compare(seal(ciphertexts[0]), seal(ciphertexts[1])), refusedAs("USAGE", /dimension is missing/));
  await assert.rejects(
    compare(tenseal(vectors[0]), tenseal(maker.vector([1, 2]))),
    refusedAs("USAGE", /3 and 2 components/),
  );
  await assert.rejects(
    compare(tenseal(vectors[0]), seal(ciphertexts[1]), { dimension: 4 }),
    refusedAs("USAGE", /4 and 3 components/),
  );
  for (const dimension of [0, -1, 1.5, NaN])
    await assert.rejects(
      compare(seal(ciphertexts[0]), seal(ciphertexts[1]), { dimension }),
      refusedAs("USAGE", /out of range/),
    );
  for (const normBound of [0, -1, 1e-7, 1.1e6, NaN])
    await assert.rejects(
      compare(tenseal(vectors[0]), tenseal(vectors[1]), { normBound }),
      refusedAs("USAGE", /norm bound/),
    );
  await assert.rejects(
    compare(seal(Buffer.alloc(1_900_001)), seal(ciphertexts[1]), { dimension: 1 }),
    refusedAs("USAGE", /1900001 bytes/),
  );
  await assert.rejects(
    compare(tenseal(publicContext), tenseal(vectors[1])),
    refusedAs("TENSEAL_INVALID", /a vector is a TenSEAL context/),
  );
  await assert.rejects(
    compare({ ...tenseal(publicContext), name: "v1.bin" }, tenseal(vectors[1])),
    refusedAs("TENSEAL_INVALID", /^v1\.bin is a TenSEAL context/),
  );
  assert.equal(server.comparisons.length, 0);
});

const other = encodeTensealVector({ sizes: [1], ciphertexts: [Buffer.alloc(20)], scale: 1 });
const wrongReplies: Record<string, (distance: Ciphertext) => Ciphertext | undefined> = {
  "that is not there": () => undefined,
  "of another context": (distance) => ({ ...distance, contextId: "f".repeat(64) }),
  "with a flipped bit": (distance) => ({
    ...distance,
    data: Buffer.from(distance.data).map((byte, i) => (i === 1000 ? byte ^ 1 : byte)),
  }),
  "without its SHA-256": (distance) => ({ ...distance, sha256: Buffer.alloc(0) }),
  "in another encoding": (distance) => ({ ...distance, encoding: SEAL }),
  "that is no TenSEAL vector": (distance) => ({ ...distance, data: other, sha256: sha256(other) }),
};

for (const [name, change] of Object.entries(wrongReplies)) {
  test(`a distance ${name} is refused`, async () => {
    server.interference = { distance: change };
    await assert.rejects(
      client.compare(
        FAKE_CONTEXT_ID,
        { first: tenseal(vectors[0]), second: tenseal(vectors[1]) },
        { operation: "SQUARED_DISTANCE" },
      ),
      refusedAs("REPLY_INVALID"),
    );
  });
}

test("the error that is accepted goes with an upload, and one out of range is not sent", async () => {
  await client.uploadTensealContext(publicContext, { acceptedError: 0.5 });
  await client.uploadTensealContext(publicContext);
  const sent = server.uploads.map(({ context }) => (context!.scheme as { value: PairwiseScheme }).value.acceptedError);
  assert.deepEqual(sent, [0.5, 0]);
  for (const acceptedError of [0, -1, NaN, Infinity, 1e6 + 1]) {
    await assert.rejects(
      client.uploadTensealContext(publicContext, { acceptedError }),
      refusedAs("USAGE", /accepted error/),
    );
  }
  assert.equal(server.uploads.length, 2);
});

test("that two ciphertexts are one is believed only where they are, however they are written", async () => {
  server.identical = true;
  const data = maker.ciphertext([1, 2, 3], { compression: "none" });
  const written = (["none", "zlib", "zstd"] as const).map((compression) => ({ compression, dimension: 3 }));
  const forms = written.flatMap((form) => [
    seal(maker.rewrite(data, { ...form, encoding: "SEAL" })),
    tenseal(maker.rewrite(data, { ...form, encoding: "TENSEAL_CKKS_VECTOR" })),
  ]);
  const options = { operation: "SQUARED_DISTANCE", dimension: 3 } as const;
  for (const first of forms) {
    for (const second of forms)
      assert.equal(await client.compare(FAKE_CONTEXT_ID, { first, second }, options), undefined);
    for (const other of [tenseal(vectors[0]), seal(ciphertexts[0])]) {
      const claimed = client.compare(FAKE_CONTEXT_ID, { first, second: other }, options);
      await assert.rejects(claimed, refusedAs("REPLY_INVALID", /one and the same/));
    }
    const product = client.compare(
      FAKE_CONTEXT_ID,
      { first, second: first },
      { ...options, operation: "INNER_PRODUCT" },
    );
    await assert.rejects(product, refusedAs("REPLY_INVALID"));
  }
});
