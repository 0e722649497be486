import { FheError, impossible } from "../errors.ts";
import { CIPHERTEXT_HEADER_BYTES, inflateSeal } from "../seal/seal-bytes.ts";
import type { SealObjectLimits } from "../seal/seal-bytes.ts";
import type { PublicSeal } from "../seal/seal.ts";
import { SealCursor } from "../seal/seal-cursor.ts";

/** CKKS parameters that a key holder chose, checked. */
export interface EncryptionParameters {
  /** N, a power of two in [1024, 32768]; a ciphertext has N/2 slots. */
  readonly degree: number;
  /** At least three of 2 to 60 bits, in SEAL's order; the last is reserved for key switching. */
  readonly primes: readonly bigint[];
  /** The whole object as SEAL serializes it, uncompressed, at most 4096 bytes. */
  readonly encoded: Uint8Array;
}

/** CKKS parameters with a scale that fits them: {@link withScale} checks it. */
export interface PairwiseParameters extends EncryptionParameters {
  /** By what components are multiplied before they are rounded and encrypted, > 0. */
  readonly scale: number;
}

/** The most bytes of a fresh ciphertext, uncompressed, so that two fit into one gRPC message of the usual 4 MiB. */
export const MAX_PAIRWISE_CIPHERTEXT_BYTES = 1_900_000;

// 64 primes, the most that SEAL takes, are 1.6 KB.
const ENCRYPTION_PARAMETERS: SealObjectLimits = {
  what: "EncryptionParameters object",
  maxBytes: 4096,
  malformed: "PARAMETERS_INVALID",
  tooLarge: "PARAMETERS_INVALID",
};
const CKKS = 2;
const MIN_DEGREE = 1024;
const MAX_DEGREE = 32768;
/** The most components of a vector: the slots of the largest ring. */
export const MAX_PAIRWISE_DIMENSION = MAX_DEGREE / 2;
const MIN_PRIMES = 3;
// SEAL_USER_MOD_BIT_COUNT_MAX.
const MAX_PRIME_BITS = 60n;

// The scale of a distance: at least 2^10, or noise drowns it (rescaling alone rounds by up to some hundreds); and room
// for a largest distance of 8, twice the largest squared distance of unit vectors.
const MIN_DISTANCE_SCALE = 2 ** 10;
const MIN_DISTANCE_ROOM = 32;

/**
 * Reads and checks SEAL's EncryptionParameters, which SEAL itself is never shown. Throws FheError PARAMETERS_INVALID:
 * malformed, not CKKS, above SEAL's table for 128 bits of security, without a level for a product, or too large.
 */
export function readEncryptionParameters(seal: PublicSeal, data: Uint8Array): EncryptionParameters {
  // A copy, or it would keep the whole upload that it is a part of.
  const encoded = Uint8Array.from(inflateSeal(data, ENCRYPTION_PARAMETERS));
  const parameters = { ...readLayout(encoded), encoded };
  checkSecurity(seal, parameters);
  checkSize(parameters);
  return parameters;
}

/**
 * The parameters with their scale, a number > 0. Throws FheError SCALE_OVERFLOW for one at which distances would
 * overflow, or drown in noise.
 */
export function withScale(parameters: EncryptionParameters, scale: number): PairwiseParameters {
  if (!(scale > 0 && Number.isFinite(scale))) throw invalidScale(`the scale is ${scale}: expected a number > 0`);
  const prime = Number(lastDataPrime(parameters));
  const least = Math.sqrt(MIN_DISTANCE_SCALE * prime);
  const most = Math.sqrt((2 ** log2Of(resultPrimes(parameters)) / MIN_DISTANCE_ROOM) * prime);
  if (scale >= least && scale <= most) return { ...parameters, scale };
  const range = `expected 2^${Math.log2(least).toFixed(1)} to 2^${Math.log2(most).toFixed(1)} with these primes`;
  throw invalidScale(
    `the scale is 2^${Math.log2(scale).toFixed(1)}, so a distance would ${scale > most ? "overflow" : "drown in noise"}: ${range}`,
  );
}

// EncryptionParameters: header, scheme u8, N u64, count u64, so many Modulus objects, and the plain modulus, which CKKS
// has not.
function readLayout(encoded: Uint8Array): Pick<EncryptionParameters, "degree" | "primes"> {
  const cursor = new SealCursor(encoded, ENCRYPTION_PARAMETERS);
  const end = cursor.begin();
  const scheme = cursor.u8();
  const degree = cursor.u64();
  const count = cursor.u64();
  if (scheme !== CKKS)
    throw invalid(
      "the encryption parameters are not of the scheme CKKS: make them with SEAL's scheme_type::ckks, or TenSEAL's ts.SCHEME_TYPE.CKKS",
    );
  if (!(degree >= MIN_DEGREE && degree <= MAX_DEGREE) || !Number.isInteger(Math.log2(degree))) {
    throw invalid(`the ring degree is ${degree}: expected a power of two in [${MIN_DEGREE}, ${MAX_DEGREE}]`);
  }
  if (count < MIN_PRIMES) {
    throw invalid(
      `there are ${count} primes: expected at least ${MIN_PRIMES}, two that ciphertexts live in, so that one product can be rescaled, and one for key switching`,
    );
  }
  if (8 * count > encoded.length) throw cursor.malformed("it ends too early");
  const primes = Array.from({ length: count }, () => readModulus(cursor));
  const tooLarge = primes.findIndex((prime) => prime < 2n || prime >= 1n << MAX_PRIME_BITS);
  if (tooLarge >= 0)
    throw invalid(`prime number ${tooLarge + 1} is out of range: expected primes of 2 to ${MAX_PRIME_BITS} bits`);
  if (readModulus(cursor) !== 0n) throw invalid("the encryption parameters have a plain modulus, which CKKS has not");
  cursor.finish(end);
  return { degree, primes };
}

function readModulus(cursor: SealCursor): bigint {
  const end = cursor.begin();
  const value = cursor.bigU64();
  cursor.finish(end);
  return value;
}

function checkSecurity(seal: PublicSeal, { degree, primes }: EncryptionParameters): void {
  const most = seal.CoeffModulus.MaxBitCount(degree, seal.SecLevelType.tc128);
  const bits = Math.ceil(log2Of(primes));
  if (bits > most)
    throw invalid(
      `the primes have ${bits} bits in sum: for 128 bits of security expected at most ${most} at ring degree ${degree}`,
    );
}

function checkSize(parameters: EncryptionParameters): void {
  const bytes = freshCiphertextBytes(parameters);
  if (bytes > MAX_PAIRWISE_CIPHERTEXT_BYTES) {
    throw invalid(
      `a fresh ciphertext has ${bytes} bytes: expected at most ${MAX_PAIRWISE_CIPHERTEXT_BYTES}; one product needs no more than two primes besides the one for key switching`,
    );
  }
}

/** Bytes of an uncompressed fresh ciphertext: two components. */
export function freshCiphertextBytes({ degree, primes }: EncryptionParameters): number {
  return CIPHERTEXT_HEADER_BYTES + 8 * 2 * (primes.length - 1) * degree;
}

/**
 * Bytes that so many keys take in SEAL's memory: for each data prime a ciphertext of two components over all primes,
 * without seeds.
 */
export function loadedKeyBytes({ degree, primes }: EncryptionParameters, keys: number): number {
  return keys * (primes.length - 1) * 2 * primes.length * degree * 8;
}

/** The primes of fresh ciphertexts. */
export function dataPrimes({ primes }: EncryptionParameters): readonly bigint[] {
  return primes.slice(0, -1);
}

/** The primes of a product: rescaled by the last data prime, or with all of them. */
export function resultPrimes(parameters: EncryptionParameters, rescaled = true): readonly bigint[] {
  return rescaled ? dataPrimes(parameters).slice(0, -1) : dataPrimes(parameters);
}

/** The scale of a distance: scale^2 / p, p being the last data prime, by which products are rescaled; else scale^2. */
export function distanceScale(parameters: PairwiseParameters, rescaled = true): number {
  return parameters.scale ** 2 / (rescaled ? Number(lastDataPrime(parameters)) : 1);
}

/**
 * The largest absolute value that a distance may have: a quarter of the modulus that is left after `dropped` more
 * primes, over its scale. One bit is the sign. The other is for vectors that are repeated in slots whose number their
 * length does not divide: where the last repetition is cut off, components meet themselves, and slots there hold up to
 * twice the distance.
 */
export function maxDistance(parameters: PairwiseParameters, dropped = 0, rescaled = true): number {
  const primes = resultPrimes(parameters, rescaled);
  return 2 ** (log2Of(primes.slice(0, primes.length - dropped)) - 2) / distanceScale(parameters, rescaled);
}

/**
 * How many primes of a product may be dropped, beyond the one that rescaling drops, if no distance is larger than
 * `bound`: fewer primes make relinearization and rotations quicker. `bound` undefined: none.
 */
export function droppablePrimes(parameters: PairwiseParameters, bound: number | undefined, rescaled = true): number {
  if (bound === undefined) return 0;
  const most = resultPrimes(parameters, rescaled).length - 1;
  let dropped = 0;
  // 1 % of the room is left to the noise.
  while (dropped < most && maxDistance(parameters, dropped + 1, rescaled) >= 1.01 * bound) dropped++;
  return dropped;
}

/** Sizes of the primes in bits, in SEAL's order. */
export function modulusBits({ primes }: EncryptionParameters): number[] {
  return primes.map((prime) => prime.toString(2).length);
}

function lastDataPrime({ primes }: EncryptionParameters): bigint {
  return primes.at(-2) ?? impossible("checked parameters without primes");
}

function log2Of(primes: readonly bigint[]): number {
  return primes.reduce((bits, prime) => bits + Math.log2(Number(prime)), 0);
}

function invalid(message: string): FheError {
  return new FheError("PARAMETERS_INVALID", message);
}

function invalidScale(message: string): FheError {
  return new FheError("SCALE_OVERFLOW", message);
}
