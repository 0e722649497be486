import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import {
  CiphertextCodec,
  DEGREE,
  FheError,
  RingKernel,
  loadSealForKeyHolder,
  parameterSet,
  sealCiphertext,
} from "@veilface/fhe";
import type { ParameterSetName } from "@veilface/fhe";

const seal = await loadSealForKeyHolder();

/** Real objects of SEAL under a fresh key: what a client in any language would send. */
function sealObjects(name: ParameterSetName) {
  const set = parameterSet(name);
  const codec = new CiphertextCodec(seal, RingKernel.create(set.dataPrimes), set);
  using generator = new seal.KeyGenerator(codec.context);
  using secretKey = generator.secretKey();
  using publicKey = generator.createPublicKey();
  using encryptor = new seal.Encryptor(codec.context, publicKey, secretKey);
  using encoder = new seal.CKKSEncoder(codec.context);
  using plaintext = new seal.Plaintext();
  using ciphertext = new seal.Ciphertext();
  using squared = new seal.Ciphertext();
  using evaluator = new seal.Evaluator(codec.context);
  using seeded =
    (encoder.encode(new Float64Array(DEGREE / 2).fill(0.5), 1, plaintext),
    encryptor.encryptSymmetricSerializable(plaintext));
  encryptor.encryptSymmetric(plaintext, ciphertext);
  evaluator.square(ciphertext, squared);
  const bytes = (
    object: { saveToArray(mode: typeof seal.ComprModeType.none): unknown },
    mode: keyof typeof modes = "none",
  ) => Uint8Array.from(object.saveToArray(modes[mode] as typeof seal.ComprModeType.none) as Uint8Array);
  const modes = { none: seal.ComprModeType.none, zlib: seal.ComprModeType.zlib, zstd: seal.ComprModeType.zstd };
  return {
    codec,
    set,
    fresh: { none: bytes(ciphertext), zlib: bytes(ciphertext, "zlib"), zstd: bytes(ciphertext, "zstd") },
    product: bytes(squared),
    seeded: bytes(seeded),
    plaintext: bytes(plaintext),
    publicKey: bytes(publicKey),
    secretKeys: [bytes(secretKey), bytes(secretKey, "zlib"), bytes(secretKey, "zstd")],
  };
}

const q60 = sealObjects("PACKED_N4096_Q60");
const q30 = sealObjects("PACKED_N4096_Q30");

/** The 64-bit words behind the 113-byte header, read one by one. */
function wordsOf(bytes: Uint8Array): bigint[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return Array.from({ length: (bytes.length - 113) / 8 }, (_, i) => view.getBigUint64(113 + 8 * i, true));
}

function refused(codec: CiphertextCodec, data: Uint8Array, reason: string): void {
  assert.throws(
    () => codec.parseFresh("SEAL", data),
    (error) => error instanceof FheError && error.reason === reason,
    reason,
  );
}

for (const { codec, set, fresh, product } of [q60, q30]) {
  void test(`SEAL's own ciphertexts of ${set.name} are read as the words they hold, in all three compressions`, () => {
    const expected = wordsOf(fresh.none).map(Number);
    for (const data of Object.values(fresh)) assert.deepEqual([...codec.parseFresh("SEAL", data)], expected);
    assert.deepEqual([...codec.parseProduct("SEAL", product)], wordsOf(product).map(Number));
  });

  void test(`ciphertexts of ${set.name} survive both encodings, and the SEAL encoding gives SEAL's own bytes`, () => {
    const residues = codec.parseFresh("SEAL", fresh.none);
    assert.deepEqual(Buffer.from(codec.serialize("SEAL", residues)), Buffer.from(fresh.none));
    assert.deepEqual(codec.parseFresh("PACKED_RESIDUES", codec.serialize("PACKED_RESIDUES", residues)), residues);
  });

  void test(`a secret key of ${set.name} is recognised and refused, however it is compressed`, () => {
    for (const secretKey of sealObjectsOf(set.name).secretKeys) {
      refused(codec, secretKey, "SECRET_KEY_REFUSED");
    }
    assert.throws(() => codec.parseFresh("PACKED_RESIDUES", sealObjectsOf(set.name).secretKeys[0]!), {
      reason: "SECRET_KEY_REFUSED",
    });
  });
}

function sealObjectsOf(name: ParameterSetName) {
  return name === "PACKED_N4096_Q60" ? q60 : q30;
}

void test("other SEAL objects, other sizes and other parameters are refused", () => {
  refused(q60.codec, q60.product, "CIPHERTEXT_MALFORMED");
  refused(q60.codec, q60.seeded, "CIPHERTEXT_MALFORMED");
  refused(q60.codec, q60.plaintext, "CIPHERTEXT_MALFORMED");
  refused(q60.codec, q30.fresh.none, "PARAMETER_SET_MISMATCH");
  refused(q30.codec, q60.fresh.zstd, "PARAMETER_SET_MISMATCH");
  assert.throws(() => q60.codec.parseProduct("SEAL", q60.fresh.none), { reason: "CIPHERTEXT_MALFORMED" });
  const packed = q60.codec.serialize("PACKED_RESIDUES", q60.codec.parseFresh("SEAL", q60.fresh.none));
  assert.throws(() => q30.codec.parseFresh("PACKED_RESIDUES", packed), { reason: "PARAMETER_SET_MISMATCH" });
  assert.throws(() => q60.codec.parseFresh("PACKED_RESIDUES", packed.subarray(1)), { reason: "CIPHERTEXT_MALFORMED" });
});

void test("a ciphertext that hides nothing, modulo one prime or all, is refused as transparent", () => {
  const residues = q60.codec.parseFresh("SEAL", q60.fresh.none);
  for (const [from, to] of [
    [2 * DEGREE, 4 * DEGREE],
    [2 * DEGREE, 3 * DEGREE],
    [3 * DEGREE, 4 * DEGREE],
  ] as const) {
    const transparent = residues.slice().fill(0, from, to);
    refused(q60.codec, sealCiphertext(q60.codec.parmsId, 2, transparent), "CIPHERTEXT_TRANSPARENT");
    assert.throws(() => q60.codec.parseFresh("PACKED_RESIDUES", q60.codec.serialize("PACKED_RESIDUES", transparent)), {
      reason: "CIPHERTEXT_TRANSPARENT",
    });
  }
});

void test("a residue that is not below its prime is refused in either encoding", () => {
  const residues = q60.codec.parseFresh("SEAL", q60.fresh.none);
  for (const [index, value] of [
    [0, 1073668097],
    [DEGREE, 1073692673],
    [3 * DEGREE + 5, 2 ** 30 - 1],
  ] as const) {
    const bytes = sealCiphertext(q60.codec.parmsId, 2, residues.with(index, value));
    refused(q60.codec, bytes, "CIPHERTEXT_MALFORMED");
  }
  const high = Uint8Array.from(q60.fresh.none);
  high[113 + 7] = 1;
  refused(q60.codec, high, "CIPHERTEXT_MALFORMED");
});

/** A SEAL header, honest about its length, over a body compressed from `size` zeros. */
function bomb(compression: 1 | 2, size: number): Uint8Array {
  const zeros = new Uint8Array(size);
  const body = compression === 1 ? deflateSync(zeros, { level: 9 }) : zstdCompressSync(zeros);
  const bytes = new Uint8Array(16 + body.length);
  bytes.set([0x5e, 0xa1, 16, 4, 1, compression, 0, 0]);
  new DataView(bytes.buffer).setBigUint64(8, BigInt(bytes.length), true);
  bytes.set(body, 16);
  return bytes;
}

void test("what unpacks to more than a ciphertext is refused before it is unpacked", () => {
  for (const compression of [1, 2] as const) {
    const data = bomb(compression, 1 << 27);
    assert.ok(data.length < 1 << 18);
    const before = process.memoryUsage().rss;
    refused(q60.codec, data, "CIPHERTEXT_TOO_LARGE");
    assert.ok(process.memoryUsage().rss - before < 32 << 20);
  }
  refused(q60.codec, new Uint8Array((1 << 20) + 1), "CIPHERTEXT_TOO_LARGE");
});

// A secret key's words are an object of their own inside it, and SEAL decompresses that too.
void test("a bomb inside an uncompressed secret key never reaches SEAL, in either encoding", () => {
  const [key] = q60.secretKeys;
  const inner = bomb(2, 1 << 27);
  const bytes = Buffer.concat([key!.subarray(0, 64), inner]);
  bytes.writeBigUInt64LE(BigInt(bytes.length), 8);
  const packed = bomb(2, 1 << 27);
  const before = process.memoryUsage().rss;
  refused(q60.codec, bytes, "PARAMETER_SET_MISMATCH");
  assert.throws(() => q60.codec.parseFresh("PACKED_RESIDUES", bytes), { reason: "CIPHERTEXT_MALFORMED" });
  assert.throws(() => q60.codec.parseFresh("PACKED_RESIDUES", packed), { reason: "CIPHERTEXT_TOO_LARGE" });
  assert.ok(process.memoryUsage().rss - before < 32 << 20);
});

void test("any cut or any flipped header byte is refused with a closed reason, and never crosses into SEAL compressed", () => {
  const reasons = new Set(["CIPHERTEXT_MALFORMED", "CIPHERTEXT_TOO_LARGE", "PARAMETER_SET_MISMATCH"]);
  const isRefusal = (error: unknown): boolean => error instanceof FheError && reasons.has(error.reason);
  const sources = Object.values(q30.fresh);
  fc.assert(
    fc.property(fc.constantFrom(...sources), fc.nat(), (source, at) => {
      assert.throws(() => q30.codec.parseFresh("SEAL", source.subarray(0, at % source.length)), isRefusal);
    }),
    { numRuns: 100 },
  );
  for (let at = 0; at < 113; at++) {
    const flipped = Uint8Array.from(q30.fresh.none);
    flipped[at]! ^= 1 << (at % 8);
    assert.throws(() => q30.codec.parseFresh("SEAL", flipped), isRefusal, `byte ${at}`);
  }
});

test("a ciphertext in a Buffer that is part of a larger one is read as it is", () => {
  const inside = Buffer.concat([Buffer.alloc(5, 7), q60.fresh.none, Buffer.alloc(3, 7)]).subarray(
    5,
    5 + q60.fresh.none.length,
  );
  assert.deepEqual(q60.codec.parseFresh("SEAL", inside), q60.codec.parseFresh("SEAL", q60.fresh.none));
});
