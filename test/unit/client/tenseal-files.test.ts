import assert from "node:assert/strict";
import { open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, test } from "node:test";
import fc from "fast-check";
import { ClientError } from "../../../client/errors.ts";
import { trimContext } from "../../../client/pairwise/context-trimmer.ts";
import {
  decodeTensealBytes,
  publicTensealContext,
  readTensealFile,
  tensealVector,
} from "../../../client/pairwise/tenseal-files.ts";
import { temporaryFolder } from "../../support/process/cli-process.ts";
import { COMPRESSIONS, SMALL, TensealMaker } from "../../support/independent/tenseal-maker.ts";
import {
  decodeTensealContext,
  decodeTensealVector,
  encodeTensealContext,
  encodeTensealVector,
} from "../../../scripts/dev/tenseal-wire.ts";

const { folder, remove } = await temporaryFolder();
const maker = await TensealMaker.create(SMALL);
const keys = maker.makeKeys([1, 2, 4]);
after(async () => {
  maker[Symbol.dispose]();
  await remove();
});

const publicContext = maker.publicContext(keys);
const secretContext = maker.secretContext();
const vector = maker.vector([0.1, 0.2, 0.3, 0.4, 0.5]);
const message = maker.publicContextMessage(keys);
const [ciphertext, scale] = [maker.ciphertext([1, 2]), SMALL.scale];

/** The reason and the text of the ClientError that a reader throws; undefined where it throws none. */
function refusal(read: () => unknown): { reason: string; message: string } | undefined {
  try {
    read();
    return undefined;
  } catch (error) {
    if (!(error instanceof ClientError)) throw error;
    return { reason: error.reason, message: error.message };
  }
}

function assertRefused(read: () => unknown, reason: string, says = /./): void {
  const refused = refusal(read);
  assert.equal(refused?.reason, reason, refused?.message ?? "it was taken");
  assert.match(refused.message, says);
}

function wrapped(text: string, width: number, lineEnd: string): Buffer {
  return Buffer.from(text.match(new RegExp(`.{1,${width}}`, "g"))!.join(lineEnd) + lineEnd);
}

test("base64 text means the same bytes with line breaks anywhere and without", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 300 }),
      fc.integer({ min: 1, max: 100 }),
      fc.constantFrom("\n", "\r\n", " "),
      (bytes, width, lineEnd) => {
        const text = Buffer.from(bytes).toString("base64");
        for (const form of [Buffer.from(text), wrapped(text, width, lineEnd)]) {
          const decoded = decodeTensealBytes(form);
          assert.deepEqual([Buffer.from(decoded.bytes), decoded.base64], [Buffer.from(bytes), true]);
        }
      },
    ),
  );
});

test("what TenSEAL writes is never taken for base64 text of something else", () => {
  for (const bytes of [publicContext, secretContext, vector])
    assert.deepEqual(decodeTensealBytes(bytes), { bytes, base64: false });
});

test("of a public context everything is sent but the public key, from base64 text the same", () => {
  const sent = publicTensealContext(publicContext);
  const { encryption_parameters, public_context, private_context } = decodeTensealContext(sent);
  const { public_key, ...evaluation } = message.public_context as Record<string, unknown>;
  assert.deepEqual(encryption_parameters, message.encryption_parameters);
  assert.deepEqual(public_context, { ...evaluation, public_key: Buffer.alloc(0) });
  assert.equal(private_context, null);
  assert.ok(!Buffer.from(sent).includes((public_key as Buffer).subarray(200, 240)));
  assert.deepEqual(publicTensealContext(wrapped(publicContext.toString("base64"), 76, "\n")), sent);
});

test("a vector says its dimension, raw and as base64 text", () => {
  const [only] = decodeTensealVector(vector).ciphertexts;
  for (const form of [vector, Buffer.from(vector.toString("base64"))]) {
    const { bytes, dimension, ciphertext, scale } = tensealVector(form);
    assert.ok(vector.equals(bytes) && Buffer.from(only!).equals(ciphertext));
    assert.deepEqual([dimension, scale], [5, SMALL.scale]);
  }
});

test("a secret key is refused wherever it is, whole contexts and bare keys, raw and as base64 text", () => {
  const key = maker.secretKey();
  const hiding: Buffer[] = [
    secretContext,
    encodeTensealContext({ ...message, private_context: {} }),
    encodeTensealContext({ ...message, encryption_parameters: key }),
    ...["public_key", "relin_keys", "galois_keys"].map((field) =>
      encodeTensealContext({ ...message, public_context: { ...message.public_context, [field]: key } }),
    ),
    encodeTensealVector({ sizes: [5], ciphertexts: [key], scale }),
    ...COMPRESSIONS.map((compression) => maker.secretKey(compression)),
  ];
  for (const [i, bytes] of hiding.entries()) {
    const readers = i < 6 ? [publicTensealContext] : i === 6 ? [tensealVector] : [publicTensealContext, tensealVector];
    for (const read of readers) {
      for (const form of [bytes, Buffer.from(bytes.toString("base64")), wrapped(bytes.toString("base64"), 64, "\r\n")])
        assertRefused(() => read(form), "SECRET_KEY_REFUSED", /nothing of it was sent/);
    }
  }
  assertRefused(() => tensealVector(secretContext), "SECRET_KEY_REFUSED");
  assertRefused(
    () => publicTensealContext(secretContext, "secret.bin"),
    "SECRET_KEY_REFUSED",
    /^secret\.bin .*context\.serialize\(\), without save_secret_key=True/,
  );
});

test("no beginning of a file is taken for the whole, nor for anything else", () => {
  for (const whole of [publicContext, secretContext, vector]) {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.nat({ max: whole.length - 1 }),
          fc.nat({ max: 40 }).map((cut) => Math.max(0, whole.length - 1 - cut)),
        ),
        (length) => {
          const cut = whole.subarray(0, length);
          assert.ok(refusal(() => publicTensealContext(cut)) !== undefined, `a context of ${length} bytes`);
          assert.ok(refusal(() => tensealVector(cut)) !== undefined, `a vector of ${length} bytes`);
        },
      ),
    );
  }
});

test("random bytes, and random bytes after a true beginning, are refused as what they are not", () => {
  const beginnings = [
    Buffer.alloc(0),
    publicContext.subarray(0, 60),
    vector.subarray(0, 30),
    Buffer.from([0x5e, 0xa1, 16, 4, 1, 2]),
    Buffer.from([0x0a, 2]),
    Buffer.from([0x1a]),
  ];
  fc.assert(
    fc.property(fc.constantFrom(...beginnings), fc.uint8Array({ maxLength: 400 }), (beginning, rest) => {
      const bytes = Buffer.concat([beginning, rest]);
      assertRefused(() => publicTensealContext(bytes), "TENSEAL_INVALID");
      assertRefused(() => tensealVector(bytes), "TENSEAL_INVALID");
    }),
    { numRuns: 500 },
  );
});

test("a changed byte never makes a vector into something else than a vector or a refusal", () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.nat({ max: 40 }), fc.nat({ max: vector.length - 1 })),
      fc.integer({ min: 1, max: 255 }),
      (at, change) => {
        const bytes = Buffer.from(vector);
        bytes[at]! ^= change;
        if (refusal(() => tensealVector(bytes)) === undefined) assert.deepEqual(tensealVector(bytes).bytes, bytes);
        assert.ok(refusal(() => publicTensealContext(bytes)) !== undefined);
      },
    ),
  );
});

test("a refusal says what the bytes seem to be and what was expected", () => {
  const other = Buffer.from([0x22, 3, 1, 2, 3]);
  const cases: readonly (readonly [Uint8Array, RegExp, RegExp])[] = [
    [Buffer.alloc(0), /^x is empty: .*context\.serialize\(\)/, /^x is empty: .*ckks_vector/],
    [Buffer.from("\n"), /not a protobuf message/, /not a protobuf message/],
    [Buffer.from("To whom it may concern"), /not a protobuf message/, /not a protobuf message/],
    [ciphertext, /a SEAL object by itself/, /a SEAL object by itself/],
    [other, /none of TenSEAL's/, /none of TenSEAL's/],
    [Buffer.concat([publicContext, Buffer.from([0x48, 1])]), /none of TenSEAL's/, /none of TenSEAL's/],
    [Buffer.concat([vector, vector]), /none of TenSEAL's/, /none of TenSEAL's/],
    [Buffer.concat([vector, Buffer.from([0, 1])]), /not a protobuf message/, /not a protobuf message/],
  ];
  for (const [bytes, context, asVector] of cases) {
    assertRefused(() => publicTensealContext(bytes, "x"), "TENSEAL_INVALID", context);
    assertRefused(() => tensealVector(bytes, "x"), "TENSEAL_INVALID", asVector);
  }
  assertRefused(
    () => publicTensealContext(vector, "x"),
    "TENSEAL_INVALID",
    /^x is an encrypted TenSEAL vector: expected a public context/,
  );
  assertRefused(
    () => tensealVector(publicContext, "x"),
    "TENSEAL_INVALID",
    /^x is a TenSEAL context: expected an encrypted CKKS vector/,
  );
});

test("a context that lacks what a comparison needs says which Python call adds it", () => {
  const lacking = (lost: object): Buffer =>
    encodeTensealContext({ ...message, public_context: { ...message.public_context, ...lost } });
  assertRefused(
    () => publicTensealContext(lacking({ galois_keys: Buffer.alloc(0) })),
    "TENSEAL_INVALID",
    /generate_galois_keys\(\)/,
  );
  assertRefused(
    () => publicTensealContext(lacking({ relin_keys: Buffer.alloc(0) })),
    "TENSEAL_INVALID",
    /generate_relin_keys\(\)/,
  );
  for (const wrong of [0, -1, NaN, Infinity])
    assertRefused(() => publicTensealContext(lacking({ scale: wrong })), "TENSEAL_INVALID", /global_scale/);
  assertRefused(
    () => publicTensealContext(lacking({ galois_keys: keys.galoisKeys().subarray(0, -1) })),
    "TENSEAL_INVALID",
    /no whole SEAL object for its Galois keys/,
  );
  const { encryption_parameters } = message;
  assertRefused(
    () => publicTensealContext(encodeTensealContext({ encryption_parameters: encryption_parameters! })),
    "TENSEAL_INVALID",
    /public part/,
  );
});

test("what is of another kind than can be compared says what to make instead", () => {
  const bfv = maker.encryptionParameters("none");
  // The scheme follows the header.
  bfv[16] = 1;
  const bfvContext = encodeTensealContext({
    ...message,
    encryption_parameters: bfv,
    public_context: { relin_keys: keys.relinKeys(), scale: -1 },
  });
  assertRefused(
    () => publicTensealContext(bfvContext, "x"),
    "TENSEAL_INVALID",
    /^x is a BFV context, and veilface compares CKKS vectors: make .*ts\.SCHEME_TYPE\.CKKS/,
  );
  assertRefused(
    () => tensealVector(encodeTensealVector({ sizes: [2], ciphertexts: [ciphertext] }), "x"),
    "TENSEAL_INVALID",
    /^x .*as ts\.bfv_vector makes it.*ts\.ckks_vector/,
  );
  const batch = (field: number): Buffer => Buffer.of(8 * field, 3);
  const tensors = [
    Buffer.concat([encodeTensealVector({ sizes: [1], ciphertexts: [ciphertext], scale }), batch(4)]),
    Buffer.concat([encodeTensealVector({ sizes: [1], ciphertexts: [ciphertext] }), batch(3)]),
    encodeTensealVector({ sizes: [2], ciphertexts: [ciphertext, ciphertext], scale }),
  ];
  for (const tensor of tensors)
    assertRefused(
      () => tensealVector(tensor, "x"),
      "TENSEAL_INVALID",
      /^x is a TenSEAL tensor .*expected an encrypted CKKS vector/,
    );
});

test("a symmetric context is taken without its secret key, and with it gets advice that works for it", () => {
  const symmetric = {
    ...message,
    encryption_type: "symmetric" as const,
    public_context: { ...message.public_context, public_key: Buffer.alloc(0) },
  };
  assert.equal(
    decodeTensealContext(publicTensealContext(encodeTensealContext(symmetric))).encryption_type,
    "symmetric",
  );
  const secret = encodeTensealContext({ ...symmetric, private_context: { secret_key: maker.secretKey() } });
  const { reason, message: says } = refusal(() => publicTensealContext(secret, "x"))!;
  assert.equal(reason, "SECRET_KEY_REFUSED");
  // make_context_public() raises for symmetric contexts.
  assert.match(says, /context\.serialize\(\), without save_secret_key=True/);
  assert.ok(!says.includes("make_context_public"));
});

test("a context that is read as it comes is refused as one that is read whole", async () => {
  const trim = (bytes: Buffer): Promise<unknown> =>
    trimContext({ source: [bytes.subarray(0, 7), bytes.subarray(7)], dimension: 8, name: "x" });
  const refusedFor = async (bytes: Buffer, says: RegExp, reason = "TENSEAL_INVALID"): Promise<void> => {
    await assert.rejects(
      trim(bytes),
      (error: unknown) => error instanceof ClientError && error.reason === reason && says.test(error.message),
    );
  };
  const bfv = maker.encryptionParameters("none");
  bfv[16] = 1;
  const lacking = (lost: object): Buffer =>
    encodeTensealContext({ ...message, public_context: { ...message.public_context, ...lost } });
  await refusedFor(Buffer.alloc(0), /^x is empty/);
  await refusedFor(vector, /^x is no TenSEAL context/);
  await refusedFor(secretContext, /save_secret_key=True/, "SECRET_KEY_REFUSED");
  await refusedFor(Buffer.from(secretContext.toString("base64")), /save_secret_key=True/, "SECRET_KEY_REFUSED");
  await refusedFor(Buffer.concat([Buffer.of(0x1a, 0), publicContext]), /save_secret_key=True/, "SECRET_KEY_REFUSED");
  await refusedFor(encodeTensealContext({ ...message, encryption_parameters: bfv }), /BFV context/);
  await refusedFor(lacking({ relin_keys: Buffer.alloc(0) }), /generate_relin_keys\(\)/);
  await refusedFor(lacking({ galois_keys: Buffer.alloc(0) }), /generate_galois_keys\(\)/);
  await refusedFor(
    lacking({ galois_keys: maker.makeKeys([1, 2]).galoisKeys() }),
    /rotations by 1, 2, 4, which vectors of 8 components need/,
  );
  await refusedFor(lacking({ galois_keys: maker.secretKey() }), /damaged/);
  await refusedFor(lacking({ scale: 0 }), /global_scale/);
});

test("no beginning of a context that is read as it comes is taken for the whole, raw or as base64 text", async () => {
  const whole = await trimContext({ source: [publicContext], dimension: 8, name: "x" });
  const text = wrapped(publicContext.toString("base64"), 76, "\n");
  const fromText = await trimContext({
    source: [text.subarray(0, 1001), text.subarray(1001)],
    dimension: 5,
    name: "x",
  });
  for (const [i, { bytes }] of whole.keys.entries()) assert.ok(Buffer.from(bytes).equals(fromText.keys[i]!.bytes));
  await fc.assert(
    fc.asyncProperty(fc.nat({ max: publicContext.length - 1 }), fc.boolean(), async (length, asText) => {
      const cut = publicContext.subarray(0, length);
      const source = [asText ? Buffer.from(cut.toString("base64")) : cut];
      await assert.rejects(
        trimContext({ source, dimension: 8, name: "x" }),
        (error: unknown) => error instanceof ClientError && error.reason === "TENSEAL_INVALID",
      );
    }),
    { numRuns: 40 },
  );
});

test("a vector of several ciphertexts, of no size or without a scale is refused", () => {
  const made = (changed: object): Buffer =>
    encodeTensealVector({ sizes: [2], ciphertexts: [ciphertext], scale, ...changed });
  assert.equal(tensealVector(made({})).dimension, 2);
  assertRefused(
    () => tensealVector(made({ sizes: [2, 2], ciphertexts: [ciphertext, ciphertext] })),
    "TENSEAL_INVALID",
    /in 2 ciphertexts/,
  );
  assertRefused(() => tensealVector(made({ ciphertexts: [] })), "TENSEAL_INVALID", /in 0 ciphertexts/);
  for (const sizes of [[], [0], [1, 1]])
    assertRefused(() => tensealVector(made({ sizes })), "TENSEAL_INVALID", /without its size/);
  assertRefused(() => tensealVector(made({ scale: NaN })), "TENSEAL_INVALID", /or scale/);
  assertRefused(
    () => tensealVector(made({ ciphertexts: [ciphertext.subarray(0, -8)] })),
    "TENSEAL_INVALID",
    /no whole SEAL object/,
  );
});

test("a file is read raw and as base64 text; one that is not there, or larger than any upload, is refused", async () => {
  const path = join(folder, "v1");
  await writeFile(path, vector);
  assert.deepEqual(await readTensealFile(path), { bytes: vector, base64: false });
  await writeFile(path, `${vector.toString("base64")}\n`);
  const { bytes, base64 } = await readTensealFile(path);
  assert.deepEqual([Buffer.from(bytes), base64], [vector, true]);
  const refusedAs =
    (reason: string) =>
    (error: unknown): boolean =>
      error instanceof ClientError && error.reason === reason && error.message.includes(folder);
  await assert.rejects(readTensealFile(join(folder, "none")), refusedAs("USAGE"));
  await assert.rejects(readTensealFile(folder), refusedAs("USAGE"));
  // 64 MiB and a byte, and more than its base64 text would have; the files are holes.
  for (const size of [67_108_865, 100_000_000]) {
    const large = join(folder, `large-${size}`);
    await using file = await open(large, "w");
    await file.truncate(size);
    await assert.rejects(readTensealFile(large), refusedAs("TENSEAL_INVALID"));
  }
});
