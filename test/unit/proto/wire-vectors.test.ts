import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import initialize from "node-seal";
import type { SEALContext } from "node-seal";
import { RingKernel, parameterSet, toTiles } from "@veilface/fhe";
import { KeyHolder } from "../../../client/keys/key-holder.ts";
import { PackedCrypto } from "../../../client/keys/packed-crypto.ts";
import { allVectors } from "../../../scripts/vectors/all-vectors.ts";
import type { PackedVector } from "../../../scripts/vectors/packed-vector.ts";
import type { NttVector, SmallBlock } from "../../../scripts/vectors/ring-vectors.ts";
import { layOutJson } from "../../../scripts/vectors/lay-out-json.ts";
import { pack, unpack, words } from "../../support/independent/independent-crypto.ts";
import { IndependentRing, invert } from "../../../scripts/vectors/independent-ring.ts";
import { PACKED_VECTORS, bytesOf, readPackedVector, readVector, secretOf } from "../../vectors/read-vectors.ts";
import { negacyclicProduct } from "../fhe/ring-oracle.ts";
import { ciphersOf } from "../../../client/keys/key-holder.ts";

const FOLDER = join(import.meta.dirname, "..", "..", "vectors");
const DEGREE = 4096;
const PLAINTEXT_WORDS_AT = 88;
const CIPHERTEXT_WORDS_AT = 113;
const seal = await initialize();

/** SEAL's coefficient modulus: the data primes, then the reserved one. */
const MODULUS = {
  PACKED_N4096_Q60: [1073668097n, 1073692673n, 1032193n],
  PACKED_N4096_Q30: [1073692673n, 1073668097n],
} as const;

function sealContext({ parameterSet: name }: PackedVector): SEALContext {
  using parameters = new seal.EncryptionParameters(seal.SchemeType.ckks);
  using primes = seal.vecFromArrayModulus(MODULUS[name].map((prime) => new seal.Modulus(prime)));
  parameters.setPolyModulusDegree(DEGREE);
  parameters.setCoeffModulus(primes);
  return new seal.SEALContext(parameters, true, seal.SecLevelType.tc128);
}

/** SEAL's bytes of the vector's secret key, as docs/wire-format.md lays them out. */
function sealSecretKey(vector: PackedVector, context: SEALContext): Uint8Array {
  const secret = secretOf(vector).map(BigInt);
  const values = MODULUS[vector.parameterSet].flatMap((prime) => new IndependentRing(prime).forward(secret));
  const bytes = Buffer.alloc(PLAINTEXT_WORDS_AT + 8 * values.length);
  using parmsId = context.keyParmsId();
  const header = (at: number, size: number): void => {
    bytes.set([0x5e, 0xa1, 16, 4, 1, 0, 0, 0], at);
    bytes.writeBigUInt64LE(BigInt(size), at + 8);
  };
  header(0, bytes.length);
  bytes.set(Buffer.from((parmsId.values() as BigUint64Array).slice().buffer), 16);
  bytes.writeBigUInt64LE(BigInt(values.length), 48);
  bytes.writeDoubleLE(1, 56);
  header(64, 24 + 8 * values.length);
  bytes.writeBigUInt64LE(BigInt(values.length), 80);
  values.forEach((value, i) => bytes.writeBigUInt64LE(value, PLAINTEXT_WORDS_AT + 8 * i));
  return Uint8Array.from(bytes);
}

/** A SEAL ciphertext with other values of the same number. */
function withWords(bytes: Buffer, values: readonly bigint[]): Uint8Array {
  const copy = Buffer.from(bytes);
  values.forEach((value, i) => copy.writeBigUInt64LE(value, CIPHERTEXT_WORDS_AT + 8 * i));
  return Uint8Array.from(copy);
}

/** c0 + c1 s + c2 s^2 and centring, step by step as docs/wire-format.md has it. */
function decryptByThePage(vector: PackedVector, data: Buffer): bigint[] {
  const secret = secretOf(vector).map(BigInt);
  const primes = MODULUS[vector.parameterSet].slice(0, -1);
  const values = unpack(data);
  const components = values.length / (primes.length * DEGREE);
  const rests = primes.map((prime, k) => {
    const ring = new IndependentRing(prime);
    const s = ring.forward(secret);
    const valueOf = (component: number, i: number): bigint => values[(component * primes.length + k) * DEGREE + i]!;
    return ring.inverse(
      s.map((x, i) => (valueOf(0, i) + valueOf(1, i) * x + (components === 3 ? valueOf(2, i) * x * x : 0n)) % prime),
    );
  });
  return Array.from({ length: DEGREE }, (_, i) =>
    joinPrimes(
      primes,
      rests.map((rest) => rest[i]!),
    ),
  );
}

function joinPrimes([q0, q1]: readonly bigint[], [r0, r1]: readonly bigint[]): bigint {
  const q = q0! * (q1 ?? 1n);
  const x = q1 === undefined ? r0! : r0! + q0! * (((((r1! - r0!) * invert(q0! % q1, q1)) % q1) + q1) % q1);
  return x > q / 2n ? x - q : x;
}

test("the files are what npm run vectors makes, and less than a megabyte", async () => {
  for (const [name, vector] of await allVectors())
    assert.equal(
      readFileSync(join(FOLDER, name), "utf8"),
      layOutJson(vector),
      `${name} is out of date: npm run vectors`,
    );
  const sizes = readdirSync(FOLDER).map((name) => statSync(join(FOLDER, name)).size);
  assert.ok(sizes.reduce((sum, size) => sum + size) < 1e6);
});

for (const name of PACKED_VECTORS) {
  const vector = readPackedVector(name);
  const { template, probe, product, space, stride } = vector;
  const [templateBytes, probeBytes, productBytes] = [template, probe, product].map(bytesOf) as [Buffer, Buffer, Buffer];
  const primes = MODULUS[vector.parameterSet].slice(0, -1);
  const context = sealContext(vector);
  const secretKey = sealSecretKey(vector, context);
  const keyHolder = await KeyHolder.fromSecretKey({
    parameterSet: vector.parameterSet,
    keyId: Buffer.from(vector.keyId, "hex"),
    secretKey,
  });
  after(() => {
    keyHolder[Symbol.dispose]();
    context.delete();
  });

  test(`${name}: lengths and digests are those of the bytes, the context id that of the key id, and the key is ternary`, () => {
    for (const { byteLength, sha256, packedResidues } of [template, probe, product]) {
      const bytes = Buffer.from(packedResidues, "base64");
      assert.deepEqual([bytes.length, createHash("sha256").update(bytes).digest("hex")], [byteLength, sha256]);
    }
    assert.equal(
      createHash("sha256").update(`veilface.v1 packed ${vector.parameterSet} ${vector.keyId}\n`).digest("hex"),
      vector.contextId,
    );
    assert.equal(keyHolder.contextId, vector.contextId);
    // Thirds of 4096, six standard deviations (30) around them.
    for (const digit of [-1, 0, 1])
      assert.ok(Math.abs(secretOf(vector).filter((c) => c === digit).length - 4096 / 3) < 181);
  });

  test(`${name}: the key holder decrypts the product to its coefficients and to the distance`, () => {
    const coefficients = ciphersOf(keyHolder).decryptProduct("PACKED_RESIDUES", productBytes);
    assert.deepEqual([...coefficients], product.coefficients.map(Number));
    const crypto = new PackedCrypto(keyHolder, space);
    const { squaredNorm } = crypto.encryptProbe(probe.embedding, []);
    assert.equal(
      crypto.decryptDistances(stride, { encoding: "PACKED_RESIDUES", data: productBytes }, squaredNorm)[0],
      product.distance,
    );
    assert.ok(
      Math.abs(product.distance - vector.plainDistance) < (vector.parameterSet === "PACKED_N4096_Q60" ? 1e-7 : 1e-2),
    );
  });

  test(`${name}: the key holder decrypts both ciphertexts to their coefficients, and SEAL's bytes to the same`, () => {
    for (const { coefficients, packedResidues } of [template, probe]) {
      const decrypted = ciphersOf(keyHolder).decryptPolynomial(
        "PACKED_RESIDUES",
        Buffer.from(packedResidues, "base64"),
      );
      assert.ok(decrypted.every((c, i) => Math.abs(c - (coefficients[i] ?? 0)) <= 21));
    }
    const loose = ciphersOf(keyHolder).decryptPolynomial("SEAL", Uint8Array.from(Buffer.from(template.seal, "base64")));
    assert.deepEqual(loose, ciphersOf(keyHolder).decryptPolynomial("PACKED_RESIDUES", templateBytes));
  });

  test(`${name}: the coefficients are the embeddings' components times the scales, the probe's in reverse`, () => {
    const { scales } = vector;
    const unit = (embedding: readonly number[]): number =>
      space.metric === "cosine" ? Math.hypot(...embedding) : space.normBound;
    template.embedding.forEach((x, k) => {
      assert.ok(Math.abs((scales.template * x) / unit(template.embedding) - template.coefficients[k]!) < 0.501);
    });
    probe.embedding.forEach((x, k) => {
      assert.ok(Math.abs((scales.probe * x) / unit(probe.embedding) - probe.coefficients[stride - 1 - k]!) < 0.501);
    });
  });

  test(`${name}: the kernel multiplies template by probe to the product, bit for bit`, () => {
    const kernel = RingKernel.create(parameterSet(vector.parameterSet).dataPrimes, { probes: 1, pieces: 1 });
    kernel.loadProbes([toTiles([kernel.unpack(probeBytes)])]);
    const [residues] = kernel.matchBlock([toTiles([kernel.unpack(templateBytes)])]);
    assert.ok(Buffer.from(kernel.pack(residues!)).equals(productBytes));
  });

  test(`${name}: SEAL multiplies template by probe to the product, bit for bit`, () => {
    const sealTemplate = Buffer.from(template.seal, "base64");
    assert.deepEqual(words(sealTemplate, CIPHERTEXT_WORDS_AT), unpack(templateBytes));
    using first = new seal.Ciphertext();
    using second = new seal.Ciphertext();
    using result = new seal.Ciphertext();
    first.loadFromArray(context, Uint8Array.from(sealTemplate));
    second.loadFromArray(context, withWords(sealTemplate, unpack(probeBytes)));
    using evaluator = new seal.Evaluator(context);
    evaluator.multiply(first, second, result);
    assert.ok(
      pack(words(result.saveToArray(seal.ComprModeType.none) as Uint8Array, CIPHERTEXT_WORDS_AT)).equals(productBytes),
    );
  });

  test(`${name}: plain whole-number arithmetic multiplies to the product and decrypts it to exactly its coefficients`, () => {
    const [t, p] = [unpack(templateBytes), unpack(probeBytes)];
    const half = t.length / 2;
    const primeOf = (i: number): bigint => primes[Math.floor(i / DEGREE)]!;
    const component = (value: (i: number) => bigint): bigint[] =>
      Array.from({ length: half }, (_, i) => value(i) % primeOf(i));
    const expected = [
      ...component((i) => t[i]! * p[i]!),
      ...component((i) => t[i]! * p[half + i]! + t[half + i]! * p[i]!),
      ...component((i) => t[half + i]! * p[half + i]!),
    ];
    assert.ok(pack(expected).equals(productBytes));
    assert.deepEqual(decryptByThePage(vector, productBytes).map(String), product.coefficients);
  });

  test(`${name}: all coefficients of the product are the negacyclic product of the plaintexts, up to noise`, () => {
    const dense = ({ coefficients }: { coefficients: readonly number[] }): Float64Array =>
      Float64Array.from({ length: DEGREE }, (_, i) => coefficients[i] ?? 0);
    const exact = negacyclicProduct(dense(template), dense(probe));
    const norm = Math.max(Math.hypot(...template.coefficients), Math.hypot(...probe.coefficients));
    // Each coefficient gathers noise * probe + template * noise (+ noise * noise): 3.24 * norm * sqrt(2) standard, ten
    // of them.
    product.coefficients.forEach((c, i) => {
      assert.ok(Math.abs(Number(BigInt(c) - exact[i]!)) < 46 * norm + 21 * 21 * DEGREE);
    });
  });
}

test("the transforms are those of the kernel for data primes, and those of SEAL's secret key for the reserved prime", () => {
  const vectors = readVector("ntt.json") as NttVector[];
  for (const { prime, psi, inversePsi, inverseDegree, transforms } of vectors) {
    const q = BigInt(prime);
    assert.deepEqual([(BigInt(psi) * BigInt(inversePsi)) % q, (BigInt(DEGREE) * BigInt(inverseDegree)) % q], [1n, 1n]);
    for (const { coefficients, first, last, sha256 } of transforms) {
      const dense = Float64Array.from({ length: DEGREE }, (_, i) => coefficients[i] ?? 0);
      const values =
        prime > 2 ** 29 ? RingKernel.create([prime]).encode(dense) : evaluateEverywhere(coefficients, BigInt(psi), q);
      assert.deepEqual([[...values.subarray(0, 8)], values.at(-1)], [first, last]);
      assert.equal(createHash("sha256").update(new Uint8Array(values.buffer)).digest("hex"), sha256);
    }
  }
});

/** F[i] = f(psi^(2 br(i) + 1)), by the definition. */
function evaluateEverywhere(coefficients: Readonly<Record<string, number>>, psi: bigint, q: bigint): Uint32Array {
  const powers = [1n];
  while (powers.length < 2 * DEGREE) powers.push((powers.at(-1)! * psi) % q);
  return Uint32Array.from({ length: DEGREE }, (_, i) => {
    const exponent = 2 * Number.parseInt(i.toString(2).padStart(12, "0").split("").reverse().join(""), 2) + 1;
    const sum = Object.entries(coefficients).reduce(
      (total, [power, c]) => total + BigInt(c) * powers[(Number(power) * exponent) % (2 * DEGREE)]!,
      0n,
    );
    return Number(((sum % q) + q) % q);
  });
}

test("the small block's product is the sum of the negacyclic products, and holds every inner product at its place", () => {
  const block = readVector("small-block.json") as SmallBlock;
  const dense = (coefficients: readonly number[]): Float64Array =>
    Float64Array.from({ length: DEGREE }, (_, i) => coefficients[i] ?? 0);
  const products = block.templatePolynomials.map((polynomial, g) =>
    negacyclicProduct(dense(polynomial), dense(block.probePolynomials[g]!)),
  );
  const sums = Array.from({ length: DEGREE }, (_, i) =>
    Number(products.reduce((sum, polynomial) => sum + polynomial[i]!, 0n)),
  );
  assert.deepEqual(sums.slice(0, block.product.length), block.product);
  assert.ok(sums.slice(block.product.length).every((c) => c === 0));
  const scores = block.templates.map((x) => x.reduce((sum, component, k) => sum + component * block.probe[k]!, 0));
  assert.deepEqual([block.scores, block.scoreIndices.map((at) => sums[at])], [scores, scores]);
});
