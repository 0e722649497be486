/* eslint-disable @typescript-eslint/no-non-null-assertion -- typed arrays, read inside their bounds */
import { FheError } from "../errors.ts";
import type { KernelMemory, MatchingRoom, StoredResidues } from "./kernel-memory.ts";
import { createKernelMemory, POLYNOMIAL_BYTES } from "./kernel-memory.ts";
import { ProbeMatcher } from "./probe-matcher.ts";
import { DEGREE as N } from "../parameter-sets.ts";

/** Bytes of one bit-packed polynomial: 4096 residues of 30 bits. */
export const PACKED_POLYNOMIAL_BYTES = (N * 30) / 8;

// Above this the quotient by a prime is no longer exact in a double.
const MAX_COEFFICIENT = 2 ** 51;

/**
 * Arithmetic in Z[X]/(X^4096 + 1) modulo one or two primes below 2^30, in WebAssembly SIMD. One instance has one fixed
 * memory and belongs to one thread.
 *
 * "Residues" are u32 below their prime, ordered [component][prime][coefficient] as SEAL orders them, in SEAL's NTT
 * form: negacyclic, psi the smallest primitive 8192-th root of unity, powers and output bit-reversed. L is the number
 * of primes. Results are fresh arrays that the caller owns.
 */
export class RingKernel {
  /** The primes as they were given to {@link create}, in that order. */
  readonly primes: readonly number[];
  readonly #memory: KernelMemory;
  readonly #matcher: ProbeMatcher | undefined;

  private constructor(primes: readonly number[], room: MatchingRoom | undefined) {
    this.#memory = createKernelMemory(primes, room);
    this.#matcher = room && new ProbeMatcher(this.#memory, room);
    this.primes = Object.freeze([...primes]);
  }

  /**
   * A kernel for one or two NTT primes between 2^29 and 2^30, in the order of the parameter set. `room`: what to
   * reserve for {@link loadProbes}; without it the kernel cannot match. Takes a few milliseconds a prime (tables) and
   * about (2 pieces + 3 probes + 10) * L * 16 KiB + 0.3 MiB of memory, pieces and probes as in room. Throws FheError
   * PARAMETERS_INVALID.
   */
  static create(primes: readonly number[], room?: MatchingRoom): RingKernel {
    return new RingKernel(primes, room);
  }

  /**
   * Coefficients to NTT form: [prime][coefficient], L * N residues. `coefficients`: N integers, |c| < min(2^51, Q/2), Q
   * the product of the primes. Throws FheError LAYOUT_INVALID where they are not N, EMBEDDING_INVALID where one is no
   * integer, SCALE_OVERFLOW where one is too large.
   */
  encode(coefficients: Float64Array): Uint32Array<ArrayBuffer> {
    this.#assertCoefficients(coefficients);
    const { exports, bytes, moduli, regions } = this.#memory;
    new Float64Array(bytes.buffer, regions.coefficients, N).set(coefficients);
    moduli.forEach((modulus, i) => {
      const residues = regions.residues + i * POLYNOMIAL_BYTES;
      exports.reduceCoefficients(regions.coefficients, residues, modulus);
      exports.forwardNtt(residues, modulus);
    });
    return this.#read(regions.residues, this.primes.length * N);
  }

  /**
   * NTT form to N coefficients, centered: in (-Q/2, Q/2), exact below 2^53 and rounded to double precision above.
   * `residues`: [prime][coefficient], L * N of them. Throws FheError CIPHERTEXT_MALFORMED for another length, or a
   * residue that is not below its prime.
   */
  decode(residues: Uint32Array): Float64Array<ArrayBuffer> {
    const { exports, bytes, moduli, regions, garnerInverse } = this.#memory;
    if (residues.length !== this.primes.length * N)
      throw malformed(`${residues.length} residues`, `${this.primes.length * N}, one plaintext`);
    this.checkRange(residues);
    this.#write(regions.residues, residues);
    moduli.forEach((modulus, i) => {
      exports.inverseNtt(regions.residues + i * POLYNOMIAL_BYTES, modulus);
    });
    const [first, second] = moduli;
    if (second === undefined) exports.center(regions.residues, regions.coefficients, first!);
    else
      exports.centerTwo(
        regions.residues,
        regions.residues + POLYNOMIAL_BYTES,
        regions.coefficients,
        first!,
        second,
        garnerInverse,
      );
    return new Float64Array(bytes.buffer, regions.coefficients, N).slice();
  }

  /**
   * Throws FheError CIPHERTEXT_MALFORMED for residues that came from elsewhere, unless they are whole polynomials, the
   * p-th below prime p mod L.
   */
  checkRange(residues: StoredResidues): void {
    const { exports, regions } = this.#memory;
    this.#eachPolynomial(residues, POLYNOMIAL_BYTES, (source, modulus) => {
      this.#write(regions.residues, source);
      this.#assertInRange(exports.countInRange(regions.residues, POLYNOMIAL_BYTES, modulus));
    });
  }

  /**
   * Bit-packs polynomials: residue i of a polynomial takes bits 30i to 30i+29 of its 15,360 bytes, where bit b is bit b
   * mod 8 (least significant first) of byte floor(b / 8). Polynomials follow each other in the order of the residues;
   * the p-th is modulo prime p mod L. Throws FheError CIPHERTEXT_MALFORMED for what is not whole polynomials, or a
   * residue that is not below its prime.
   */
  pack(residues: StoredResidues): Uint8Array<ArrayBuffer> {
    const { exports, bytes, regions } = this.#memory;
    const packed = new Uint8Array(((residues.byteLength / POLYNOMIAL_BYTES) * PACKED_POLYNOMIAL_BYTES) | 0);
    this.#eachPolynomial(residues, POLYNOMIAL_BYTES, (source, modulus, index) => {
      this.#write(regions.residues, source);
      this.#assertInRange(exports.countInRange(regions.residues, POLYNOMIAL_BYTES, modulus));
      exports.packPolynomial(regions.residues, regions.coefficients);
      packed.set(
        bytes.subarray(regions.coefficients, regions.coefficients + PACKED_POLYNOMIAL_BYTES),
        index * PACKED_POLYNOMIAL_BYTES,
      );
    });
    return packed;
  }

  /**
   * Inverse of {@link pack}. Throws FheError CIPHERTEXT_MALFORMED unless it is a positive multiple of 15,360 bytes
   * whose residues are below their primes.
   */
  unpack(packed: Uint8Array): Uint32Array<ArrayBuffer> {
    const { exports, words, regions } = this.#memory;
    const residues = new Uint32Array(((packed.byteLength / PACKED_POLYNOMIAL_BYTES) * N) | 0);
    this.#eachPolynomial(packed, PACKED_POLYNOMIAL_BYTES, (source, modulus, index) => {
      this.#write(regions.coefficients, source);
      exports.unpackPolynomial(regions.coefficients, regions.residues);
      this.#assertInRange(exports.countInRange(regions.residues, POLYNOMIAL_BYTES, modulus));
      residues.set(words.subarray(regions.residues / 4, regions.residues / 4 + N), index * N);
    });
    return residues;
  }

  /**
   * Polynomials in NTT form, or a ciphertext of any number of components, times X^exponent: moves slot 0 to slot i with
   * exponent i * stride. `residues`: whole components, each [prime][coefficient], below their primes (not checked),
   * else FheError CIPHERTEXT_MALFORMED. `exponent`: a whole number in [0, 2N), else LAYOUT_INVALID; from N on it is
   * -X^(exponent - N).
   */
  multiplyByMonomial(residues: StoredResidues, exponent: number): Uint32Array<ArrayBuffer> {
    if (!Number.isInteger(exponent) || exponent < 0 || exponent >= 2 * N)
      throw new FheError("LAYOUT_INVALID", `exponent ${exponent}: expected an integer in [0, ${2 * N})`);
    const { exports, words, moduli, regions } = this.#memory;
    this.#assertComponents(residues);
    const product = new Uint32Array(residues.byteLength / 4);
    moduli.forEach((_, i) => {
      this.#writeMonomial(regions.accumulator + i * POLYNOMIAL_BYTES, exponent, i);
    });
    this.#eachPolynomial(residues, POLYNOMIAL_BYTES, (source, modulus, index) => {
      this.#write(regions.residues, source);
      exports.multiplyPolynomial(
        regions.residues,
        regions.accumulator + (index % moduli.length) * POLYNOMIAL_BYTES,
        modulus,
      );
      product.set(words.subarray(regions.residues / 4, regions.residues / 4 + N), index * N);
    });
    return product;
  }

  /**
   * Sum of ciphertexts (or plaintexts) of one to three components each, all of the same number, residues below their
   * primes (not checked); an iterator may read them from a store one at a time. Throws FheError LAYOUT_INVALID where
   * there is nothing to add, CIPHERTEXT_MALFORMED for other lengths.
   */
  sum(parts: Iterable<StoredResidues>): Uint32Array<ArrayBuffer> {
    const { regions } = this.#memory;
    let length = 0;
    for (const part of parts) {
      if (length === 0) {
        this.#assertComponents(part, 3);
        this.#write(regions.accumulator, part);
        length = part.byteLength;
      } else {
        if (part.byteLength !== length) throw malformed(`${part.byteLength} bytes`, `${length}, as the first part has`);
        this.#write(regions.residues, part);
        this.#accumulate(length);
      }
    }
    if (length === 0) throw new FheError("LAYOUT_INVALID", "sum of no ciphertexts: expected at least one");
    return this.#read(regions.accumulator, length / 4);
  }

  /**
   * Makes these the probes that {@link matchBlock} multiplies with, in place of earlier ones: tile-major as toTiles
   * gives them, all of the same number of pieces, below their primes (not checked). Throws FheError LAYOUT_INVALID for
   * other lengths, or more than the room given to {@link create}.
   */
  loadProbes(probes: readonly Uint32Array[]): void {
    this.#requireMatcher().load(probes);
  }

  /**
   * Products of one block with every loaded probe, summed over the pieces: a ciphertext of three components for each
   * probe, [component][prime][coefficient]: (sum t0 p0, sum t0 p1 + t1 p0, sum t1 p1). `chunks`: the block's tiles
   * (toTiles), in order, in chunks of whole tiles; residues below their primes (not checked: others give a wrong
   * product, nothing worse). They are copied one chunk at a time, so an iterator may read them from a store and reuse
   * its buffer. Throws FheError LAYOUT_INVALID where no probes are loaded, or these are not the tiles of one block.
   */
  matchBlock(chunks: Iterable<StoredResidues>): Uint32Array<ArrayBuffer>[] {
    return this.matchBlocks([chunks])[0]!;
  }

  /**
   * Products of several blocks, as {@link matchBlock} of each, side by side: the probe is read from memory once for all
   * of them. Iterators are stepped in turn, one chunk each; a chunk need not outlive the step. Throws FheError
   * LAYOUT_INVALID as {@link matchBlock}, and for more blocks than the room given to {@link create}.
   */
  matchBlocks(blocks: readonly Iterable<StoredResidues>[]): Uint32Array<ArrayBuffer>[][] {
    return this.#requireMatcher().matchBlocks(blocks);
  }

  /**
   * Memory of the kernel that chunks may be read into, to be matched without a copy. Empty unless room was given to
   * create.
   */
  get chunkBuffer(): Uint8Array<ArrayBuffer> {
    const { bytes, regions } = this.#memory;
    return bytes.subarray(regions.chunk, regions.chunk + regions.chunkBytes);
  }

  #requireMatcher(): ProbeMatcher {
    if (!this.#matcher)
      throw new FheError(
        "LAYOUT_INVALID",
        "this kernel was created without room for probes: pass it to RingKernel.create",
      );
    return this.#matcher;
  }

  #writeMonomial(address: number, exponent: number, primeIndex: number): void {
    const { exports, words, moduli } = this.#memory;
    const prime = this.primes[primeIndex]!;
    words.fill(0, address / 4, address / 4 + N);
    // Times 2^32, the Montgomery factor of the product that follows.
    const factor = 2 ** 32 % prime;
    words[address / 4 + (exponent % N)] = exponent < N ? factor : prime - factor;
    exports.forwardNtt(address, moduli[primeIndex]!);
  }

  #accumulate(bytes: number): void {
    const { exports, moduli, regions } = this.#memory;
    for (let offset = 0, i = 0; offset < bytes; offset += POLYNOMIAL_BYTES, i++) {
      exports.addPolynomial(regions.accumulator + offset, regions.residues + offset, moduli[i % moduli.length]!);
    }
  }

  #write(address: number, source: StoredResidues): void {
    this.#memory.bytes.set(new Uint8Array(source.buffer, source.byteOffset, source.byteLength), address);
  }

  #read(address: number, length: number): Uint32Array<ArrayBuffer> {
    return this.#memory.words.slice(address / 4, address / 4 + length);
  }

  #eachPolynomial(
    source: StoredResidues,
    polynomialBytes: number,
    visit: (polynomial: Uint8Array, modulus: number, index: number) => void,
  ): void {
    const { byteLength } = source;
    if (byteLength === 0 || byteLength % polynomialBytes !== 0)
      throw malformed(`${byteLength} bytes`, `a positive multiple of ${polynomialBytes}, whole polynomials`);
    const bytes = new Uint8Array(source.buffer, source.byteOffset, byteLength);
    for (let index = 0; index * polynomialBytes < byteLength; index++) {
      visit(
        bytes.subarray(index * polynomialBytes, (index + 1) * polynomialBytes),
        this.#memory.moduli[index % this.primes.length]!,
        index,
      );
    }
  }

  #assertInRange(count: number): void {
    if (count !== N) throw malformed("a residue that is not below its prime", "residues of this parameter set");
  }

  #assertComponents(residues: StoredResidues, most = Infinity): void {
    const components = residues.byteLength / (this.primes.length * POLYNOMIAL_BYTES);
    if (!Number.isInteger(components) || components < 1 || components > most)
      throw malformed(`${residues.byteLength} bytes`, `whole components of ${this.primes.length * POLYNOMIAL_BYTES}`);
  }

  #assertCoefficients(coefficients: Float64Array): void {
    if (coefficients.length !== N)
      throw new FheError("LAYOUT_INVALID", `${coefficients.length} coefficients: expected ${N}`);
    const limit = Math.min(MAX_COEFFICIENT, this.primes.reduce((product, prime) => product * prime, 1) / 2);
    for (const coefficient of coefficients) {
      if (!Number.isInteger(coefficient))
        throw new FheError("EMBEDDING_INVALID", "a coefficient is not an integer: scale and round before encoding");
      if (Math.abs(coefficient) >= limit)
        throw new FheError(
          "SCALE_OVERFLOW",
          `a coefficient is not below 2^${Math.log2(limit).toFixed(1)}: lower the scale`,
        );
    }
  }
}

function malformed(got: string, expected: string): FheError {
  return new FheError("CIPHERTEXT_MALFORMED", `got ${got}, expected ${expected}`);
}
