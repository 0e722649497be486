import {
  CIPHERTEXT_HEADER_BYTES,
  FheError,
  MAX_PAIRWISE_CIPHERTEXT_BYTES,
  SEAL_HEADER_BYTES,
  callSeal,
  inflateSeal,
  loadPublicSeal,
  openCkksContext,
  parmsIdBytes,
  writeSealHeader,
} from "@veilface/fhe";
import { MAX_KEY_BYTES } from "@veilface/proto";
import type { PublicSeal } from "@veilface/fhe";
import { CKKS_ADVICE } from "./tenseal-advice.ts";
import { tensealDamaged, tensealInvalid } from "./tenseal-refusal.ts";

/**
 * SEAL's EncryptionParameters of a key holder's own, as far as they matter here; whether they are any good is for the
 * server to say.
 */
export interface SealParameters {
  /** N. */
  readonly degree: number;
  /** The last is reserved for key switching. */
  readonly primes: readonly bigint[];
  /** As SEAL serialises them, uncompressed. */
  readonly encoded: Uint8Array;
}

/** SEAL's hashes of a context's levels, which all objects of the level carry. */
interface ParmsIds {
  /** Of keys: all primes. */
  readonly key: Uint8Array;
  /** Of fresh ciphertexts: all but the reserved one. */
  readonly data: Uint8Array;
}

const SCHEMES: Readonly<Record<number, string>> = { 1: "BFV", 2: "CKKS", 3: "BGV" };
const [COUNT_AT, PRIMES_AT] = [SEAL_HEADER_BYTES + 9, SEAL_HEADER_BYTES + 17];
// A Modulus: header and u64.
const PRIME_BYTES = SEAL_HEADER_BYTES + 8;
const MOST_PRIMES = 64;
const MOST_BYTES = PRIMES_AT + (MOST_PRIMES + 1) * PRIME_BYTES;

/**
 * Reads SEAL's EncryptionParameters: header, scheme u8, N u64, count u64, so many Modulus objects, the plain modulus.
 * Throws ClientError TENSEAL_INVALID for what is none, or of another scheme than CKKS. `name`: of the file.
 */
export function readSealParameters(data: Uint8Array, name: string): SealParameters {
  const damaged = (): Error => tensealDamaged(name, "there is no whole SEAL object for its encryption parameters");
  const encoded = inflatedParameters(data) ?? raise(damaged());
  const view = new DataView(encoded.buffer, encoded.byteOffset, encoded.byteLength);
  if (encoded.length < PRIMES_AT) throw damaged();
  const scheme = SCHEMES[view.getUint8(SEAL_HEADER_BYTES)];
  const [degree, count] = [
    Number(view.getBigUint64(SEAL_HEADER_BYTES + 1, true)),
    Number(view.getBigUint64(COUNT_AT, true)),
  ];
  if (scheme === undefined || encoded.length !== PRIMES_AT + (count + 1) * PRIME_BYTES) throw damaged();
  if (scheme !== "CKKS")
    throw tensealInvalid(name, `is a ${scheme} context, and veilface compares CKKS vectors: ${CKKS_ADVICE}`);
  const primes = Array.from({ length: count }, (_, k) =>
    view.getBigUint64(PRIMES_AT + k * PRIME_BYTES + SEAL_HEADER_BYTES, true),
  );
  return { degree, primes, encoded };
}

function inflatedParameters(data: Uint8Array): Uint8Array | undefined {
  try {
    return inflateSeal(data, {
      what: "EncryptionParameters object",
      maxBytes: MOST_BYTES,
      malformed: "PARAMETERS_INVALID",
      tooLarge: "PARAMETERS_INVALID",
    });
  } catch (error) {
    if (error instanceof FheError) return undefined;
    throw error;
  }
}

/**
 * The same with the first `count` data primes and the reserved one. Their levels are levels of the whole chain too,
 * with the same hashes.
 */
export function withDataPrimes({ degree, primes, encoded }: SealParameters, count: number): SealParameters {
  const kept = [...primes.slice(0, count), ...primes.slice(-1)];
  const shorter = new Uint8Array(PRIMES_AT + (kept.length + 1) * PRIME_BYTES);
  shorter.set(encoded.subarray(0, PRIMES_AT + count * PRIME_BYTES));
  // The reserved prime and the plain modulus.
  shorter.set(encoded.subarray(-2 * PRIME_BYTES), PRIMES_AT + count * PRIME_BYTES);
  new DataView(shorter.buffer).setBigUint64(COUNT_AT, BigInt(kept.length), true);
  writeSealHeader(shorter, 0, shorter.length);
  return { degree, primes: kept, encoded: shorter };
}

/** Bytes of `keys` uncompressed keys, each of one ciphertext over all primes for each of `dataPrimes`. */
export function keyBytes(degree: number, dataPrimes: number, keys: number): number {
  return keys * dataPrimes * (CIPHERTEXT_HEADER_BYTES + 16 * (dataPrimes + 1) * degree);
}

/**
 * How many data primes a context may keep at most so that a server takes its fresh ciphertexts, and so many keys. A
 * comparison needs two.
 */
export function dataPrimesThatFit({ degree, primes }: SealParameters, keys: number): number {
  // Two SEAL headers, and a count for each of N possible keys.
  const room = MAX_KEY_BYTES - 8 * degree - 256;
  let count = primes.length - 1;
  const fits = (): boolean =>
    keyBytes(degree, count, keys) <= room &&
    CIPHERTEXT_HEADER_BYTES + 16 * count * degree <= MAX_PAIRWISE_CIPHERTEXT_BYTES;
  while (count > 0 && !fits()) count--;
  return count;
}

/** SEAL's hashes of parameters. Throws ClientError TENSEAL_INVALID where SEAL refuses them. `name`: of the file. */
export async function parmsIdsOf(degree: number, primes: readonly bigint[], name: string): Promise<ParmsIds> {
  const seal = await loadPublicSeal();
  try {
    using context = openCkksContext(seal, { degree, primes }, "the encryption parameters");
    return { key: parmsIdBytes(context.keyParmsId()), data: parmsIdBytes(context.firstParmsId()) };
  } catch (cause) {
    throw tensealInvalid(name, `has encryption parameters that SEAL refuses: ${CKKS_ADVICE}`, cause);
  }
}

/**
 * The primes that TenSEAL's context had before its last data primes were dropped, so that it has `dataPrimes` of them:
 * TenSEAL chooses primes by N and their sizes alone. The dropped ones are taken to be of one size. Undefined where
 * there are no such.
 */
export async function wholeChains(degree: number, primes: readonly bigint[], dataPrimes: number): Promise<bigint[][]> {
  const seal = await loadPublicSeal();
  const kept = primes.slice(0, -1);
  const sizes = primes.map((prime) => prime.toString(2).length);
  const [MIN, MAX] = [20, 60];
  const chains = Array.from({ length: MAX - MIN + 1 }, (_, i) =>
    chainOf(seal, degree, [
      ...sizes.slice(0, -1),
      ...new Array<number>(dataPrimes - kept.length).fill(MIN + i),
      ...sizes.slice(-1),
    ]),
  );
  return chains.filter(
    (chain): chain is bigint[] =>
      chain !== undefined && chain.at(-1) === primes.at(-1) && kept.every((prime, k) => chain[k] === prime),
  );
}

function chainOf(seal: PublicSeal, degree: number, sizes: readonly number[]): bigint[] | undefined {
  try {
    return callSeal("choose primes", () => {
      using moduli = seal.CoeffModulus.Create(degree, Int32Array.from(sizes));
      return Array.from({ length: moduli.size() }, (_, k) => {
        using modulus = moduli.get(k) ?? raise(new RangeError("SEAL lists fewer primes than it has"));
        return modulus.value();
      });
    });
  } catch {
    // There are not so many primes of that size.
    return undefined;
  }
}

function raise(error: Error): never {
  throw error;
}
