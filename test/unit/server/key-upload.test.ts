import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mock, test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { KeyMaterial } from "@veilface/proto";
import type { Context, CreateContextRequest, KeyChunk, KeyUpload } from "@veilface/proto";
import fc from "fast-check";
import { ServerError } from "../../../server/errors.ts";
import type { ServerErrorReason } from "../../../server/errors.ts";
import { KeyUploads } from "../../../server/requests/key-upload.ts";
import { receiveContext } from "../../../server/requests/create-context.ts";
import type { PairwiseMatcher } from "../../../server/compute/pairwise/pairwise-matcher.ts";
import type { AdmittedContext, UploadedKeys } from "../../../server/compute/pairwise/pairwise-task.ts";

const {
  KEY_MATERIAL_TENSEAL_CONTEXT: TENSEAL,
  KEY_MATERIAL_SEAL_RELIN_KEYS: RELIN,
  KEY_MATERIAL_SEAL_GALOIS_KEYS: GALOIS,
  KEY_MATERIAL_UNSPECIFIED: UNSPECIFIED,
} = KeyMaterial;
const MAX_CHUNK = 2 ** 20;
const MAX_BYTES = 64 * 2 ** 20;
/** How many uploads a server receives side by side. */
const SIDE_BY_SIDE = 16;

const sha256 = (bytes: Uint8Array): Uint8Array => createHash("sha256").update(bytes).digest();
const announced = (material: KeyMaterial, bytes: Uint8Array): KeyUpload => ({
  material,
  totalBytes: bytes.length,
  sha256: sha256(bytes),
});
const sized = (material: KeyMaterial, totalBytes: number): KeyUpload => ({
  material,
  totalBytes,
  sha256: new Uint8Array(32),
});
const chunk = (material: KeyMaterial, offset: number, data: Uint8Array): KeyChunk => ({ material, offset, data });
/** Bytes that differ from place to place. */
const numbered = (length: number): Buffer =>
  Buffer.alloc(length, Buffer.from(Array.from({ length: 251 }, (_, i) => i)));

/** Bytes in chunks of the lengths given again and again. */
function cut(material: KeyMaterial, bytes: Uint8Array, lengths: readonly number[]): KeyChunk[] {
  const chunks: KeyChunk[] = [];
  for (let [offset, i] = [0, 0]; offset < bytes.length; i++) {
    const end = offset + lengths[i % lengths.length]!;
    chunks.push(chunk(material, offset, bytes.subarray(offset, end)));
    offset = end;
  }
  return chunks;
}

function refused(reason: ServerErrorReason, field: string | undefined, says = /./) {
  return (error: unknown): boolean =>
    error instanceof ServerError &&
    error.reason === reason &&
    error.violations[0]?.field === field &&
    says.test(error.message);
}

function assertNotAnnounced(
  uploads: readonly KeyUpload[],
  reason: ServerErrorReason,
  field: string,
  says: RegExp,
): void {
  assert.throws(() => new KeyUploads(uploads), refused(reason, field, says));
}

/** Fails unless so many uploads can begin, no more and no less. */
function assertRoomFor(count: number): void {
  using begun = new DisposableStack();
  for (let i = 0; i < count; i++) begun.use(new KeyUploads([sized(TENSEAL, 1)]));
  assert.throws(() => new KeyUploads([sized(TENSEAL, 1)]), refused("OVERLOADED", undefined, /try again later/));
}

test("objects are given back whole, whatever the lengths of their chunks", () => {
  const lengths = fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 20_000 }),
      fc.integer({ min: 1, max: 20_000 }),
      lengths,
      fc.boolean(),
      (first, second, chunkLengths, galoisFirst) => {
        const objects = (
          [
            [RELIN, numbered(first)],
            [GALOIS, numbered(second).map((byte) => byte ^ 0xff)],
          ] as const
        ).toSorted(() => (galoisFirst ? 1 : -1) * -1);
        using uploads = new KeyUploads(objects.map(([material, bytes]) => announced(material, bytes)));
        for (const [material, bytes] of objects)
          for (const piece of cut(material, bytes, chunkLengths)) uploads.add(piece);
        assert.deepEqual(
          new Map([...uploads.finish()].map(([material, bytes]) => [material, Buffer.from(bytes)])),
          new Map(objects.map(([material, bytes]) => [material, Buffer.from(bytes)])),
        );
      },
    ),
  );
});

test("an upload of 64 MiB in chunks of 1 MiB is taken, in bytes of its own", () => {
  const bytes = numbered(MAX_BYTES);
  using uploads = new KeyUploads([announced(TENSEAL, bytes)]);
  for (const piece of cut(TENSEAL, bytes, [MAX_CHUNK])) uploads.add(piece);
  const whole = uploads.finish().get(TENSEAL)!;
  assert.ok(Buffer.from(whole.buffer).equals(bytes));
  assert.notEqual(whole.buffer, bytes.buffer);
});

test("what is announced is either a TenSEAL context alone or both of SEAL's keys", () => {
  const both = [sized(RELIN, 1), sized(GALOIS, 1)];
  for (const good of [[sized(TENSEAL, 1)], both, both.toReversed()]) new KeyUploads(good)[Symbol.dispose]();
  const unknown = 77 as KeyMaterial;
  const bad = [
    [],
    [both[0]!],
    [both[1]!],
    [both[0]!, both[0]!],
    [both[1]!, both[1]!],
    [...both, both[0]!],
    [...both, sized(TENSEAL, 1)],
    [sized(TENSEAL, 1), sized(TENSEAL, 1)],
    [sized(TENSEAL, 1), both[0]!],
    [sized(UNSPECIFIED, 1)],
    [sized(unknown, 1)],
    [both[0]!, sized(unknown, 1)],
  ];
  for (const uploads of bad)
    assertNotAnnounced(uploads, "FIELD_INVALID", "new_context.key_uploads", /KEY_MATERIAL_TENSEAL_CONTEXT alone/);
});

test("what is announced has 1 byte to 64 MiB in sum, and a SHA-256", () => {
  for (const total of [0, -1, -(2 ** 53)])
    assertNotAnnounced(
      [sized(RELIN, 5), sized(GALOIS, total)],
      "FIELD_INVALID",
      "new_context.key_uploads.total_bytes",
      /at least 1/,
    );
  for (const length of [0, 31, 33, 64])
    assertNotAnnounced(
      [{ ...sized(TENSEAL, 1), sha256: new Uint8Array(length) }],
      "FIELD_INVALID",
      "new_context.key_uploads.sha256",
      /32 bytes/,
    );
  const [half, rest] = [MAX_BYTES / 2, MAX_BYTES / 2 + 1];
  for (const uploads of [
    [sized(TENSEAL, MAX_BYTES + 1)],
    [sized(RELIN, half), sized(GALOIS, rest)],
    [sized(RELIN, 1), sized(GALOIS, Number.MAX_SAFE_INTEGER)],
  ]) {
    assertNotAnnounced(uploads, "TOO_LARGE", "new_context.key_uploads", /67108864/);
  }
  for (const uploads of [[sized(TENSEAL, MAX_BYTES)], [sized(RELIN, half), sized(GALOIS, half)]])
    new KeyUploads(uploads)[Symbol.dispose]();
});

test("a chunk that is not the next one is refused, and the next one is taken after it", () => {
  const [relin, galois] = [numbered(10), numbered(7)];
  const next = [chunk(RELIN, 0, relin.subarray(0, 6)), chunk(RELIN, 6, relin.subarray(6)), chunk(GALOIS, 0, galois)];
  const wrong: readonly (readonly [KeyChunk, string, RegExp])[][] = [
    [
      [chunk(RELIN, 1, relin.subarray(1)), "key_chunk.offset", /is 1, but 0/],
      [chunk(RELIN, -1, relin), "key_chunk.offset", /-1/],
      [
        chunk(GALOIS, 0, galois),
        "key_chunk.material",
        /KEY_MATERIAL_SEAL_GALOIS_KEYS, but .*KEY_MATERIAL_SEAL_RELIN_KEYS/,
      ],
    ],
    [
      [chunk(RELIN, 0, relin.subarray(0, 6)), "key_chunk.offset", /is 0, but 6/],
      [chunk(RELIN, 7, relin.subarray(7)), "key_chunk.offset", /is 7/],
      [chunk(RELIN, 6, relin.subarray(0, 5)), "key_chunk.data", /byte 11 .*10 were announced/],
      [chunk(77 as KeyMaterial, 6, relin.subarray(6)), "key_chunk.material", /unknown/],
    ],
    [
      [chunk(RELIN, 10, relin.subarray(0, 1)), "key_chunk.material", /GALOIS/],
      [chunk(GALOIS, 0, Buffer.alloc(8)), "key_chunk.data", /byte 8 .*7 were/],
    ],
  ];
  using uploads = new KeyUploads([announced(RELIN, relin), announced(GALOIS, galois)]);
  next.forEach((good, i) => {
    for (const [bad, field, says] of wrong[i]!)
      assert.throws(
        () => {
          uploads.add(bad);
        },
        refused("UPLOAD_BROKEN", field, says),
      );
    uploads.add(good);
  });
  assert.throws(
    () => {
      uploads.add(chunk(GALOIS, 7, Buffer.alloc(1)));
    },
    refused("UPLOAD_BROKEN", "key_chunk", /after all announced bytes/),
  );
  assert.deepEqual(
    [...uploads.finish().values()].map((bytes) => Buffer.from(bytes)),
    [relin, galois],
  );
});

test("a chunk has 1 byte to 1 MiB", () => {
  using uploads = new KeyUploads([sized(TENSEAL, MAX_BYTES)]);
  for (const length of [0, MAX_CHUNK + 1])
    assert.throws(
      () => {
        uploads.add(chunk(TENSEAL, 0, Buffer.alloc(length)));
      },
      refused("UPLOAD_BROKEN", "key_chunk.data", /1 to 1048576/),
    );
  uploads.add(chunk(TENSEAL, 0, Buffer.alloc(MAX_CHUNK)));
  uploads.add(chunk(TENSEAL, MAX_CHUNK, Buffer.alloc(1)));
});

test("bytes that are missing, or are others than announced, are refused at the end", () => {
  const [relin, galois] = [numbered(10), numbered(7)];
  const add = (uploads: KeyUploads, chunks: readonly KeyChunk[]): KeyUploads => {
    for (const piece of chunks) uploads.add(piece);
    return uploads;
  };
  const all = [chunk(RELIN, 0, relin), chunk(GALOIS, 0, galois)];
  for (const [received, says] of [
    [[], /0 of 10 bytes of KEY_MATERIAL_SEAL_RELIN/],
    [[chunk(RELIN, 0, relin.subarray(0, 9))], /9 of 10/],
    [all.slice(0, 1), /0 of 7 bytes of KEY_MATERIAL_SEAL_GALOIS/],
  ] as const) {
    using uploads = new KeyUploads([announced(RELIN, relin), announced(GALOIS, galois)]);
    assert.throws(() => add(uploads, received).finish(), refused("UPLOAD_BROKEN", "key_chunk", says));
  }
  for (const at of [0, 6]) {
    const flipped = Buffer.from(galois);
    flipped[at]! ^= 1;
    using uploads = new KeyUploads([announced(RELIN, relin), announced(GALOIS, galois)]);
    assert.throws(
      () => add(uploads, [all[0]!, chunk(GALOIS, 0, flipped)]).finish(),
      refused("UPLOAD_BROKEN", "new_context.key_uploads.sha256", /GALOIS/),
    );
  }
});

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

async function bytesInUse(): Promise<number> {
  // Large arrays of the tests before are let go after their garbage collection.
  for (let i = 0; i < 3; i++) {
    collectGarbage();
    await new Promise(setImmediate);
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

for (const [what, count, piece] of [
  ["chunks of one byte", 500_000, () => new Uint8Array(1)],
  ["chunks that are one byte of a large message each", 200, () => new Uint8Array(MAX_CHUNK).subarray(5, 6)],
] as const) {
  test(`an upload in ${what} takes no more memory than was announced`, async () => {
    const announcedBytes = 16 * 2 ** 20;
    using uploads = new KeyUploads([sized(TENSEAL, announcedBytes)]);
    const before = await bytesInUse();
    for (let offset = 0; offset < count; offset++) uploads.add(chunk(TENSEAL, offset, piece()));
    const growth = (await bytesInUse()) - before;
    assert.ok(growth < announcedBytes + 4 * 2 ** 20, `${count} bytes take ${(growth / 2 ** 20).toFixed(0)} MiB`);
  });
}

test("sixteen uploads are received side by side, and one that is refused takes nobody's place", () => {
  assertRoomFor(SIDE_BY_SIDE);
  for (let i = 0; i < 10; i++) assertNotAnnounced([], "FIELD_INVALID", "new_context.key_uploads", /./);
  assertRoomFor(SIDE_BY_SIDE);
});

const KEYS = numbered(100);
const ADMITTED: AdmittedContext = {
  contextId: "0".repeat(64),
  scheme: {
    kind: "pairwise",
    parameters: new Uint8Array(1),
    scale: 2,
    degree: 4096,
    modulusBits: [36, 36, 37],
    rotationSteps: [1],
    maxDimension: 2,
    maxDistance: 4,
  },
  keys: { relinKeys: new Uint8Array(1), galoisKeys: new Uint8Array(1) },
};

const pairwise = {
  contextId: "",
  scheme: { $case: "pairwise", value: { encryptionParameters: Buffer.of(1, 2), scale: 2 ** 30, degree: 0 } },
} as unknown as Context;
const tensealContext = {
  contextId: "",
  scheme: { $case: "pairwise", value: { encryptionParameters: Buffer.alloc(0), scale: 0 } },
} as unknown as Context;
const packed = {
  contextId: "",
  scheme: { $case: "packed", value: { parameterSet: 1, keyId: Buffer.alloc(32, 3) } },
} as unknown as Context;
const begins = (context: Context | undefined, ...keyUploads: KeyUpload[]): CreateContextRequest => ({
  message: { $case: "newContext", value: { context, keyUploads } },
});
const brings = (value: KeyChunk): CreateContextRequest => ({ message: { $case: "keyChunk", value } });
const both = [announced(RELIN, KEYS), announced(GALOIS, KEYS)];
const begin = begins(pairwise, ...both);
const rest = [brings(chunk(RELIN, 0, KEYS)), brings(chunk(GALOIS, 0, KEYS))] as const;

/** A server's end of a stream of requests; an error ends it as a call that is cancelled does. */
async function* stream(items: readonly (CreateContextRequest | Error)[]): AsyncGenerator<CreateContextRequest> {
  for (const item of items) {
    await Promise.resolve();
    if (item instanceof Error) throw item;
    yield item;
  }
}

function matcher(admit: (uploaded: UploadedKeys) => Promise<AdmittedContext>): PairwiseMatcher {
  return { admit } as unknown as PairwiseMatcher;
}

const admitting = matcher(async () => Promise.resolve(ADMITTED));

test("what was received is admitted whole, with the parameters and the scale", async () => {
  const seen: UploadedKeys[] = [];
  const received = await receiveContext(
    matcher(async (uploaded) => {
      seen.push(uploaded);
      return Promise.resolve(ADMITTED);
    }),
    stream([begin, ...rest]),
  );
  assert.deepEqual(received, {
    context: { contextId: ADMITTED.contextId, scheme: ADMITTED.scheme },
    keys: ADMITTED.keys,
  });
  const [uploaded] = seen;
  assert.ok(uploaded?.kind === "seal");
  assert.deepEqual(
    [
      Buffer.from(uploaded.parameters),
      uploaded.scale,
      Buffer.from(uploaded.relinKeys),
      Buffer.from(uploaded.galoisKeys),
    ],
    [Buffer.of(1, 2), 2 ** 30, KEYS, KEYS],
  );
});

const cancelled = new Error("the call was cancelled");
/** Ways an upload may end: the requests, what the matcher does, and the refusal (undefined: none). */
const ENDS: Readonly<
  Record<string, readonly [readonly (CreateContextRequest | Error)[], PairwiseMatcher, ((error: unknown) => boolean)?]>
> = {
  whole: [[begin, ...rest], admitting],
  "whole, as a TenSEAL context": [
    [begins(tensealContext, announced(TENSEAL, KEYS)), brings(chunk(TENSEAL, 0, KEYS))],
    admitting,
  ],
  "too early": [[begin, rest[0]], admitting, refused("UPLOAD_BROKEN", "key_chunk")],
  "with the announcement": [[begin], admitting, refused("UPLOAD_BROKEN", "key_chunk")],
  cancelled: [[begin, rest[0], cancelled], admitting, (error) => error === cancelled],
  "with a chunk out of order": [[begin, rest[1]], admitting, refused("UPLOAD_BROKEN", "key_chunk.material")],
  "with a message without a chunk": [[begin, { message: undefined }], admitting, refused("FIELD_INVALID", "key_chunk")],
  "with a second context": [[begin, begins(pairwise)], admitting, refused("FIELD_INVALID", "new_context")],
  "with a second announcement": [
    [begin, begins(undefined, sized(TENSEAL, 1))],
    admitting,
    refused("FIELD_INVALID", "new_context"),
  ],
  "with a second announcement of a context without keys": [
    [begins(packed), begins(packed)],
    admitting,
    refused("FIELD_INVALID", "new_context"),
  ],
  "with a chunk too many": [[begin, ...rest, rest[1]], admitting, refused("UPLOAD_BROKEN", "key_chunk")],
  "with the wrong bytes": [
    [begin, rest[0], brings(chunk(GALOIS, 0, Buffer.alloc(100)))],
    admitting,
    refused("UPLOAD_BROKEN", "new_context.key_uploads.sha256"),
  ],
  "with parameters beside a TenSEAL context": [
    [begins(pairwise, announced(TENSEAL, KEYS))],
    admitting,
    refused("FIELD_INVALID", "new_context.context.pairwise.encryption_parameters"),
  ],
  "with nothing announced": [
    [begins(pairwise), ...rest],
    admitting,
    refused("FIELD_INVALID", "new_context.key_uploads"),
  ],
  "with a chunk in the first message": [[rest[0], begin], admitting, refused("FIELD_INVALID", "new_context")],
  "without a context": [[begins(undefined, ...both)], admitting, refused("FIELD_INVALID", "new_context.context")],
  "before anything came": [[], admitting, refused("FIELD_INVALID", "new_context")],
  "with keys for the packed scheme": [
    [begins(packed, ...both)],
    admitting,
    refused("SCHEME_MISMATCH", "new_context.key_uploads"),
  ],
  "refused by the matcher": [
    [begin, ...rest],
    matcher(async () => Promise.reject(cancelled)),
    (error) => error === cancelled,
  ],
  "with a fault in the matcher": [
    [begin, ...rest],
    matcher(() => {
      throw cancelled;
    }),
    (error) => error === cancelled,
  ],
};

for (const [name, [requests, pairwiseMatcher, refusal]] of Object.entries(ENDS)) {
  test(`an upload that ends ${name} gives its place back`, async () => {
    for (let i = 0; i <= SIDE_BY_SIDE; i++) {
      const received = receiveContext(pairwiseMatcher, stream(requests));
      if (refusal === undefined) await received;
      else await assert.rejects(received, refusal);
    }
    assertRoomFor(SIDE_BY_SIDE);
  });
}

test("an upload that falls silent for 30 seconds is refused and gives its place back", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    const items = stream([begin, rest[0]]);
    let left = 2;
    const silent = {
      [Symbol.asyncIterator]: () => silent,
      next: async () => (left-- > 0 ? items.next() : new Promise<never>(() => undefined)),
    };
    const refusal = assert.rejects(receiveContext(admitting, silent), refused("TOO_SLOW", undefined, /pause of 30 s/));
    await new Promise(setImmediate);
    mock.timers.tick(29_000);
    await new Promise(setImmediate);
    assertRoomFor(SIDE_BY_SIDE - 1);
    mock.timers.tick(1000);
    await refusal;
    assertRoomFor(SIDE_BY_SIDE);
  } finally {
    mock.timers.reset();
  }
});
