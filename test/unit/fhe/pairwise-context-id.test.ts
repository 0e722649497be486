import assert from "node:assert/strict";
import { after, test } from "node:test";
import fc from "fast-check";
import {
  PairwiseEvaluator,
  checkGaloisKeys,
  checkRelinKeys,
  loadPublicSeal,
  pairwiseContextId,
  readEncryptionParameters,
  withScale,
} from "@veilface/fhe";
import type { CheckedKeys, PairwiseParameters } from "@veilface/fhe";
import { COMPRESSIONS, SMALL, TensealMaker } from "../../support/independent/tenseal-maker.ts";

// printf relin | sha256sum, and printf galois | sha256sum
const RELIN_SHA256 = "a972b785ee379260874e3ea4beb0dd3e879137efdb5d02be3d78345061fd97c6";
const GALOIS_SHA256 = "4afeeeceb306e41212c123d29cc16ff5cf56d5d8d62d98f0fb9c51e313dc7aa3";

const parameters: PairwiseParameters = {
  degree: 4096,
  primes: [2n, 3n, 5n],
  encoded: Uint8Array.of(1, 2, 3),
  scale: 2 ** 40,
};
const keysOf = (sha256: string): CheckedKeys => ({ bytes: new Uint8Array(), sha256 });
const idOf = (overrides: Partial<PairwiseParameters> = {}, relin = RELIN_SHA256, galois = GALOIS_SHA256): string =>
  pairwiseContextId({ ...parameters, ...overrides }, keysOf(relin), keysOf(galois));

test("the id of a pairwise context is the SHA-256 of one line of ASCII text, as sha256sum gives it", () => {
  // The third word is what printf '\1\2\3' | sha256sum gives, the fourth is 2^40 as a big-endian double.
  // printf 'veilface.v1 pairwise 039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81 4270000000000000
  // a972b785ee379260874e3ea4beb0dd3e879137efdb5d02be3d78345061fd97c6
  // 4afeeeceb306e41212c123d29cc16ff5cf56d5d8d62d98f0fb9c51e313dc7aa3\n' | sha256sum
  assert.equal(idOf(), "ab243d8d776fffdb3e1461f52e429d751f92229ff9104358e0472061a1683d65");
});

test("each of its four parts makes another id, and so does their order", () => {
  const ids = [
    idOf(),
    idOf({ encoded: Uint8Array.of(1, 2, 4) }),
    idOf({ encoded: new Uint8Array() }),
    idOf({ scale: 2 ** 40 * (1 + 2 ** -52) }),
    idOf({ scale: 2 ** 39 }),
    idOf({}, GALOIS_SHA256, RELIN_SHA256),
    idOf({}, RELIN_SHA256, RELIN_SHA256),
    idOf({}, GALOIS_SHA256, GALOIS_SHA256),
  ];
  assert.equal(new Set(ids).size, ids.length);
  for (const id of ids) assert.match(id, /^[0-9a-f]{64}$/);
});

test("nothing but those parts makes another id", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 20 }),
      fc.array(fc.bigInt(2n, 2n ** 60n)),
      fc.integer(),
      (bytes, primes, degree) => {
        const relin: CheckedKeys = { bytes, sha256: RELIN_SHA256 };
        assert.equal(
          pairwiseContextId({ ...parameters, primes, degree }, relin, { ...relin, sha256: GALOIS_SHA256 }),
          idOf(),
        );
      },
    ),
  );
});

const maker = await TensealMaker.create(SMALL);
const seal = await loadPublicSeal();
const evaluator = new PairwiseEvaluator(
  seal,
  withScale(readEncryptionParameters(seal, maker.encryptionParameters()), SMALL.scale),
);
after(() => {
  for (const handle of [evaluator, maker]) handle[Symbol.dispose]();
});

test("the id of real keys is that of an independent calculation, in every compression; keys with seeds have another", () => {
  const keys = maker.makeKeys([1, 2, 5, -1]);
  const { levels } = evaluator;
  const ids = [false, true].map((seeded) => {
    const [relin, galois] = [
      keys.relinKeys({ compression: "none", seeded }),
      keys.galoisKeys({ compression: "none", seeded }),
    ];
    const expected = maker.contextId(relin, galois);
    for (const compression of COMPRESSIONS) {
      const read = withScale(readEncryptionParameters(seal, maker.encryptionParameters(compression)), SMALL.scale);
      assert.equal(
        pairwiseContextId(
          read,
          checkRelinKeys(levels, keys.relinKeys({ compression, seeded })),
          checkGaloisKeys(levels, keys.galoisKeys({ compression, seeded })),
        ),
        expected,
      );
    }
    return expected;
  });
  assert.notEqual(ids[0], ids[1]);
});

test("Galois keys that are not kept make another id too: it is of all that was uploaded", () => {
  const keys = maker.makeKeys([1, 3]);
  const relin = checkRelinKeys(evaluator.levels, keys.relinKeys());
  const all = checkGaloisKeys(evaluator.levels, keys.galoisKeys());
  const kept = checkGaloisKeys(evaluator.levels, all.bytes);
  assert.deepEqual(Buffer.from(kept.bytes), Buffer.from(all.bytes));
  const [ofAll, ofKept] = [all, kept].map((galois) => pairwiseContextId(evaluator.levels.parameters, relin, galois));
  assert.notEqual(ofAll, ofKept);
});
