import { constants, inflateSync, zstdDecompressSync } from "node:zlib";
import { FheError } from "../errors.ts";
import type { FheErrorReason } from "../errors.ts";
import { DEGREE } from "../parameter-sets.ts";

/**
 * Bytes of the header that every object of Microsoft SEAL 4.1 begins with. Everything in one is little-endian.
 *
 * Header, 16 bytes: 5E A1, header size 10, major 04, minor 01, compression, 00 00, total size u64. Then for a
 * Ciphertext parms_id (32 bytes), is_ntt u8, components u64, N u64, primes u64, scale f64, correction factor u64; for a
 * Plaintext parms_id, N * primes u64, scale f64. Then a nested header, a u64 count of words, and the words.
 */
export const HEADER_BYTES = 16;
/** Bytes of SEAL's hash of a level's parameters. */
export const PARMS_ID_BYTES = 32;
const NESTED_BYTES = HEADER_BYTES + 8;
/** Bytes of an uncompressed Ciphertext before its words: 113. */
export const CIPHERTEXT_HEADER_BYTES = HEADER_BYTES + PARMS_ID_BYTES + 1 + 5 * 8 + NESTED_BYTES;
/** Bytes of an uncompressed Plaintext before its words: 88. */
export const PLAINTEXT_HEADER_BYTES = HEADER_BYTES + PARMS_ID_BYTES + 2 * 8 + NESTED_BYTES;

const COMPRESSION_AT = 5;
const SIZE_AT = 8;
const COMPRESSION = { none: 0, zlib: 1, zstd: 2 };

/**
 * What an object from outside is taken for, how long it may be, compressed or not, and why it is refused if it is
 * something else.
 */
export interface SealObjectLimits {
  /** What it is called in refusals, such as "ciphertext". */
  readonly what: string;
  /** The most bytes it may have, and may decompress to. */
  readonly maxBytes: number;
  /** The reason for bytes that are no such object. */
  readonly malformed: FheErrorReason;
  /** The reason for more bytes than that. */
  readonly tooLarge: FheErrorReason;
}

/** The most bytes of a ciphertext of the packed scheme: four times the largest of any parameter set. */
export const MAX_PACKED_CIPHERTEXT_BYTES = 2 ** 20;

const PACKED_CIPHERTEXT: SealObjectLimits = {
  what: "ciphertext",
  maxBytes: MAX_PACKED_CIPHERTEXT_BYTES,
  malformed: "CIPHERTEXT_MALFORMED",
  tooLarge: "CIPHERTEXT_TOO_LARGE",
};

/** An uncompressed SEAL Ciphertext in NTT form with scale 1.0. `residues`: [component][prime][coefficient]. */
export function sealCiphertext(parmsId: Uint8Array, primes: number, residues: Uint32Array): Uint8Array {
  const bytes = new Uint8Array(CIPHERTEXT_HEADER_BYTES + 8 * residues.length);
  const view = new DataView(bytes.buffer);
  const components = residues.length / (primes * DEGREE);
  writeHeader(bytes, 0, bytes.length);
  bytes.set(parmsId, HEADER_BYTES);
  bytes[48] = 1;
  [components, DEGREE, primes].forEach((count, k) => {
    view.setBigUint64(49 + 8 * k, BigInt(count), true);
  });
  view.setFloat64(73, 1, true);
  view.setBigUint64(81, 1n, true);
  writeWords(bytes, 89, residues);
  return bytes;
}

/** An uncompressed SEAL Plaintext in NTT form with scale 1.0. `residues`: [prime][coefficient]. */
export function sealPlaintext(parmsId: Uint8Array, residues: Uint32Array): Uint8Array {
  const bytes = new Uint8Array(PLAINTEXT_HEADER_BYTES + 8 * residues.length);
  const view = new DataView(bytes.buffer);
  writeHeader(bytes, 0, bytes.length);
  bytes.set(parmsId, HEADER_BYTES);
  view.setBigUint64(48, BigInt(residues.length), true);
  view.setFloat64(56, 1, true);
  writeWords(bytes, 64, residues);
  return bytes;
}

/** The words of a SEAL object, which must fit 32 bits. Throws FheError CIPHERTEXT_MALFORMED where one does not. */
export function sealWords(bytes: Uint8Array, headerBytes: number): Uint32Array {
  // A copy, because the words may start anywhere; not by slice(), which is a view where the bytes are a Buffer.
  const halves = new Uint32Array(Uint8Array.from(bytes.subarray(headerBytes)).buffer);
  const words = new Uint32Array(halves.length / 2);
  let overflow = 0;
  for (let i = 0; i < words.length; i++) {
    words[i] = halves[2 * i] ?? 0;
    overflow |= halves[2 * i + 1] ?? 0;
  }
  if (overflow !== 0)
    throw new FheError("CIPHERTEXT_MALFORMED", "a residue is larger than its prime: expected residues below 2^30");
  return words;
}

/**
 * Whether an object, whose words begin after so many bytes, is uncompressed: itself, and the words, which are an object
 * inside it with a header of their own.
 */
export function isBareObject(bytes: Uint8Array, wordsAt: number): boolean {
  const nested = wordsAt - NESTED_BYTES;
  return bytes[COMPRESSION_AT] === COMPRESSION.none && bytes[nested + COMPRESSION_AT] === COMPRESSION.none;
}

/** Whether bytes claim to be a SEAL object: they begin with its magic number, 5E A1. */
export function isSealObject(bytes: Uint8Array): boolean {
  return bytes[0] === 0x5e && bytes[1] === 0xa1;
}

/**
 * An object that came from outside, uncompressed, header included. SEAL 4.1 allocates whatever a compressed stream
 * unpacks to, so it is inflated here, within bounds. Throws FheError with the limits' reasons.
 */
export function inflateSeal(data: Uint8Array, limits: SealObjectLimits = PACKED_CIPHERTEXT): Uint8Array {
  if (data.length > limits.maxBytes) throw tooLarge(limits);
  if (!hasSealHeader(data)) {
    throw new FheError(
      limits.malformed,
      `bytes do not start with a SEAL 4.x header that gives their length: expected a whole SEAL ${limits.what}`,
    );
  }
  const { none } = COMPRESSION;
  const compression = data[COMPRESSION_AT] ?? none;
  if (compression === none) return data;
  const body = inflate(compression, data.subarray(HEADER_BYTES), limits);
  const bytes = new Uint8Array(HEADER_BYTES + body.length);
  bytes.set(data.subarray(0, HEADER_BYTES));
  bytes.set(body, HEADER_BYTES);
  bytes[COMPRESSION_AT] = none;
  writeSize(bytes, 0, bytes.length);
  return bytes;
}

function inflate(compression: number, body: Uint8Array, limits: SealObjectLimits): Uint8Array {
  const bound = { maxOutputLength: limits.maxBytes - HEADER_BYTES, info: true };
  try {
    if (compression === COMPRESSION.zlib) return wholly(body, inflateSync(body, bound));
    if (compression === COMPRESSION.zstd) {
      // A zstd frame may ask for a window of gigabytes before it yields a byte. None needs more than twice the object.
      return wholly(
        body,
        zstdDecompressSync(body, {
          ...bound,
          params: { [constants.ZSTD_d_windowLogMax]: 1 + Math.ceil(Math.log2(limits.maxBytes)) },
        }),
      );
    }
  } catch (error) {
    if (error instanceof RangeError) throw tooLarge(limits);
    throw new FheError(
      limits.malformed,
      `the compressed SEAL ${limits.what} cannot be decompressed: it is damaged, cut short, or something follows it`,
      { cause: error },
    );
  }
  throw new FheError(
    limits.malformed,
    `unknown SEAL compression mode ${compression}: expected 0 (none), 1 (zlib) or 2 (zstd)`,
  );
}

/**
 * What was inflated, if it was all of the body: node:zlib passes over what follows the stream, and a secret key could
 * ride there.
 */
function wholly(body: Uint8Array, inflated: unknown): Uint8Array {
  // With the option `info`, which the declarations of node:zlib do not know the effect of.
  const { buffer, engine } = inflated as {
    readonly buffer: Uint8Array;
    readonly engine: { readonly bytesWritten: number };
  };
  if (engine.bytesWritten !== body.length) throw new Error("bytes follow the compressed stream");
  return buffer;
}

function tooLarge({ what, maxBytes, tooLarge: reason }: SealObjectLimits): FheError {
  return new FheError(
    reason,
    `the SEAL object is or decompresses to more than ${maxBytes} bytes, more than any ${what} of these parameters`,
  );
}

function hasSealHeader(data: Uint8Array): boolean {
  if (data.length < HEADER_BYTES || !isSealObject(data) || data[2] !== HEADER_BYTES || data[3] !== 4) return false;
  return (
    new DataView(data.buffer, data.byteOffset, data.byteLength).getBigUint64(SIZE_AT, true) === BigInt(data.length)
  );
}

/** Writes the header of an uncompressed object of `size` bytes, header included. */
export function writeHeader(bytes: Uint8Array, at: number, size: number): void {
  bytes.set([0x5e, 0xa1, HEADER_BYTES, 4, 1, COMPRESSION.none, 0, 0], at);
  writeSize(bytes, at, size);
}

function writeSize(bytes: Uint8Array, at: number, size: number): void {
  new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(at + SIZE_AT, BigInt(size), true);
}

function writeWords(bytes: Uint8Array, at: number, residues: Uint32Array): void {
  writeHeader(bytes, at, NESTED_BYTES + 8 * residues.length);
  new DataView(bytes.buffer).setBigUint64(at + HEADER_BYTES, BigInt(residues.length), true);
  // The words start at an odd offset, so they are laid out in an aligned array first.
  const halves = new Uint32Array(2 * residues.length);
  for (let i = 0; i < residues.length; i++) halves[2 * i] = residues[i] ?? 0;
  bytes.set(new Uint8Array(halves.buffer), at + NESTED_BYTES);
}
