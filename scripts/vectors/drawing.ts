import { createHash } from "node:crypto";
import { DEGREE } from "@veilface/fhe";

const STREAM_BYTES = 1 << 18;

/**
 * Values drawn from the SHAKE256 stream of a published label, so that whoever doubts a vector can draw it again. They
 * are as good as random in shape, and protect nothing.
 */
export class Drawing {
  readonly #stream: Buffer;
  #at = 0;

  /** `label`: what the values are for. Another label gives other values. */
  constructor(label: string) {
    this.#stream = createHash("shake256", { outputLength: STREAM_BYTES })
      .update(`veilface test vectors: ${label}`)
      .digest();
  }

  bytes(count: number): Buffer {
    this.#at += count;
    return this.#stream.subarray(this.#at - count, this.#at);
  }

  /** A whole number in [0, below), below at most 2^30. */
  below(below: number): number {
    for (;;) {
      // The two highest bits are dropped: then fewer than half of the candidates are refused for a prime near 2^30.
      const candidate = this.#word() >>> 2;
      if (candidate < Math.floor(2 ** 30 / below) * below) return candidate % below;
    }
  }

  /** The values of a polynomial in NTT form that is uniform modulo each prime, [prime][4096]. */
  uniform(primes: readonly number[]): Uint32Array {
    return Uint32Array.from(primes.flatMap((prime) => Array.from({ length: DEGREE }, () => this.below(prime))));
  }

  /** A secret key: 4096 coefficients of -1, 0 and 1. */
  ternary(): Float64Array {
    return Float64Array.from({ length: DEGREE }, () => this.below(3) - 1);
  }

  /** An error polynomial as SEAL samples it: coefficients are differences of the weights of 21 bits, in [-21, 21]. */
  error(): Float64Array {
    return Float64Array.from({ length: DEGREE }, () => weight(this.#word() >>> 11) - weight(this.#word() >>> 11));
  }

  /** Components of an embedding in (-bound, bound), with four decimals, which JSON keeps exactly. */
  components(count: number, bound: number): number[] {
    const steps = Math.round(bound * 1e4);
    return Array.from({ length: count }, () => (this.below(2 * steps - 1) - steps + 1) / 1e4);
  }

  #word(): number {
    return this.bytes(4).readUInt32LE();
  }
}

function weight(bits: number): number {
  let count = 0;
  for (let rest = bits; rest > 0; rest >>>= 1) count += rest & 1;
  return count;
}
