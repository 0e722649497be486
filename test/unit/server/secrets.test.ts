import assert from "node:assert/strict";
import { syncBuiltinESMExports } from "node:module";
import { after, mock, test } from "node:test";
import zlib from "node:zlib";
import fc from "fast-check";
import { FheError, hasSecretKeyShape } from "@veilface/fhe";
import { readOutside } from "../../../server/compute/secrets.ts";
import { sealEnvelope } from "../../support/independent/independent-crypto.ts";
import { COMPRESSIONS, SMALL, TUTORIAL, TensealMaker } from "../../support/independent/tenseal-maker.ts";
import type { CkksParameters } from "../../support/independent/tenseal-maker.ts";
import { encodeTensealContext, encodeTensealVector, rawBytesField } from "../../../scripts/dev/tenseal-wire.ts";

const SHAPES: readonly CkksParameters[] = [
  { degree: 2048, primeBits: [18, 18, 18], scale: 2 ** 10 },
  SMALL,
  TUTORIAL,
  { degree: 16384, primeBits: [60, 40, 40, 40, 60], scale: 2 ** 40 },
  // The packed scheme's.
  { degree: 4096, primeBits: [30, 30, 20], scale: 1 },
  { degree: 4096, primeBits: [30, 30], scale: 1 },
];
const makers = await Promise.all(SHAPES.map(async (shape) => TensealMaker.create(shape)));
const maker = makers[1]!;
const keys = maker.makeKeys([1, 2]);
after(() => {
  for (const made of makers) made[Symbol.dispose]();
});

const REFUSAL = new FheError("CIPHERTEXT_MALFORMED", "not what was expected");

/** A reader that wants none of it. */
function refuse(): never {
  throw REFUSAL;
}

function assertSecret(data: Uint8Array, message: string): void {
  assert.throws(
    () => readOutside(data, refuse),
    (error) =>
      error instanceof FheError &&
      error.reason === "SECRET_KEY_REFUSED" &&
      error.cause === REFUSAL &&
      error.message.length < 200,
    message,
  );
}

function assertHarmless(data: Uint8Array, message: string): void {
  assert.throws(
    () => readOutside(data, refuse),
    (error) => error instanceof FheError && error.reason === REFUSAL.reason,
    message,
  );
}

/** Ways to write base64 text. */
const TEXTS: Readonly<Record<string, (bytes: Buffer) => string>> = {
  "in one line": (bytes) => bytes.toString("base64"),
  "in one line that ends": (bytes) => `${bytes.toString("base64")}\n`,
  "without padding": (bytes) => bytes.toString("base64").replaceAll("=", ""),
  "in lines of 76": (bytes) => bytes.toString("base64").replace(/.{76}/g, "$&\r\n"),
  "in lines of 64, indented": (bytes) => ` ${bytes.toString("base64").replace(/.{64}/g, "$&\n\t")}\n\n`,
  "in the URL's alphabet": (bytes) => bytes.toString("base64url"),
  "in the URL's alphabet, in lines": (bytes) => bytes.toString("base64url").replace(/.{76}/g, "$&\n"),
};

/** Bytes as they are, and as base64 text in every way. */
function forms(bytes: Buffer): (readonly [string, Buffer])[] {
  return [
    ["as it is", bytes],
    ...Object.entries(TEXTS).map(
      ([name, write]) => [`as base64 ${name}`, Buffer.from(write(bytes), "latin1")] as const,
    ),
  ];
}

/** TenSEAL messages with some bytes in the place of each field that takes bytes. */
function messagesWith(bytes: Buffer): (readonly [string, Buffer])[] {
  const message = maker.publicContextMessage(keys);
  const inPublic = (field: string): Buffer =>
    encodeTensealContext({ ...message, public_context: { ...message.public_context, [field]: bytes } });
  const vector = maker.ciphertext([1, 2]);
  return [
    ["encryption_parameters", encodeTensealContext({ ...message, encryption_parameters: bytes })],
    ["public_key", inPublic("public_key")],
    ["relin_keys", inPublic("relin_keys")],
    ["galois_keys", inPublic("galois_keys")],
    ["private_context", encodeTensealContext({ private_context: { secret_key: bytes } })],
    ["a vector's only ciphertext", encodeTensealVector({ sizes: [2], ciphertexts: [bytes] })],
    ["a vector's last ciphertext", encodeTensealVector({ sizes: [2, 2, 2], ciphertexts: [vector, vector, bytes] })],
    ["a field that TenSEAL does not have", rawBytesField(9, bytes)],
    ["a message in a message", rawBytesField(7, rawBytesField(2, bytes))],
  ];
}

for (const made of makers) {
  const { degree, primeBits } = made.parameters;
  test(`a secret key of ring degree ${degree} and primes of ${primeBits.join(", ")} bits is recognised in every compression and as every base64 text`, () => {
    for (const compression of COMPRESSIONS) {
      const secret = made.secretKey(compression);
      assert.ok(hasSecretKeyShape(secret));
      for (const [form, bytes] of forms(secret)) assertSecret(bytes, `${compression} ${form}`);
    }
  });
}

test("a secret key is recognised at any offset of a buffer", () => {
  for (const compression of COMPRESSIONS) {
    const secret = maker.secretKey(compression);
    for (const offset of [1, 3, 8, 61])
      assertSecret(
        Buffer.concat([Buffer.alloc(offset, 0x41), secret, Buffer.alloc(offset, 0x41)]).subarray(
          offset,
          offset + secret.length,
        ),
        compression,
      );
  }
});

test("a secret key is recognised in every place of TenSEAL's messages, in every compression and as base64 text", () => {
  for (const compression of COMPRESSIONS) {
    for (const [form, secret] of forms(maker.secretKey(compression))) {
      for (const [place, bytes] of messagesWith(secret)) assertSecret(bytes, `${compression} ${form} in ${place}`);
    }
  }
});

test("TenSEAL messages that hold a secret key are recognised as base64 text of their own", () => {
  for (const [place, bytes] of messagesWith(maker.secretKey())) {
    for (const [form, text] of forms(bytes)) assertSecret(text, `${place} ${form}`);
  }
});

test("a TenSEAL context with a private_context is refused, whatever is in that", () => {
  const message = maker.publicContextMessage(keys);
  const whole = encodeTensealContext(message);
  const contexts: Record<string, Buffer> = {
    "as serialize() writes it": maker.secretContext(),
    uncompressed: maker.secretContext("none"),
    "beside the public one": encodeTensealContext({
      ...message,
      private_context: { secret_key: maker.secretKey(), galois_keys_generated: true },
    }),
    empty: encodeTensealContext({ ...message, private_context: {} }),
    "without a key": encodeTensealContext({ ...message, private_context: { relin_keys_generated: true } }),
    "in front": Buffer.concat([rawBytesField(3, rawBytesField(1, maker.secretKey())), whole]),
    "replaced by an empty one": Buffer.concat([
      whole,
      rawBytesField(3, rawBytesField(1, maker.secretKey())),
      rawBytesField(3, Buffer.alloc(0)),
    ]),
  };
  for (const [name, context] of Object.entries(contexts)) {
    for (const [form, bytes] of forms(context)) assertSecret(bytes, `${name} ${form}`);
  }
});

test("nothing that a key holder may send is taken for a secret key", () => {
  const objects: Record<string, Buffer> = {};
  for (const compression of COMPRESSIONS) {
    for (const made of makers.slice(1, 3)) {
      const name = `of ${made.parameters.degree}, ${compression}`;
      objects[`parameters ${name}`] = made.encryptionParameters(compression);
      objects[`a public key ${name}`] = made.publicKey(compression);
      objects[`a ciphertext ${name}`] = made.ciphertext([1, 2, 3], { compression });
      objects[`a seeded ciphertext ${name}`] = made.ciphertext([1, 2, 3], { compression, seeded: true });
    }
    for (const seeded of [false, true]) {
      objects[`relinearization keys ${compression}`] = keys.relinKeys({ compression, seeded });
      objects[`Galois keys ${compression}`] = keys.galoisKeys({ compression, seeded });
    }
    objects[`a public context ${compression}`] = maker.publicContext(keys, { compression });
  }
  objects["a vector"] = maker.vector([1, 2, 3]);
  for (const [name, object] of Object.entries(objects)) {
    assert.ok(!hasSecretKeyShape(object), name);
    for (const [form, bytes] of forms(object)) assertHarmless(bytes, `${name} ${form}`);
  }
});

test("no random bytes are taken for a secret key, with a SEAL header or without", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.constantFrom("zlib", "zstd"), (body, compression) => {
      const headed = sealEnvelope(compression, body);
      const plain = Buffer.from(headed);
      plain.writeUInt8(0, 5);
      for (const bytes of [Buffer.from(body), headed, plain, Buffer.concat(messagesWithout(body))]) {
        for (const [form, text] of forms(bytes)) assertHarmless(text, form);
      }
    }),
    { numRuns: 200 },
  );
});

const messagesWithout = (body: Uint8Array): Buffer[] => [
  rawBytesField(1, Buffer.from(body)),
  rawBytesField(2, rawBytesField(1, Buffer.from(body))),
];

test("base64 text of anything harmless is refused with the hint to decode it, and other bytes with the reader's own words", () => {
  for (const [form, bytes] of forms(keys.relinKeys())) {
    assert.throws(
      () => readOutside(bytes, refuse),
      form === "as it is"
        ? (error) => error === REFUSAL
        : { reason: REFUSAL.reason, message: /base64 text: decode it/ },
    );
  }
});

test("what a reader accepts is given on, and failures of other kinds stay what they are", () => {
  const bytes = keys.relinKeys();
  assert.equal(
    readOutside(bytes, (data) => data),
    bytes,
  );
  const failure = new TypeError("a fault of our own");
  const fail = (): never => {
    throw failure;
  };
  for (const [form, data] of forms(bytes))
    assert.throws(
      () => readOutside(data, fail),
      (error) => error === failure,
      form,
    );
  assert.throws(() => readOutside(maker.secretKey(), fail), { reason: "SECRET_KEY_REFUSED" });
});

// Looking back at every blank, as a regular expression may, takes minutes.
test("long text that is almost base64 is harmless", { timeout: 60_000 }, () => {
  const nearly = [" ", "\n", "A", "A=", "=", "\t=", "AAAA\n"].map((unit) =>
    Buffer.concat([Buffer.from(unit.repeat(2 ** 20 / unit.length)), Buffer.from("!")]),
  );
  for (const bytes of nearly) assertHarmless(bytes, bytes.subarray(0, 8).toString("latin1"));
});

// 579 bytes unpack to the 17 MiB that a secret key may have at most, in 20 ms (m): a request has room for thousands of
// them. Here they are smaller, and counted.
test("only so many compressed objects are unpacked in the search for a secret key, however they are wrapped", () => {
  const bomb = sealEnvelope("zstd", zlib.zstdCompressSync(Buffer.alloc(2 ** 20)));
  const many = (count: number, bytes: Buffer): Buffer =>
    Buffer.concat(Array.from({ length: count }, () => rawBytesField(2, bytes)));
  const text = (bytes: Buffer): Buffer => Buffer.from(bytes.toString("base64"), "latin1");
  const unpack = mock.method(zlib, "zstdDecompressSync");
  syncBuiltinESMExports();
  try {
    for (const bytes of [
      many(900, bomb),
      text(many(900, bomb)),
      many(20, text(many(60, bomb))),
      text(many(20, text(many(60, bomb)))),
    ]) {
      unpack.mock.resetCalls();
      assertHarmless(bytes, `${bytes.length}`);
      assert.ok(unpack.mock.callCount() <= 200, `${bytes.length} bytes: ${unpack.mock.callCount()} are unpacked`);
    }
    assert.ok(unpack.mock.callCount() > 0);
  } finally {
    unpack.mock.restore();
    syncBuiltinESMExports();
  }
});
