import { DEGREE, RingKernel, packedContextId, parameterSet } from "@veilface/fhe";
import type { ParameterSet, ParameterSetName } from "@veilface/fhe";
import type { Drawing } from "./drawing.ts";

/** A key of the test vectors, with encryption and decryption as docs/wire-format.md describes them, without SEAL. */
export class DrawnKey {
  readonly set: ParameterSet;
  readonly keyId: Buffer;
  readonly contextId: string;
  /** 4096 coefficients of -1, 0 and 1. */
  readonly secret: Float64Array;
  readonly kernel: RingKernel;
  readonly #drawing: Drawing;
  /** In NTT form, [prime][4096]. */
  readonly #secretValues: readonly bigint[];

  constructor(set: ParameterSetName, drawing: Drawing) {
    this.set = parameterSet(set);
    this.#drawing = drawing;
    this.keyId = drawing.bytes(32);
    this.contextId = packedContextId(set, this.keyId);
    this.secret = drawing.ternary();
    this.kernel = RingKernel.create(this.set.dataPrimes, { probes: 1, pieces: 1 });
    this.#secretValues = Array.from(this.kernel.encode(this.secret), BigInt);
  }

  /** A fresh ciphertext (m - a s - e, a) of 4096 whole coefficients: residues [component][prime][4096]. */
  encrypt(coefficients: Float64Array): Uint32Array {
    const a = this.#drawing.uniform(this.set.dataPrimes);
    const error = this.#drawing.error();
    const message = this.kernel.encode(coefficients.map((c, i) => c - error[i]!));
    const first = this.#secretValues.map((s, i) =>
      Number(modulo(BigInt(message[i]!) - BigInt(a[i]!) * s, this.#primeAt(i))),
    );
    return Uint32Array.from([...first, ...a]);
  }

  /** The 4096 centred coefficients of c0 + c1 s + c2 s^2, for a ciphertext of any number of components. */
  decrypt(residues: Uint32Array): bigint[] {
    const values = this.#secretValues.map((s, i) => {
      let sum = 0n;
      for (let at = residues.length - this.#secretValues.length + i; at >= 0; at -= this.#secretValues.length)
        sum = sum * s + BigInt(residues[at]!);
      return Number(sum % this.#primeAt(i));
    });
    return this.#centered(Uint32Array.from(values));
  }

  #primeAt(index: number): bigint {
    return BigInt(this.set.dataPrimes[Math.floor(index / DEGREE)]!);
  }

  // By the Chinese remainder theorem in whole numbers: the kernel's own joining of two primes ends in doubles, which
  // round above 2^53.
  #centered(values: Uint32Array): bigint[] {
    const primes = this.set.dataPrimes.map(BigInt);
    const q = primes.reduce((product, prime) => product * prime);
    const terms = primes.map((prime, k) => {
      const coefficients = RingKernel.create([Number(prime)]).decode(values.subarray(k * DEGREE, (k + 1) * DEGREE));
      const unit = (q / prime) * inverse(q / prime, prime);
      return Array.from(coefficients, (c) => BigInt(c) * unit);
    });
    return Array.from({ length: DEGREE }, (_, i) => {
      const x = modulo(
        terms.reduce((sum, term) => sum + term[i]!, 0n),
        q,
      );
      return 2n * x > q ? x - q : x;
    });
  }
}

function modulo(value: bigint, modulus: bigint): bigint {
  return ((value % modulus) + modulus) % modulus;
}

/** By Fermat. */
function inverse(value: bigint, prime: bigint): bigint {
  let result = 1n;
  for (
    let square = value % prime, exponent = prime - 2n;
    exponent > 0n;
    exponent >>= 1n, square = (square * square) % prime
  ) {
    if (exponent & 1n) result = (result * square) % prime;
  }
  return result;
}
