import initialize from "node-seal";
import type { Ciphertext, MainModule, ParmsIdType, SEALContext } from "node-seal";
import { FheError } from "../errors.ts";
import { DEGREE } from "../parameter-sets.ts";
import type { ParameterSet } from "../parameter-sets.ts";

/** All of SEAL: for the key holder only. */
export type Seal = MainModule;

/** What the matching server may see of SEAL: nothing that makes, holds or uses a secret key. */
export type PublicSeal = Omit<MainModule, "SecretKey" | "KeyGenerator" | "Decryptor">;

let loading: Promise<MainModule> | undefined;

/** SEAL for the key holder. Loaded once per thread. Needs Node >= 22 (WebAssembly exception references). */
export async function loadSealForKeyHolder(): Promise<Seal> {
  loading ??= initialize();
  return loading;
}

/** SEAL without its secret half. Loaded once per thread. */
export async function loadPublicSeal(): Promise<PublicSeal> {
  return loadSealForKeyHolder();
}

/**
 * Runs a call into SEAL and translates what it throws: SEAL's errors arrive as WebAssembly.Exception whose `message` is
 * [C++ type, text]. Throws FheError SEAL_FAILED naming `what` was tried; an FheError passes as it is.
 */
export function callSeal<T>(what: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    if (error instanceof FheError) throw error;
    throw new FheError("SEAL_FAILED", `SEAL could not ${what}: ${sealMessage(error)}`, { cause: error });
  }
}

/** What an error that came through SEAL says. */
export function sealMessage(error: unknown): string {
  const message: unknown = typeof error === "object" && error !== null && "message" in error ? error.message : error;
  return Array.isArray(message) ? message.map(String).join(": ") : String(message);
}

/**
 * A SEAL context of a parameter set. The caller owns it and frees it. Throws FheError PARAMETERS_INVALID if SEAL finds
 * it below 128 bits.
 */
export function openSealContext(seal: PublicSeal, set: ParameterSet): SEALContext {
  const primes = [...set.dataPrimes, set.reservedPrime].map(BigInt);
  return openCkksContext(seal, { degree: DEGREE, primes }, `parameter set ${set.name}`);
}

/** What a CKKS context of SEAL is made of: Z[X] / (X^N + 1) modulo several primes. */
export interface CkksRing {
  /** N, a power of two: polynomials have so many coefficients. */
  readonly degree: number;
  /** Distinct, each 1 mod 2N, in SEAL's order: the one that is reserved for switching keys last. */
  readonly primes: readonly bigint[];
}

/**
 * A SEAL context of CKKS parameters, which the caller owns and frees. Throws FheError PARAMETERS_INVALID, calling them
 * `what`, if SEAL finds them below 128 bits of security or otherwise unfit.
 */
export function openCkksContext(seal: PublicSeal, { degree, primes: moduli }: CkksRing, what: string): SEALContext {
  using parameters = new seal.EncryptionParameters(seal.SchemeType.ckks);
  using primes = new seal.VectorModulus();
  for (const prime of moduli) {
    using modulus = new seal.Modulus(prime);
    primes.push_back(modulus);
  }
  parameters.setPolyModulusDegree(degree);
  parameters.setCoeffModulus(primes);
  const context = new seal.SEALContext(parameters, true, seal.SecLevelType.tc128);
  if (context.parametersSet()) return context;
  context.delete();
  throw new FheError(
    "PARAMETERS_INVALID",
    `SEAL refuses ${what}: expected distinct primes that are 1 modulo 2N and 128 bits of security`,
  );
}

/** SEAL's hash of a level's parameters, 32 bytes, as it stands in every object of that level. Frees the handle. */
export function parmsIdBytes(handle: ParmsIdType): Uint8Array {
  using parmsId = handle;
  // node-seal declares nothing of what its arrays are; this is a view of SEAL's memory.
  return new Uint8Array((parmsId.values() as BigUint64Array).slice().buffer);
}

/** An object of SEAL's as its uncompressed bytes. */
export function savedBytes(seal: PublicSeal, object: Pick<Ciphertext, "saveToArray">): Uint8Array {
  // Not declared by node-seal either.
  return object.saveToArray(seal.ComprModeType.none) as Uint8Array;
}
