import assert from "node:assert/strict";
import { createHash, randomInt } from "node:crypto";
import { test } from "node:test";
import { RingKernel, parameterSet } from "@veilface/fhe";
import fc from "fast-check";
import { ClientError } from "../../../client/errors.ts";
import { KeyCiphers } from "../../../client/keys/key-ciphers.ts";
import { KeyHolder } from "../../../client/keys/key-holder.ts";
import * as main from "../../../client/index.ts";
import { toTiles } from "../../../fhe/ring/tiles.ts";
import { ciphersOf } from "../../../client/keys/key-holder.ts";

const N = 4096;
const ONE = Float64Array.from({ length: N }, (_, i) => Number(i === 0));

/** The encrypted product of two ciphertexts, by the kernel alone. */
function multiply(holder: KeyHolder, a: Uint8Array, b: Uint8Array): Uint8Array {
  const kernel = RingKernel.create(ciphersOf(holder).parameterSet.dataPrimes, { probes: 1, pieces: 1 });
  kernel.loadProbes([toTiles([kernel.unpack(b)])]);
  return kernel.pack(kernel.matchBlock([toTiles([kernel.unpack(a)])])[0]!);
}

function rms(values: Float64Array): number {
  return Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);
}

for (const name of ["PACKED_N4096_Q60", "PACKED_N4096_Q30"] as const) {
  test(`what ${name} encrypts, times an encrypted constant, decrypts to itself with the noise of symmetric encryption`, async () => {
    using holder = await KeyHolder.create(name);
    const scale = 4096;
    // Without structure, so that the noise it is multiplied with keeps its deviation.
    const coefficients = Float64Array.from({ length: N }, () => randomInt(-512, 512));
    const product = multiply(
      holder,
      ciphersOf(holder).encryptPolynomial(coefficients),
      ciphersOf(holder).encryptPolynomial(ONE.map((x) => x * scale)),
    );
    const errors = ciphersOf(holder)
      .decryptProduct("PACKED_RESIDUES", product)
      .map((x, i) => x / scale - coefficients[i]!);
    // The constant's noise meets all coefficients, the coefficients' noise the constant: both of deviation 3.2.
    const expected = 3.2 * Math.hypot((rms(coefficients) * Math.sqrt(N)) / scale, 1);
    assert.ok(Math.abs(rms(errors) / expected - 1) < 0.15, `deviation ${rms(errors)}, expected ${expected}`);
  });
}

test("two encryptions of one polynomial share no residue pattern", async () => {
  using holder = await KeyHolder.create();
  const [a, b] = [ciphersOf(holder).encryptPolynomial(ONE), ciphersOf(holder).encryptPolynomial(ONE)];
  const equal = a.filter((byte, i) => byte === b[i]).length / a.length;
  assert.ok(equal < 0.01, `${equal} of the bytes are equal, where chance gives 1/256`);
});

test("a context id is the SHA-256 of the parameter set's name and the key id", async () => {
  using holder = await KeyHolder.create("PACKED_N4096_Q30");
  const content = `veilface.v1 packed PACKED_N4096_Q30 ${Buffer.from(holder.keyId).toString("hex")}\n`;
  assert.equal(holder.contextId, createHash("sha256").update(content).digest("hex"));
});

test("a key holder made from exported key material decrypts what the first one encrypted, and names the same ids", async () => {
  using first = await KeyHolder.create("PACKED_N4096_Q30");
  using second = await KeyHolder.fromSecretKey(first.exportSecretKeyUnprotected());
  assert.equal(second.contextId, first.contextId);
  assert.equal(second.pseudonym("photo", "ada"), first.pseudonym("photo", "ada"));
  const scaled = ONE.map((x) => x * 4096);
  const product = multiply(
    first,
    ciphersOf(first).encryptPolynomial(scaled),
    ciphersOf(first).encryptPolynomial(scaled),
  );
  assert.ok(Math.abs(ciphersOf(second).decryptProduct("PACKED_RESIDUES", product)[0]! / 4096 ** 2 - 1) < 0.01);
});

test("under another key a product decrypts to noise as large as the modulus", async () => {
  using holder = await KeyHolder.create("PACKED_N4096_Q30");
  using other = await KeyHolder.create("PACKED_N4096_Q30");
  const product = multiply(holder, ciphersOf(holder).encryptPolynomial(ONE), ciphersOf(holder).encryptPolynomial(ONE));
  const garbage = ciphersOf(other).decryptProduct("PACKED_RESIDUES", product);
  const uniform = parameterSet("PACKED_N4096_Q30").dataPrimes[0]! / Math.sqrt(12);
  assert.ok(Math.abs(rms(garbage) / uniform - 1) < 0.1, `deviation ${rms(garbage)}, uniform residues have ${uniform}`);
});

test("bytes that are not a secret key, or one of another parameter set, are refused", async () => {
  using holder = await KeyHolder.create("PACKED_N4096_Q30");
  const material = holder.exportSecretKeyUnprotected();
  const isRefused = (error: unknown): boolean => error instanceof ClientError && error.reason === "KEY_FILE_INVALID";
  await assert.rejects(KeyHolder.fromSecretKey({ ...material, secretKey: new Uint8Array(100) }), isRefused);
  await assert.rejects(
    KeyHolder.fromSecretKey({ ...material, secretKey: material.secretKey.subarray(0, 5000) }),
    isRefused,
  );
  await assert.rejects(KeyHolder.fromSecretKey({ ...material, parameterSet: "PACKED_N4096_Q60" }), isRefused);
});

test("pseudonyms differ with the key, with every part and with where parts are cut", async () => {
  using holder = await KeyHolder.create("PACKED_N4096_Q30");
  using other = await KeyHolder.create("PACKED_N4096_Q30");
  assert.notEqual(holder.pseudonym("a"), other.pseudonym("a"));
  const parts = fc.array(fc.string({ maxLength: 4 }), { maxLength: 3 });
  fc.assert(
    fc.property(parts, parts, (a, b) => {
      assert.equal(
        holder.pseudonym(...a) === holder.pseudonym(...b),
        a.length === b.length && a.every((part, i) => part === b[i]),
      );
    }),
  );
});

test("a key holder names, exports and clears its key, and what the key encrypts with is not on it", async () => {
  using holder = await KeyHolder.create();
  const ofPrototype = Object.getOwnPropertyNames(KeyHolder.prototype).filter((name) => name !== "constructor");
  assert.deepEqual([...Object.keys(holder), ...ofPrototype].sort(), [
    "contextId",
    "exportSecretKeyUnprotected",
    "keyId",
    "pseudonym",
  ]);
  const ofClass = Object.getOwnPropertyNames(KeyHolder).filter(
    (name) => !["length", "name", "prototype"].includes(name),
  );
  assert.deepEqual(ofClass.sort(), ["create", "fromSecretKey"]);
  assert.ok(!("ciphersOf" in main) && ciphersOf(holder) instanceof KeyCiphers);
});
