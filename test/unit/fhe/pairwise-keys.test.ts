import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, test } from "node:test";
import {
  PairwiseEvaluator,
  checkGaloisKeys,
  checkPublicKey,
  checkRelinKeys,
  loadPublicSeal,
  readEncryptionParameters,
  withScale,
} from "@veilface/fhe";
import { openPairwiseContext } from "../../../fhe/pairwise/levels.ts";
import { COMPRESSIONS, SMALL, TensealMaker } from "../../support/independent/tenseal-maker.ts";

const { degree } = SMALL;
const PRIMES = SMALL.primeBits.length;
// KSwitchKeys: header 16, parms_id 32, count 8, then for each index a count 8 and its ciphertexts of 113 bytes and
// their words.
const COUNT_AT = 48;
const COUNTS_AT = 56;
const COMPONENT_BYTES = 8 * PRIMES * degree;
const PART_BYTES = 113 + 2 * COMPONENT_BYTES;

const seal = await loadPublicSeal();
const maker = await TensealMaker.create(SMALL);
const stranger = await TensealMaker.create({ ...SMALL, primeBits: [34, 35, 40], scale: 2 ** 31 });
const parameters = withScale(readEncryptionParameters(seal, maker.encryptionParameters()), SMALL.scale);
const evaluator = new PairwiseEvaluator(seal, parameters);
const { levels } = evaluator;
const context = openPairwiseContext(seal, parameters);
const keys = maker.makeKeys([1, 2, 4]);
after(() => {
  for (const handle of [evaluator, context, maker, stranger]) handle[Symbol.dispose]();
});

/** The same bytes with their length in the header, and so many entries. */
function keysOf(bytes: Uint8Array, count: number): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeBigUInt64LE(BigInt(copy.length), 8);
  copy.writeBigUInt64LE(BigInt(count), COUNT_AT);
  return copy;
}

/** Where the parts of whole keys begin. */
function partsOf(bytes: Buffer): number[] {
  const parts: number[] = [];
  let at = COUNTS_AT;
  for (let left = Number(bytes.readBigUInt64LE(COUNT_AT)); left > 0; left--) {
    let count = Number(bytes.readBigUInt64LE(at));
    for (at += 8; count > 0; count--, at += PART_BYTES) parts.push(at);
  }
  assert.equal(at, bytes.length);
  return parts;
}

/** The Galois element of a rotation to the left, or to the right for a negative step: 3^step mod 2N. */
function galoisElement(step: number): number {
  let element = 1;
  for (let left = step < 0 ? degree / 2 + step : step; left > 0; left--) element = (3 * element) % (2 * degree);
  return element;
}

test("keys that are accepted keep the SHA-256 of all that was uploaded, uncompressed", () => {
  for (const seeded of [false, true]) {
    const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
    const [relin, galois] = [
      keys.relinKeys({ compression: "none", seeded }),
      keys.galoisKeys({ compression: "none", seeded }),
    ];
    for (const compression of COMPRESSIONS) {
      assert.equal(checkRelinKeys(levels, keys.relinKeys({ compression, seeded })).sha256, sha256(relin));
      assert.equal(checkGaloisKeys(levels, keys.galoisKeys({ compression, seeded })).sha256, sha256(galois));
    }
  }
});

for (const [name, check, plain, starts] of [
  [
    "relinearization keys",
    (data: Uint8Array) => checkRelinKeys(levels, data),
    keys.relinKeys({ compression: "none" }),
    partsOf,
  ],
  [
    "Galois keys",
    (data: Uint8Array) => checkGaloisKeys(levels, data),
    keys.galoisKeys({ compression: "none" }),
    partsOf,
  ],
  [
    "a public key",
    (data: Uint8Array) => {
      checkPublicKey(levels, data);
    },
    maker.publicKey("none"),
    () => [0],
  ],
] as const) {
  test(`${name} of which any part shows the secret, modulo one prime or all, are refused`, () => {
    const revealing = { name: "FheError", reason: "KEYS_MALFORMED", message: /hides nothing/ };
    for (const start of starts(plain)) {
      const second = start + 113 + COMPONENT_BYTES;
      assert.throws(() => check(Buffer.from(plain).fill(0, second, second + COMPONENT_BYTES)), revealing);
      for (let prime = 0; prime < PRIMES; prime++) {
        const from = second + 8 * degree * prime;
        assert.throws(() => check(Buffer.from(plain).fill(0, from, from + 8 * degree)), revealing);
        // One residue that is not zero hides it again.
        check(Buffer.from(plain).fill(0, from, from + 8 * (degree - 1)));
      }
    }
  });
}

test("keys of other parameters are told from damaged ones", () => {
  const others = stranger.makeKeys([1]);
  const mismatch = { name: "FheError", reason: "KEYS_MISMATCH", message: /other encryption parameters/ };
  for (const compression of COMPRESSIONS) {
    assert.throws(() => checkRelinKeys(levels, others.relinKeys({ compression })), mismatch);
    assert.throws(() => checkGaloisKeys(levels, others.galoisKeys({ compression, seeded: true })), mismatch);
    assert.throws(() => {
      checkPublicKey(levels, stranger.publicKey(compression));
    }, mismatch);
  }
});

for (const seeded of [false, true]) {
  test(`of Galois keys ${seeded ? "with seeds" : "whole"} exactly those of use reach SEAL, and they rotate by their steps`, () => {
    const wanted = [1, 2, 4, 64, 1024];
    const uploaded = maker.makeKeys([4, -1, 1, 3, 2, 64, -2, 1024, 5, 0]);
    const { bytes, rotationSteps } = checkGaloisKeys(levels, uploaded.galoisKeys({ seeded }));
    assert.deepEqual(rotationSteps, wanted);
    using galoisKeys = new seal.GaloisKeys();
    galoisKeys.loadFromArray(context, bytes);
    assert.deepEqual(
      [galoisKeys.size(), ...wanted.map((step) => galoisKeys.hasKey(galoisElement(step)))],
      [wanted.length, ...wanted.map(() => true)],
    );
    using sealEvaluator = new seal.Evaluator(context);
    const slots = Array.from({ length: degree / 2 }, (_, i) => (i % 97) / 97);
    using ciphertext = evaluator.open(maker.ciphertext(slots));
    using rotated = new seal.Ciphertext();
    for (const step of wanted) {
      sealEvaluator.rotateVector(ciphertext, step, galoisKeys, rotated);
      maker.decryptSlots(evaluator.save(rotated)).forEach((slot, i) => {
        // (m): 5.2e-6 at most over 30 rotations. Neighbours differ by 1/97.
        assert.ok(Math.abs(slot - slots[(i + step) % slots.length]!) < 5e-5, `slot ${i} rotated by ${step}: ${slot}`);
      });
    }
    // SEAL makes a rotation by 5 of those by 4 and 1, but needs -1 for 3.
    for (const step of [3, 8, -2])
      assert.throws(() => {
        sealEvaluator.rotateVector(ciphertext, step, galoisKeys, rotated);
      });
  });
}

test("of relinearization keys only that of the square of the secret reaches SEAL", () => {
  const one = keys.relinKeys({ compression: "none" });
  const two = keysOf(Buffer.concat([one, one.subarray(COUNTS_AT)]), 2);
  const { bytes, sha256 } = checkRelinKeys(levels, two);
  assert.deepEqual(Buffer.from(bytes), one);
  assert.notEqual(sha256, checkRelinKeys(levels, one).sha256);
  using relinKeys = new seal.RelinKeys();
  relinKeys.loadFromArray(context, bytes);
  assert.deepEqual([relinKeys.size(), relinKeys.hasKey(2), relinKeys.hasKey(3)], [1, true, false]);
});

test("keys may have as many places as there are Galois elements, and no more", () => {
  const galois = keys.galoisKeys({ compression: "none" });
  const places = Number(galois.readBigUInt64LE(COUNT_AT));
  const withPlaces = (count: number): Buffer =>
    keysOf(Buffer.concat([galois, Buffer.alloc(8 * (count - places))]), count);
  assert.deepEqual(checkGaloisKeys(levels, withPlaces(degree)).rotationSteps, [1, 2, 4]);
  for (const count of [degree + 1, 2 * degree])
    assert.throws(() => checkGaloisKeys(levels, withPlaces(count)), {
      reason: "KEYS_MALFORMED",
      message: /at most 4096/,
    });
});

test("keys without the one that all comparisons need are refused, and it is said which", () => {
  const empty = keysOf(keys.relinKeys({ compression: "none" }).subarray(0, COUNTS_AT), 0);
  assert.throws(() => checkRelinKeys(levels, empty), { reason: "KEYS_MALFORMED", message: /empty/ });
  assert.throws(() => checkRelinKeys(levels, Buffer.alloc(0)), { reason: "KEYS_MALFORMED" });
  for (const galois of [
    Buffer.alloc(0),
    empty,
    maker.makeKeys([2, 4]).galoisKeys(),
    maker.makeKeys([3, -1]).galoisKeys(),
  ]) {
    assert.throws(() => checkGaloisKeys(levels, galois), {
      name: "FheError",
      reason: "ROTATION_KEYS_MISSING",
      message: /2048 components/,
    });
  }
});

test("the rotations that are missing are named, and no others", () => {
  for (const have of [[], [2, 4], [2, 8, 1024]]) {
    const missing = Array.from({ length: 11 }, (_, k) => 2 ** k).filter((step) => !have.includes(step));
    const galois = have.length === 0 ? Buffer.alloc(0) : maker.makeKeys(have).galoisKeys();
    assert.throws(() => checkGaloisKeys(levels, galois), {
      reason: "ROTATION_KEYS_MISSING",
      message: new RegExp(`left by ${missing.join(", ")}, which`),
    });
  }
});
