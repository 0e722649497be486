import { FheError } from "../errors.ts";
import { HEADER_BYTES, PARMS_ID_BYTES } from "./seal-bytes.ts";
import type { SealObjectLimits } from "./seal-bytes.ts";

// UniformRandomGeneratorInfo: header, generator u8, seed of 64 bytes.
const SEED_BYTES = HEADER_BYTES + 1 + 64;

/** A SEAL Ciphertext's header, and where it lies. */
export interface CiphertextSpan {
  readonly parmsId: Uint8Array;
  readonly inNttForm: boolean;
  readonly components: number;
  readonly degree: number;
  readonly primes: number;
  readonly scale: number;
  readonly correction: number;
  /** Where its words begin, and how many there are: those of one component if a seed stands for the other. */
  readonly wordsAt: number;
  readonly words: number;
  readonly seeded: boolean;
}

/**
 * Walks the bytes of an uncompressed SEAL 4.1 object (layouts: seal-bytes.ts). Objects inside it have headers of their
 * own, which may ask SEAL to decompress whatever follows: here each must be uncompressed and end where it says, so that
 * no byte is unaccounted for. Throws FheError with the limits' `malformed` reason.
 */
export class SealCursor {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #limits: SealObjectLimits;
  #at = 0;

  constructor(bytes: Uint8Array, limits: SealObjectLimits) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#limits = limits;
  }

  get at(): number {
    return this.#at;
  }

  /** Enters an object; returns where it ends. */
  begin(): number {
    const start = this.#at;
    const [magic0, magic1, headerBytes, major, minor, compression] = this.take(8);
    const size = this.u64();
    if (magic0 !== 0x5e || magic1 !== 0xa1 || headerBytes !== HEADER_BYTES)
      throw this.malformed("it, or an object inside it, has no SEAL header");
    if (major !== 4 || minor !== 1)
      throw this.malformed(`it, or an object inside it, was written by SEAL ${major}.${minor}: expected SEAL 4.1`);
    if (compression !== 0) throw this.malformed("an object inside it is compressed on its own");
    return start + size;
  }

  /** Leaves an object that should end here. */
  finish(end: number): void {
    if (this.#at !== end) throw this.malformed("an object inside it is longer or shorter than its header says");
  }

  take(length: number): Uint8Array {
    if (length > this.bytes.length - this.#at) throw this.malformed("it ends too early");
    this.#at += length;
    return this.bytes.subarray(this.#at - length, this.#at);
  }

  u8(): number {
    this.take(1);
    return this.#view.getUint8(this.#at - 1);
  }

  u64(): number {
    const value = Number(this.bigU64());
    if (!Number.isSafeInteger(value)) throw this.malformed("a length or count is out of range");
    return value;
  }

  bigU64(): bigint {
    this.take(8);
    return this.#view.getBigUint64(this.#at - 8, true);
  }

  f64(): number {
    this.take(8);
    return this.#view.getFloat64(this.#at - 8, true);
  }

  parmsId(): Uint8Array {
    return this.take(PARMS_ID_BYTES);
  }

  /** Walks over a Ciphertext, whose second component may be a seed. */
  ciphertext(): CiphertextSpan {
    const end = this.begin();
    const head = {
      parmsId: this.parmsId(),
      inNttForm: this.u8() === 1,
      components: this.u64(),
      degree: this.u64(),
      primes: this.u64(),
      scale: this.f64(),
      correction: this.u64(),
    };
    const wordsEnd = this.begin();
    const words = this.u64();
    const wordsAt = this.#at;
    this.take(8 * words);
    this.finish(wordsEnd);
    const seeded = this.#at < end;
    if (seeded) this.#seed();
    this.finish(end);
    return { ...head, wordsAt, words, seeded };
  }

  malformed(why: string): FheError {
    return new FheError(this.#limits.malformed, `not a SEAL ${this.#limits.what} as SEAL writes it: ${why}`);
  }

  #seed(): void {
    const end = this.begin();
    this.take(SEED_BYTES - HEADER_BYTES);
    this.finish(end);
  }
}
