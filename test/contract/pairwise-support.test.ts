// The instruments of the pairwise contract tests, held to something outside themselves.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { randomEmbedding } from "../support/independent/independent-encoding.ts";
import { tracesIn } from "../support/pairwise-traces.ts";
import { realTensealBytes } from "../support/independent/tenseal-bytes.ts";
import { COMPRESSIONS, SMALL, TensealMaker, scaleOf, stepsUpTo } from "../support/independent/tenseal-maker.ts";
import {
  decodeTensealContext,
  decodeTensealVector,
  encodeTensealVector,
  rawBytesField,
  rawFields,
} from "../../scripts/dev/tenseal-wire.ts";

const maker = await TensealMaker.create(SMALL);
after(() => {
  maker[Symbol.dispose]();
});
const keys = maker.makeKeys(stepsUpTo(4));
const real = await realTensealBytes("the maker of TenSEAL bytes is not held to TenSEAL's own");
const withoutReal = real === undefined ? "no bytes of a real TenSEAL" : false;

for (const fill of ["repeated", "zeros", "others"] as const) {
  test(`a vector whose other slots are ${fill} decrypts to itself in every form it is written in`, () => {
    const vector = randomEmbedding(100);
    for (const compression of COMPRESSIONS) {
      for (const [seeded, symmetric] of [
        [false, false],
        [false, true],
        [true, true],
      ] as const) {
        const slots = maker.decryptSlots(maker.ciphertext(vector, { fill, compression, seeded, symmetric }));
        vector.forEach((x, k) => {
          assert.ok(Math.abs(slots[k]! - x) < 1e-5);
        });
        const past = { repeated: vector[2047 % 100]!, zeros: 0, others: slots[2047]! }[fill];
        assert.ok(Math.abs(slots[2047]! - past) < 1e-5);
      }
    }
  });
}

test("a vector carries the scale that it was asked for", () => {
  assert.equal(scaleOf(maker.ciphertext([1], { compression: "none" })), 2 ** 31.5);
  assert.equal(scaleOf(maker.ciphertext([1], { compression: "none", scale: 2 ** 30 })), 2 ** 30);
});

test("TenSEAL's messages have TenSEAL's field numbers", () => {
  const bytes = Buffer.from("0a010512026162190000000000000040", "hex");
  assert.deepEqual(
    rawFields(bytes).map(({ number, wireType, value }) => [number, wireType, value.toString("hex")]),
    [
      [1, 2, "05"],
      [2, 2, "6162"],
      [3, 1, "0000000000000040"],
    ],
  );
  assert.equal(
    encodeTensealVector({ sizes: [5], ciphertexts: [Buffer.from("ab")], scale: 2 }).toString("hex"),
    bytes.toString("hex"),
  );
  assert.deepEqual(
    rawFields(maker.secretContext()).map(({ number }) => number),
    [1, 2, 3],
  );
  assert.deepEqual(
    rawFields(rawFields(maker.publicContext(keys))[1]!.value).map(({ number }) => number),
    [1, 2, 3, 4, 5],
  );
  assert.ok(rawBytesField(1, Buffer.alloc(300)).equals(Buffer.concat([Buffer.of(10, 0xac, 2), Buffer.alloc(300)])));
});

test("a context's id is the SHA-256 of the text that the contract gives", () => {
  const [relin, galois] = [Buffer.from("relin"), Buffer.from("galois")];
  const hex = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
  // 2^31.5 as a double: exponent 1023 + 31, and the fraction of the square root of two.
  const text = `veilface.v1 pairwise ${hex(maker.encryptionParameters("none"))} 41e6a09e667f3bcd ${hex(relin)} ${hex(galois)}\n`;
  assert.equal(maker.contextId(relin, galois), hex(Buffer.from(text)));
});

test("keys written with seeds and without, and in every compression, have the sizes that follow from SEAL's layout", () => {
  // A key has one part for each of 2 data primes, and a part two components of 3 * 4096 words, one of which a seed can
  // replace.
  const half = 8 * 3 * 4096;
  for (const [written, bytes] of [
    [keys.relinKeys({ compression: "none" }), 4 * half],
    [keys.relinKeys({ compression: "none", seeded: true }), 2 * half],
    [keys.galoisKeys({ compression: "none" }), 3 * 4 * half],
  ] as const) {
    assert.ok(written.length > bytes && written.length < bytes + 70_000, `${written.length} bytes`);
  }
  for (const compression of ["zlib", "zstd"] as const)
    assert.ok(keys.galoisKeys({ compression }).length < keys.galoisKeys({ compression: "none" }).length);
});

test("traces of stored bytes are found in a folder, as they are and as base64, and others are not", async () => {
  const folder = await mkdtemp(join(tmpdir(), "veilface-traces-"));
  after(() => rm(folder, { recursive: true, force: true }));
  const [raw, text, other] = [maker.secretKey("none"), maker.publicKey("none"), maker.ciphertext([1])];
  await writeFile(join(folder, "a"), Buffer.concat([Buffer.alloc(5000, 7), raw.subarray(0, 20_000), Buffer.alloc(77)]));
  await writeFile(join(folder, "b"), text.toString("base64"));
  assert.ok((await tracesIn(folder, [raw])) > 0);
  assert.equal(await tracesIn(folder, [text]), 5);
  assert.equal(await tracesIn(folder, [other]), 0);
});

test("the maker reads what TenSEAL wrote, with the key that TenSEAL wrote", { skip: withoutReal }, () => {
  for (const [bytes, plain] of [
    [real!.v1, real!.plain1],
    [real!.v2, real!.plain2],
  ] as const) {
    const slots = real!.maker.decryptSlots(decodeTensealVector(bytes).ciphertexts[0]!);
    slots.forEach((x, k) => {
      assert.ok(Math.abs(x - plain[k % 128]!) < 1e-6, "the vector repeats over all slots");
    });
  }
  assert.ok(
    Math.abs(real!.maker.decrypt("CIPHERTEXT_ENCODING_TENSEAL_CKKS_VECTOR", real!.ownAnswer!) - real!.squaredDistance) <
      1e-5,
  );
});

test("the maker's contexts and vectors have the form of TenSEAL's own", { skip: withoutReal }, () => {
  const made = real!.maker.makeKeys();
  const fields = (bytes: Buffer): unknown[] => rawFields(bytes).map(({ number, wireType }) => [number, wireType]);
  assert.deepEqual(
    rawFields(real!.publicContext)
      .slice(0, 1)
      .map(({ value }) => value),
    [real!.maker.encryptionParameters()],
  );
  const [own, theirs] = [real!.maker.publicContextMessage(made), decodeTensealContext(real!.publicContext)].map(
    ({ public_context }) => public_context!,
  );
  assert.deepEqual([own!.scale, own!.auto_flags], [theirs!.scale, theirs!.auto_flags]);
  // Compressed with zstd by two versions of SEAL: within 2 % of the same length.
  for (const name of ["public_key", "relin_keys", "galois_keys"] as const) {
    assert.ok(
      Math.abs(own![name]!.length / theirs![name]!.length - 1) < 0.02,
      `${name}: ${own![name]!.length} and ${theirs![name]!.length} bytes`,
    );
  }
  assert.deepEqual(fields(real!.maker.vector(real!.plain1)), fields(real!.v1));
});
