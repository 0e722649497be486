import type { SEALContext } from "node-seal";
import { FheError } from "../errors.ts";
import { DEGREE, PARAMETER_SET_NAMES, parameterSet } from "../parameter-sets.ts";
import type { ParameterSet } from "../parameter-sets.ts";
import { PACKED_POLYNOMIAL_BYTES } from "../ring/ring-kernel.ts";
import type { RingKernel } from "../ring/ring-kernel.ts";
import {
  CIPHERTEXT_HEADER_BYTES,
  HEADER_BYTES,
  PARMS_ID_BYTES,
  inflateSeal,
  isSealObject,
  sealCiphertext,
  sealWords,
} from "../seal/seal-bytes.ts";
import { callSeal, openSealContext, parmsIdBytes, savedBytes } from "../seal/seal.ts";
import { hasSecretKeyShape, secretKeyRefused } from "../seal/secret-key.ts";
import type { PublicSeal } from "../seal/seal.ts";

/** How a ciphertext's bytes are laid out: SEAL's own serialization, or bare 30-bit residues. */
export type CiphertextEncoding = "SEAL" | "PACKED_RESIDUES";

/** Components of a ciphertext: 2 fresh from encryption, 3 as the product of two. */
export type Components = 2 | 3;

/** How many bytes something may have. */
export interface ByteRange {
  /** Bytes, >= 1. */
  readonly least: number;
  /** Bytes, >= least. */
  readonly most: number;
}

/** The bytes of a fresh ciphertext: residues have one length, SEAL's serialization may be compressed. */
export function freshCiphertextBytes(set: ParameterSet, encoding: CiphertextEncoding): ByteRange {
  const polynomials = 2 * set.dataPrimes.length;
  const residues = polynomials * PACKED_POLYNOMIAL_BYTES;
  return encoding === "SEAL" ? sealCiphertextBytes(DEGREE, polynomials) : { least: residues, most: residues };
}

/** The bytes of a SEAL ciphertext of so many polynomials of `degree` coefficients, uncompressed or compressed. */
export function sealCiphertextBytes(degree: number, polynomials: number): ByteRange {
  const uncompressed = CIPHERTEXT_HEADER_BYTES + 8 * degree * polynomials;
  // zlib and zstd add less than 1/256 and some bytes to what they cannot compress; TenSEAL's envelope adds some dozens.
  return { least: 1, most: uncompressed + Math.ceil(uncompressed / 128) + 1024 };
}

/**
 * Turns bytes into checked residues and back, for one parameter set. Owns a SEAL context; free it with `using`.
 * Residues are a Uint32Array [component][prime][4096] in SEAL's NTT order, each below its prime.
 */
export class CiphertextCodec implements Disposable {
  /** The parameter set of all ciphertexts that it reads and writes. */
  readonly set: ParameterSet;
  /** SEAL's hash of the parameters at the data level, 32 bytes: it stands in every SEAL ciphertext. */
  readonly parmsId: Uint8Array;
  /** SEAL's context of the set, valid until the codec is disposed of. */
  readonly context: SEALContext;
  readonly #seal: PublicSeal;
  readonly #kernel: RingKernel;

  /** Throws FheError SEAL_FAILED if this SEAL lays its objects out otherwise than this package writes them. */
  constructor(seal: PublicSeal, kernel: RingKernel, set: ParameterSet) {
    this.#seal = seal;
    this.#kernel = kernel;
    this.set = set;
    this.context = openSealContext(seal, set);
    this.parmsId = parmsIdBytes(this.context.firstParmsId());
    this.#checkLayout();
  }

  /**
   * A fresh ciphertext: two components, not transparent. Throws FheError with the CIPHERTEXT_*, PARAMETER_SET_MISMATCH
   * or SECRET_KEY_REFUSED reasons.
   */
  parseFresh(encoding: CiphertextEncoding, data: Uint8Array): Uint32Array {
    const residues = this.#parse(encoding, data, 2);
    this.#refuseTransparent(residues);
    return residues;
  }

  /**
   * A product of two ciphertexts: three components, each of which looks uniform, as those of a product do: nowhere
   * near zero all over (CIPHERTEXT_TRANSPARENT). Throws as {@link parseFresh}.
   */
  parseProduct(encoding: CiphertextEncoding, data: Uint8Array): Uint32Array {
    const residues = this.#parse(encoding, data, 3);
    this.#refuseHollow(residues);
    return residues;
  }

  /**
   * The bytes of a ciphertext in either encoding. `residues`: [component][prime][4096], of two or three components.
   * Throws FheError CIPHERTEXT_MALFORMED as {@link RingKernel.pack} for packed residues.
   */
  serialize(encoding: CiphertextEncoding, residues: Uint32Array): Uint8Array {
    return encoding === "SEAL"
      ? sealCiphertext(this.parmsId, this.set.dataPrimes.length, residues)
      : this.#kernel.pack(residues);
  }

  /** Frees SEAL's context; SEAL ciphertexts can be neither read nor written after it. */
  [Symbol.dispose](): void {
    this.context.delete();
  }

  #parse(encoding: CiphertextEncoding, data: Uint8Array, components: Components): Uint32Array {
    return encoding === "SEAL" ? this.#parseSeal(data, components) : this.#parsePacked(data, components);
  }

  #parsePacked(data: Uint8Array, components: Components): Uint32Array {
    const expected = components * this.set.dataPrimes.length * PACKED_POLYNOMIAL_BYTES;
    if (data.length === expected) return this.#kernel.unpack(data);
    const other = PARAMETER_SET_NAMES.find(
      (name) => data.length === components * parameterSet(name).dataPrimes.length * PACKED_POLYNOMIAL_BYTES,
    );
    if (other !== undefined) throw this.#otherParameters(other);
    if (isSealObject(data)) this.#refuseSecretKey(inflateSeal(data));
    throw new FheError(
      "CIPHERTEXT_MALFORMED",
      `packed residues have ${data.length} bytes: expected ${expected} for ${components} components of ${this.set.name}`,
    );
  }

  #parseSeal(data: Uint8Array, components: Components): Uint32Array {
    const bytes = inflateSeal(data);
    const words = components * this.set.dataPrimes.length * DEGREE;
    const expected = sealCiphertext(this.parmsId, this.set.dataPrimes.length, new Uint32Array(words)).subarray(
      0,
      CIPHERTEXT_HEADER_BYTES,
    );
    if (bytes.length !== CIPHERTEXT_HEADER_BYTES + 8 * words || !sameHeader(bytes, expected))
      throw this.#explainHeader(bytes, components);
    const residues = sealWords(bytes, CIPHERTEXT_HEADER_BYTES);
    this.#kernel.checkRange(residues);
    return residues;
  }

  #explainHeader(bytes: Uint8Array, components: Components): FheError {
    this.#refuseSecretKey(bytes);
    if (bytes.length > HEADER_BYTES + PARMS_ID_BYTES && !this.#isOfDataLevel(bytes))
      return this.#otherParameters("other parameters");
    return new FheError(
      "CIPHERTEXT_MALFORMED",
      `not a SEAL ciphertext of ${this.set.name} with ${components} components, in NTT form at the data level, with scale 1.0 and no seed in place of a component`,
    );
  }

  #otherParameters(found: string): FheError {
    return new FheError(
      "PARAMETER_SET_MISMATCH",
      `the ciphertext was made with ${found}: expected ${this.set.name}, the parameter set of its context`,
    );
  }

  // A plaintext has the shape of a secret key; one of the data level is none, as keys have the reserved prime too.
  #refuseSecretKey(bytes: Uint8Array): void {
    if (hasSecretKeyShape(bytes) && !this.#isOfDataLevel(bytes)) throw secretKeyRefused();
  }

  #isOfDataLevel(bytes: Uint8Array): boolean {
    return Buffer.from(bytes.subarray(HEADER_BYTES, HEADER_BYTES + PARMS_ID_BYTES)).equals(this.parmsId);
  }

  // A ciphertext whose last component is zero modulo any prime hides nothing modulo that prime.
  #refuseTransparent(residues: Uint32Array): void {
    const second = residues.subarray(this.set.dataPrimes.length * DEGREE);
    if (!vanishes(second)) return;
    throw transparent(
      "the ciphertext is transparent: its second component is zero, so it hides nothing; encrypt it again",
    );
  }

  // (m, 0, 0) decrypts to m, whatever the key; (m, 1, X) nearly so. Of uniform coefficients below Q, one in Q is zero,
  // and all 4096 are below Q/4 once in 4^4096.
  #refuseHollow(residues: Uint32Array): void {
    if (vanishes(residues)) throw transparent("a component of the product is zero: it is no product of ciphertexts");
    const length = this.set.dataPrimes.length * DEGREE;
    const quarter = this.set.dataPrimes.reduce((product, prime) => product * prime, 1 / 4);
    for (let start = 0; start < residues.length; start += length) {
      const coefficients = this.#kernel.decode(residues.subarray(start, start + length));
      if (isHollow(coefficients, quarter)) throw transparent("a component of what should be a product is nearly zero");
    }
  }

  // Holds the layout written by seal-bytes.ts to a real object of the SEAL that is loaded.
  #checkLayout(): void {
    const primes = this.set.dataPrimes.length;
    const bytes = sealCiphertext(
      this.parmsId,
      primes,
      Uint32Array.from({ length: 2 * primes * DEGREE }, (_, i) => i),
    );
    using ciphertext = new this.#seal.Ciphertext();
    const saved = callSeal("read a ciphertext laid out by veilface", () => {
      ciphertext.loadFromArray(this.context, bytes);
      return savedBytes(this.#seal, ciphertext);
    });
    if (!Buffer.from(saved).equals(bytes)) {
      throw new FheError(
        "SEAL_FAILED",
        "this SEAL lays out ciphertexts otherwise than veilface writes them: use node-seal 7.0.0",
      );
    }
  }
}

// Zero coefficients that a polynomial may have: of uniform ones modulo 2^30, nine are zero once in 10^54.
const MOST_ZEROS = 8;

/** Whether nearly all coefficients are zero, or all are small. */
function isHollow(coefficients: Float64Array, small: number): boolean {
  let zeros = 0;
  let largest = 0;
  for (const coefficient of coefficients) {
    if (coefficient === 0) zeros++;
    largest = Math.max(largest, Math.abs(coefficient));
  }
  return zeros > MOST_ZEROS || largest < small;
}

/** Whether any of the polynomials, each modulo one prime, is zero. */
function vanishes(residues: Uint32Array): boolean {
  for (let start = 0; start < residues.length; start += DEGREE) {
    if (isZero(residues.subarray(start, start + DEGREE))) return true;
  }
  return false;
}

function isZero(residues: Uint32Array): boolean {
  return residues.every((residue) => residue === 0);
}

function transparent(message: string): FheError {
  return new FheError("CIPHERTEXT_TRANSPARENT", message);
}

function sameHeader(bytes: Uint8Array, expected: Uint8Array): boolean {
  return Buffer.from(bytes.buffer, bytes.byteOffset, expected.length).equals(expected);
}
