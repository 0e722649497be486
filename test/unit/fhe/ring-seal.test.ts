import assert from "node:assert/strict";
import { test } from "node:test";
import initialize from "node-seal";
import { DEGREE as N } from "@veilface/fhe";
import { RingKernel } from "../../../fhe/ring/ring-kernel.ts";
import { toTiles } from "../../../fhe/ring/tiles.ts";
import { negacyclicProduct, PRIMES, randomSource } from "./ring-oracle.ts";

// SEAL at the default parameter set. Uncompressed objects are a header and little-endian u64 words.
const PLAINTEXT_HEADER = 88;
const CIPHERTEXT_HEADER = 113;
const NOISE_BOUND = 8 * 3.2;
const seal = await initialize();
const parameters = new seal.EncryptionParameters(seal.SchemeType.ckks);
parameters.setPolyModulusDegree(N);
parameters.setCoeffModulus(seal.CoeffModulus.Create(N, Int32Array.of(30, 30, 20)));
const context = new seal.SEALContext(parameters, true, seal.SecLevelType.tc128);
const keys = new seal.KeyGenerator(context);
const encryptor = new seal.Encryptor(context, keys.createPublicKey(), keys.secretKey());
const decryptor = new seal.Decryptor(context, keys.secretKey());
const evaluator = new seal.Evaluator(context);
const encoder = new seal.CKKSEncoder(context);
const kernel = RingKernel.create(PRIMES, { probes: 1, pieces: 4 });
type Ciphertext = InstanceType<typeof seal.Ciphertext>;
type Plaintext = InstanceType<typeof seal.Plaintext>;

function words(bytes: Uint8Array, header: number): Uint32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset + header, bytes.byteLength - header);
  return Uint32Array.from({ length: view.byteLength / 8 }, (_, i) => Number(view.getBigUint64(8 * i, true)));
}

function withWords(bytes: Uint8Array, header: number, residues: Uint32Array): Uint8Array {
  const copy = bytes.slice();
  const view = new DataView(copy.buffer, header);
  residues.forEach((residue, i) => {
    view.setBigUint64(8 * i, BigInt(residue), true);
  });
  return copy;
}

// SEAL's own types leave the bytes as any.
const saved = (object: Ciphertext | Plaintext): Uint8Array => object.saveToArray(seal.ComprModeType.none) as Uint8Array;
const residuesOf = (ciphertext: Ciphertext): Uint32Array => words(saved(ciphertext), CIPHERTEXT_HEADER);
const plaintextResidues = (plaintext: Plaintext): Uint32Array => words(saved(plaintext), PLAINTEXT_HEADER);

function sealEncoded(value: number, scale: number): Plaintext {
  const plaintext = new seal.Plaintext();
  encoder.encode(
    Float64Array.from({ length: N / 2 }, (_, i) => (i % 7) * value),
    scale,
    plaintext,
  );
  return plaintext;
}

function encrypt(coefficients: Float64Array): Ciphertext {
  using template = sealEncoded(1, 2 ** 20);
  const bytes = withWords(saved(template), PLAINTEXT_HEADER, kernel.encode(coefficients));
  using plaintext = new seal.Plaintext();
  plaintext.loadFromArray(context, bytes);
  const ciphertext = new seal.Ciphertext();
  encryptor.encryptSymmetric(plaintext, ciphertext);
  return ciphertext;
}

function decrypt(ciphertext: Ciphertext): Float64Array {
  using plaintext = new seal.Plaintext();
  decryptor.decrypt(ciphertext, plaintext);
  return kernel.decode(plaintextResidues(plaintext));
}

function coefficientsBelow(limit: number, seed: number): Float64Array {
  const next = randomSource(seed);
  return Float64Array.from({ length: N }, () => Math.trunc((next() / 2 ** 31 - 1) * limit));
}

test("SEAL picks the primes the other tests use", () => {
  assert.deepEqual(
    Array.from(seal.jsArrayFromVecModulus(parameters.coeffModulus()) as BigUint64Array, Number).slice(0, 2),
    [...PRIMES],
  );
});

test("a plaintext that SEAL encoded decodes to small integers and encodes to the same residues again", () => {
  using plaintext = sealEncoded(0.3, 2 ** 20);
  const residues = plaintextResidues(plaintext);
  const coefficients = kernel.decode(residues);
  // |coefficient| <= scale * largest value; a wrong root order would give values all over (-Q/2, Q/2), 2^59 wide.
  assert.ok(coefficients.every((c) => Number.isInteger(c) && Math.abs(c) <= 2 ** 20 * 1.8));
  assert.ok(coefficients.some((c) => Math.abs(c) > 2 ** 15));
  assert.deepEqual(kernel.encode(coefficients), residues);
});

test("SEAL decrypts what it encrypted of our encoding, up to fresh noise", () => {
  const coefficients = coefficientsBelow(2 ** 40, 3);
  using ciphertext = encrypt(coefficients);
  const decrypted = decrypt(ciphertext);
  assert.ok(decrypted.every((c, i) => Math.abs(c - coefficients[i]!) < NOISE_BOUND));
});

test("the summed products are residue for residue those of SEAL's multiply and add", () => {
  const templates = [1, 2, 3, 4].map((seed) => encrypt(coefficientsBelow(2 ** 20, seed)));
  const probes = [5, 6, 7, 8].map((seed) => encrypt(coefficientsBelow(2 ** 20, seed)));
  using expected = new seal.Ciphertext();
  evaluator.multiply(templates[0]!, probes[0]!, expected);
  for (let i = 1; i < 4; i++) {
    using product = new seal.Ciphertext();
    evaluator.multiply(templates[i]!, probes[i]!, product);
    evaluator.add(expected, product, expected);
  }
  kernel.loadProbes([toTiles(probes.map(residuesOf))]);
  const [products] = kernel.matchBlock([toTiles(templates.map(residuesOf))]);
  assert.deepEqual(products, residuesOf(expected));
  for (const ciphertext of [...templates, ...probes]) ciphertext.delete();
});

test("SEAL decrypts the kernel's product to the negacyclic product, up to the noise times the inputs", () => {
  const sparse = new Float64Array(N);
  sparse.set([2 ** 20, -(2 ** 19), 12_345]);
  sparse[4000] = 2 ** 18;
  const dense = coefficientsBelow(2 ** 20, 9);
  using template = encrypt(sparse);
  using probe = encrypt(dense);
  using product = new seal.Ciphertext();
  evaluator.multiply(template, probe, product);
  kernel.loadProbes([toTiles([residuesOf(probe)])]);
  const [residues] = kernel.matchBlock([toTiles([residuesOf(template)])]);
  using reply = new seal.Ciphertext();
  reply.loadFromArray(context, withWords(saved(product), CIPHERTEXT_HEADER, residues!));
  const decrypted = decrypt(reply);
  // Each coefficient gathers noise * dense (4096 terms) and sparse * noise: 3.2 * sqrt(4096) * 2^20 = 2^27.7 standard,
  // 2^31 is ten of them.
  negacyclicProduct(sparse, dense).forEach((expected, i) => {
    assert.ok(Math.abs(decrypted[i]! - Number(expected)) < 2 ** 31);
  });
});

test("SEAL's sum of ciphertexts is the kernel's sum", () => {
  const parts = [11, 12, 13].map((seed) => encrypt(coefficientsBelow(2 ** 30, seed)));
  using expected = new seal.Ciphertext();
  evaluator.add(parts[0]!, parts[1]!, expected);
  evaluator.add(expected, parts[2]!, expected);
  assert.deepEqual(kernel.sum(parts.map(residuesOf)), residuesOf(expected));
  for (const part of parts) part.delete();
});
