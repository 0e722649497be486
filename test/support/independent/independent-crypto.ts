// The key holder's half of the packed scheme, from the contract's comments alone: node-seal for sampling and
// decrypting, BigInt for the rest. Nothing of fhe/, client/ or generated code: if this works, the wire format is
// documented well enough.
import { createHash, randomBytes } from "node:crypto";
import initialize from "node-seal";
import type { Ciphertext, Encryptor, MainModule, Plaintext, SEALContext, SecretKey } from "node-seal";
import { DEGREE, IndependentRing, invert } from "../../../scripts/vectors/independent-ring.ts";
import { watchBytes } from "../leak-watch.ts";

export type SetName = "PACKED_N4096_Q60" | "PACKED_N4096_Q30";
/** How a ciphertext is written: packed residues, or SEAL's serialisation with one of its compressions. */
export type Form = "packed" | "none" | "zlib" | "zstd";

/** SEAL's coefficient modulus: the data primes, then the reserved one. */
const MODULUS: Readonly<Record<SetName, readonly bigint[]>> = {
  PACKED_N4096_Q60: [1073668097n, 1073692673n, 1032193n],
  PACKED_N4096_Q30: [1073692673n, 1073668097n],
};

const HEADER_BYTES = 16;
export const CIPHERTEXT_WORDS_AT = 113;
const PLAINTEXT_WORDS_AT = 88;
export const PACKED_POLYNOMIAL_BYTES = (DEGREE * 30) / 8;

const sealLoaded = initialize();

/** A key, its context and everything that is done with them. */
export class IndependentKey implements Disposable {
  readonly set: SetName;
  readonly keyId: Buffer;
  readonly contextId: string;
  readonly rings: readonly IndependentRing[];
  /** The product of the data primes. */
  readonly modulus: bigint;
  readonly #seal: MainModule;
  readonly #context: SEALContext;
  readonly #secretKey: SecretKey;
  readonly #encryptor: Encryptor;

  static async create(set: SetName = "PACKED_N4096_Q60"): Promise<IndependentKey> {
    return new IndependentKey(await sealLoaded, set);
  }

  private constructor(seal: MainModule, set: SetName) {
    this.#seal = seal;
    this.set = set;
    this.keyId = randomBytes(32);
    this.contextId = createHash("sha256")
      .update(`veilface.v1 packed ${set} ${this.keyId.toString("hex")}\n`)
      .digest("hex");
    using parameters = new seal.EncryptionParameters(seal.SchemeType.ckks);
    using primes = seal.vecFromArrayModulus(MODULUS[set].map((prime) => new seal.Modulus(prime)));
    parameters.setPolyModulusDegree(DEGREE);
    parameters.setCoeffModulus(primes);
    this.#context = new seal.SEALContext(parameters, true, seal.SecLevelType.tc128);
    using generator = new seal.KeyGenerator(this.#context);
    this.#secretKey = generator.secretKey();
    // The constructor wants a public key although symmetric encryption never uses it.
    using publicKey = generator.createPublicKey();
    this.#encryptor = new seal.Encryptor(this.#context, publicKey, this.#secretKey);
    this.rings = MODULUS[set].slice(0, -1).map((prime) => new IndependentRing(prime));
    this.modulus = this.rings.reduce((product, ring) => product * ring.prime, 1n);
    watchBytes(this.keyId);
    watchBytes(this.secretKeyBytes("none"));
  }

  /** The bytes of a fresh encryption of 4096 whole coefficients. */
  encrypt(coefficients: readonly number[], form: Form = "packed"): Buffer {
    using plaintext = this.#plaintext(coefficients);
    using ciphertext = new this.#seal.Ciphertext();
    this.#encryptor.encryptSymmetric(plaintext, ciphertext);
    return this.#write(ciphertext, form);
  }

  /**
   * The same with the second component replaced by the seed it is drawn from, as SEAL's Serializable<Ciphertext> saves
   * it.
   */
  encryptSeeded(coefficients: readonly number[], compression: Exclude<Form, "packed"> = "none"): Buffer {
    using plaintext = this.#plaintext(coefficients);
    using ciphertext = this.#encryptor.encryptSymmetricSerializable(plaintext);
    return Buffer.from(ciphertext.saveToArray(this.#seal.ComprModeType[compression]) as Uint8Array);
  }

  /** The 4096 coefficients, in (-modulus/2, modulus/2], of a product in either encoding. */
  decryptProduct(encoding: string, data: Uint8Array): number[] {
    const bytes = encoding === "CIPHERTEXT_ENCODING_SEAL" ? data : this.sealBytes(unpack(data));
    using ciphertext = new this.#seal.Ciphertext();
    ciphertext.loadFromArray(this.#context, Uint8Array.from(bytes));
    using decryptor = new this.#seal.Decryptor(this.#context, this.#secretKey);
    using plaintext = new this.#seal.Plaintext();
    decryptor.decrypt(ciphertext, plaintext);
    const residues = words(plaintext.saveToArray(this.#seal.ComprModeType.none) as Uint8Array, PLAINTEXT_WORDS_AT);
    return this.#centeredCoefficients(residues);
  }

  /** An uncompressed SEAL ciphertext of residues [component][prime][4096]. */
  sealBytes(residues: readonly bigint[]): Buffer {
    const bytes = Buffer.alloc(CIPHERTEXT_WORDS_AT + 8 * residues.length);
    writeHeader(bytes, 0, bytes.length);
    this.#parmsId().copy(bytes, HEADER_BYTES);
    bytes.writeUInt8(1, 48);
    const components = residues.length / (this.rings.length * DEGREE);
    [components, DEGREE, this.rings.length].forEach((count, k) => bytes.writeBigUInt64LE(BigInt(count), 49 + 8 * k));
    bytes.writeDoubleLE(1, 73);
    bytes.writeBigUInt64LE(1n, 81);
    writeWords(bytes, 89, residues);
    return bytes;
  }

  /** SEAL's serialisation of the secret key, for the tests that a server refuses it. */
  secretKeyBytes(compression: Exclude<Form, "packed">): Buffer {
    return Buffer.from(this.#secretKey.saveToArray(this.#seal.ComprModeType[compression]) as Uint8Array);
  }

  [Symbol.dispose](): void {
    this.#encryptor.delete();
    this.#secretKey.delete();
    this.#context.delete();
  }

  #plaintext(coefficients: readonly number[]): Plaintext {
    const whole = coefficients.map(BigInt);
    const residues = this.rings.flatMap((ring) => ring.forward(whole));
    const bytes = Buffer.alloc(PLAINTEXT_WORDS_AT + 8 * residues.length);
    writeHeader(bytes, 0, bytes.length);
    this.#parmsId().copy(bytes, HEADER_BYTES);
    bytes.writeBigUInt64LE(BigInt(residues.length), 48);
    bytes.writeDoubleLE(1, 56);
    writeWords(bytes, 64, residues);
    const plaintext = new this.#seal.Plaintext();
    plaintext.loadFromArray(this.#context, Uint8Array.from(bytes));
    return plaintext;
  }

  #write(ciphertext: Ciphertext, form: Form): Buffer {
    const bytes = Buffer.from(
      ciphertext.saveToArray(this.#seal.ComprModeType[form === "packed" ? "none" : form]) as Uint8Array,
    );
    const data = form === "packed" ? pack(words(bytes, CIPHERTEXT_WORDS_AT)) : bytes;
    watchBytes(data);
    return data;
  }

  #parmsId(): Buffer {
    using parmsId = this.#context.firstParmsId();
    const values = parmsId.values() as BigUint64Array;
    return Buffer.from(values.slice().buffer);
  }

  #centeredCoefficients(residues: readonly bigint[]): number[] {
    const terms = this.rings.map((ring, k) => {
      const rest = this.modulus / ring.prime;
      const factor = rest * invert(rest % ring.prime, ring.prime);
      return ring.inverse(residues.slice(k * DEGREE, (k + 1) * DEGREE)).map((x) => x * factor);
    });
    return Array.from({ length: DEGREE }, (_, i) => {
      const value = terms.reduce((sum, term) => sum + term[i]!, 0n) % this.modulus;
      return Number(value > this.modulus / 2n ? value - this.modulus : value);
    });
  }
}

/** Residues to 30 bits each, least significant first, polynomial by polynomial. */
export function pack(residues: readonly bigint[]): Buffer {
  const bytes: number[] = [];
  let buffer = 0n;
  let bits = 0n;
  for (const residue of residues) {
    buffer |= residue << bits;
    for (bits += 30n; bits >= 8n; bits -= 8n, buffer >>= 8n) bytes.push(Number(buffer & 0xffn));
  }
  return Buffer.from(bytes);
}

/** The inverse of {@link pack}. */
export function unpack(data: Uint8Array): bigint[] {
  const residues: bigint[] = [];
  let buffer = 0n;
  let bits = 0n;
  for (const byte of data) {
    buffer |= BigInt(byte) << bits;
    bits += 8n;
    if (bits < 30n) continue;
    residues.push(buffer & 0x3fffffffn);
    buffer >>= 30n;
    bits -= 30n;
  }
  return residues;
}

/** The u64 words of a SEAL object from an offset to its end. */
export function words(bytes: Uint8Array, at: number): bigint[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: (bytes.byteLength - at) / 8 }, (_, i) => view.getBigUint64(at + 8 * i, true));
}

/** SEAL's 16-byte header around a compressed body. */
export function sealEnvelope(compression: "zlib" | "zstd", body: Uint8Array): Buffer {
  const bytes = Buffer.concat([Buffer.alloc(HEADER_BYTES), body]);
  writeHeader(bytes, 0, bytes.length);
  bytes.writeUInt8(compression === "zlib" ? 1 : 2, 5);
  return bytes;
}

function writeHeader(bytes: Buffer, at: number, size: number): void {
  Buffer.from([0x5e, 0xa1, HEADER_BYTES, 4, 1, 0, 0, 0]).copy(bytes, at);
  bytes.writeBigUInt64LE(BigInt(size), at + 8);
}

function writeWords(bytes: Buffer, at: number, values: readonly bigint[]): void {
  writeHeader(bytes, at, HEADER_BYTES + 8 + 8 * values.length);
  bytes.writeBigUInt64LE(BigInt(values.length), at + HEADER_BYTES);
  values.forEach((value, i) => bytes.writeBigUInt64LE(value, at + HEADER_BYTES + 8 + 8 * i));
}
