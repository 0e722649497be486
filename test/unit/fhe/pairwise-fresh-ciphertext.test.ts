import assert from "node:assert/strict";
import { after, mock, test } from "node:test";
import { FheError, PairwiseEvaluator, loadPublicSeal, readEncryptionParameters, withScale } from "@veilface/fhe";
import { checkFreshCiphertext } from "../../../fhe/pairwise/fresh-ciphertext.ts";
import { COMPRESSIONS, SMALL, TensealMaker } from "../../support/independent/tenseal-maker.ts";

const { degree, scale } = SMALL;
const DATA_PRIMES = SMALL.primeBits.length - 1;
const COMPONENT_BYTES = 8 * DATA_PRIMES * degree;
const COMPONENTS = [0.5, -0.25, 1];
// Places in an uncompressed Ciphertext.
const [PARMS_ID_AT, NTT_AT, COMPONENTS_AT, SCALE_AT, CORRECTION_AT, NESTED_AT, WORDS_AT] = [
  16, 48, 49, 73, 81, 89, 113,
] as const;

const seal = await loadPublicSeal();
const maker = await TensealMaker.create(SMALL);
const stranger = await TensealMaker.create({ ...SMALL, primeBits: [34, 35, 40], scale: 2 ** 31 });
const evaluator = new PairwiseEvaluator(
  seal,
  withScale(readEncryptionParameters(seal, maker.encryptionParameters()), scale),
);
const check = (data: Uint8Array): Uint8Array => checkFreshCiphertext(evaluator.levels, data);
const whole = maker.ciphertext(COMPONENTS, { compression: "none" });
after(() => {
  for (const handle of [evaluator, maker, stranger]) handle[Symbol.dispose]();
});

function patched(change: (bytes: Buffer) => unknown): Buffer {
  const bytes = Buffer.from(whole);
  change(bytes);
  return bytes;
}

function assertRefused(bytes: Uint8Array, reason: string, says: RegExp): void {
  assert.throws(
    () => check(bytes),
    (error) => error instanceof FheError && error.reason === reason && says.test(error.message),
    `${reason} ${says.source}`,
  );
}

/**
 * A ciphertext that says it has so many components, over the words of some and perhaps a seed, all headers to match.
 */
function assembled(components: number, words: Uint8Array, seed: Uint8Array = Buffer.alloc(0)): Buffer {
  const bytes = Buffer.concat([whole.subarray(0, WORDS_AT), words, seed]);
  bytes.writeBigUInt64LE(BigInt(bytes.length), 8);
  bytes.writeBigUInt64LE(BigInt(components), COMPONENTS_AT);
  bytes.writeBigUInt64LE(BigInt(WORDS_AT - NESTED_AT + words.length), NESTED_AT + 8);
  bytes.writeBigUInt64LE(BigInt(words.length / 8), WORDS_AT - 8);
  return bytes;
}

test("a fresh ciphertext of any form is given back uncompressed, and SEAL decrypts it to its components", () => {
  for (const compression of COMPRESSIONS) {
    for (const form of [{}, { symmetric: true }, { seeded: true }]) {
      const bytes = check(maker.ciphertext(COMPONENTS, { compression, ...form }));
      assert.equal(bytes[5], 0);
      maker
        .decryptSlots(bytes)
        .slice(0, 3)
        .forEach((slot, i) => {
          // (m): 1.2e-6 at most over 300 of them.
          assert.ok(Math.abs(slot - COMPONENTS[i]!) < 1e-5, `${slot - COMPONENTS[i]!}`);
        });
    }
  }
});

test("what is not a fresh ciphertext of the context is refused by its reason", () => {
  const words = whole.subarray(WORDS_AT);
  const [first, seed] = [
    words.subarray(0, COMPONENT_BYTES),
    maker.ciphertext([1], { compression: "none", seeded: true }).subarray(WORDS_AT + COMPONENT_BYTES),
  ];
  assert.deepEqual(assembled(2, words), whole);
  check(assembled(2, first, seed));
  for (const other of [
    assembled(1, first),
    assembled(2, first),
    assembled(2, words, seed),
    assembled(2, words.subarray(8)),
    assembled(3, words, seed),
    assembled(3, Buffer.concat([words, first])),
    assembled(0, Buffer.alloc(0)),
    assembled(2, Buffer.alloc(0), seed),
  ]) {
    assertRefused(other, "CIPHERTEXT_MALFORMED", /two components/);
  }
  assertRefused(
    patched((bytes) => bytes.writeUInt8(0, NTT_AT)),
    "CIPHERTEXT_MALFORMED",
    /NTT form/,
  );
  assertRefused(
    patched((bytes) => bytes.writeBigUInt64LE(2n, CORRECTION_AT)),
    "CIPHERTEXT_MALFORMED",
    /two components/,
  );
  assertRefused(
    patched((bytes) => bytes.fill(7, PARMS_ID_AT, NTT_AT)),
    "PARAMETER_SET_MISMATCH",
    /other parameters/,
  );
  assertRefused(stranger.ciphertext([1]), "PARAMETER_SET_MISMATCH", /ring degree 4096 and 2 primes/);
  // The public key is a ciphertext too, over all primes.
  assertRefused(maker.publicKey(), "PARAMETER_SET_MISMATCH", /3 primes/);
  assertRefused(maker.secretKey("none"), "CIPHERTEXT_MALFORMED", /./);
});

test("a ciphertext of any scale but the context's is refused", () => {
  const says = new RegExp(`scale is .*expected ${scale},`);
  for (const wrong of [scale * 2, scale * (1 + 2 ** -52), 1, 0, -scale, NaN, Infinity]) {
    assertRefused(
      patched((bytes) => bytes.writeDoubleLE(wrong, SCALE_AT)),
      "CIPHERTEXT_MALFORMED",
      says,
    );
  }
  assertRefused(maker.ciphertext([1], { scale: scale / 2 }), "CIPHERTEXT_MALFORMED", says);
});

test("a ciphertext that hides nothing, modulo one prime or all, is refused as transparent", () => {
  const second = WORDS_AT + COMPONENT_BYTES;
  for (let prime = 0; prime < DATA_PRIMES; prime++) {
    const from = second + 8 * degree * prime;
    assertRefused(
      patched((bytes) => bytes.fill(0, from, from + 8 * degree)),
      "CIPHERTEXT_TRANSPARENT",
      /encrypt it again/,
    );
    // One residue that is not zero hides it again.
    check(patched((bytes) => bytes.fill(0, from, from + 8 * (degree - 1))));
  }
  assertRefused(
    patched((bytes) => bytes.fill(0, second)),
    "CIPHERTEXT_TRANSPARENT",
    /encrypt it again/,
  );
});

test("a residue that is not below its prime, and a seed of no known kind, are refused by SEAL in our words", () => {
  const seeded = maker.ciphertext(COMPONENTS, { compression: "none", seeded: true });
  const seedKindAt = WORDS_AT + COMPONENT_BYTES + 16;
  for (const kind of [0, 3, 255]) {
    seeded.writeUInt8(kind, seedKindAt);
    assert.throws(() => evaluator.open(seeded), { name: "FheError", reason: "CIPHERTEXT_MALFORMED", message: /seed/ });
  }
  maker.primes.slice(0, DATA_PRIMES).forEach((prime, k) => {
    for (const [component, residue] of [
      [0, prime],
      [1, prime + 1n],
      [1, (1n << 64n) - 1n],
    ] as const) {
      const bytes = patched((copy) =>
        copy.writeBigUInt64LE(residue, WORDS_AT + component * COMPONENT_BYTES + 8 * degree * k),
      );
      assert.throws(() => evaluator.open(bytes), {
        name: "FheError",
        reason: "CIPHERTEXT_MALFORMED",
        message: /below its prime/,
      });
    }
  });
});

test("a ciphertext that is refused for its structure was never shown to SEAL", () => {
  const load = mock.method(
    seal.Ciphertext.prototype as { loadFromArray(context: unknown, data: unknown): void },
    "loadFromArray",
  );
  evaluator.open(whole).delete();
  assert.equal(load.mock.callCount(), 1);
  for (let at = 0; at < WORDS_AT; at++) {
    // The minor version and the reserved bytes of its two headers.
    if ([4, 6, 7].some((free) => at === free || at === NESTED_AT + free)) continue;
    assert.throws(() => evaluator.open(patched((bytes) => (bytes[at]! ^= 0x55))), FheError, `byte ${at}`);
  }
  assert.equal(load.mock.callCount(), 1);
  load.mock.restore();
});
