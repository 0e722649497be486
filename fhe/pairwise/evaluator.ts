import type { Ciphertext, Evaluator, GaloisKeys, RelinKeys, SEALContext } from "node-seal";
import { FheError } from "../errors.ts";
import { callSeal, savedBytes, sealMessage } from "../seal/seal.ts";
import type { PublicSeal } from "../seal/seal.ts";
import { rescalesFirst } from "./expected-error.ts";
import { checkFreshCiphertext, transparent } from "./fresh-ciphertext.ts";
import type { EvaluationKeys } from "./keys.ts";
import { levelsOf, openPairwiseContext } from "./levels.ts";
import type { PairwiseLevels } from "./levels.ts";
import { distanceScale, droppablePrimes } from "./parameters.ts";
import type { PairwiseParameters } from "./parameters.ts";

/**
 * What is computed from two vectors x and y: |x - y|^2, or <x, y>, the cosine similarity of unit vectors. Names of
 * veilface.v1.PairwiseOperation without the prefix.
 */
export type PairwiseOperation = "SQUARED_DISTANCE" | "INNER_PRODUCT";

/** One comparison, or many of the same kind. */
export interface PairwiseTask {
  /** Which of the two is computed. */
  readonly operation: PairwiseOperation;
  /** Components of either vector, in slots 0 to dimension - 1; in [1, N/2]. */
  readonly dimension: number;
  /** The largest absolute value that a result may have; undefined if it is not known. */
  readonly bound: number | undefined;
}

/** Compares ciphertexts of one pairwise context. Owns SEAL's context and keys; free it with `using`. */
export class PairwiseEvaluator implements Disposable {
  /** The parameters of its context, and by which hashes SEAL tells keys from ciphertexts. */
  readonly levels: PairwiseLevels;
  readonly #owned: DisposableStack;
  readonly #seal: PublicSeal;
  readonly #context: SEALContext;
  readonly #evaluator: Evaluator;
  readonly #relinKeys: RelinKeys;
  readonly #galoisKeys: GaloisKeys;
  readonly #rescaled: boolean;

  /** Throws FheError PARAMETERS_INVALID if SEAL refuses the parameters. */
  constructor(seal: PublicSeal, parameters: PairwiseParameters) {
    using owned = new DisposableStack();
    this.#seal = seal;
    this.#context = owned.use(openPairwiseContext(seal, parameters));
    this.levels = levelsOf(parameters, this.#context);
    this.#rescaled = rescalesFirst(parameters);
    this.#evaluator = owned.use(new seal.Evaluator(this.#context));
    this.#relinKeys = owned.use(new seal.RelinKeys());
    this.#galoisKeys = owned.use(new seal.GaloisKeys());
    this.#owned = owned.move();
  }

  /**
   * Needed before {@link compare}. `keys`: as `checkRelinKeys` and `checkGaloisKeys` give them. Throws FheError
   * KEYS_MALFORMED if SEAL finds a residue out of range.
   */
  loadKeys({ relinKeys, galoisKeys }: EvaluationKeys): void {
    this.#load(this.#relinKeys, relinKeys);
    this.#load(this.#galoisKeys, galoisKeys);
  }

  /** Components that a vector may have: N/2. */
  get slots(): number {
    return this.levels.parameters.degree / 2;
  }

  /**
   * By what a distance is multiplied in slot 0: scale^2 / p, p being the last data prime, or scale^2 where nothing is
   * rescaled (see {@link distanceScale}).
   */
  get resultScale(): number {
    return distanceScale(this.levels.parameters, this.#rescaled);
  }

  /**
   * A fresh ciphertext from outside, for comparisons; the caller frees it. Throws FheError as `checkFreshCiphertext`.
   */
  open(data: Uint8Array): Ciphertext {
    return this.#openChecked(checkFreshCiphertext(this.levels, data));
  }

  /** Whether both are one and the same ciphertext, byte for byte once their seeds are expanded. */
  same(first: Ciphertext, second: Ciphertext): boolean {
    return Buffer.from(this.save(first)).equals(this.save(second));
  }

  /** A ciphertext as uncompressed SEAL bytes, without a seed. */
  save(ciphertext: Ciphertext): Uint8Array {
    return savedBytes(this.#seal, ciphertext);
  }

  /**
   * Subtract and square, or multiply; relinearize; rescale; drop the primes that `bound` lets go; sum the slots into
   * slot 0 by rotations. Relinearizing after rescaling would be a seventh quicker, but its noise would not be rescaled.
   * Where rotations would be too noisy then (see `rescalesFirst`), nothing is rescaled: drop primes, relinearize,
   * rotate. Returns uncompressed SEAL bytes. The context must have the rotation keys of the dimension. Throws FheError
   * CIPHERTEXT_TRANSPARENT if both are one ciphertext and the operation is SQUARED_DISTANCE.
   */
  compare({ operation, dimension, bound }: PairwiseTask, first: Ciphertext, second: Ciphertext): Uint8Array {
    return callSeal("compare two ciphertexts", () => {
      using result = new this.#seal.Ciphertext();
      if (operation === "SQUARED_DISTANCE") this.#squareDifference(first, second, result);
      else this.#evaluator.multiply(first, second, result);
      this.#reduce(result, droppablePrimes(this.levels.parameters, bound, this.#rescaled));
      this.#sumSlots(result, dimension);
      return this.save(result);
    });
  }

  /** Frees SEAL's context and the keys; comparing is an error after it. */
  [Symbol.dispose](): void {
    this.#owned.dispose();
  }

  /** Makes two components of a product's three, with so many primes fewer. */
  #reduce(product: Ciphertext, dropped: number): void {
    if (!this.#rescaled) this.#drop(product, dropped);
    this.#evaluator.relinearizeInplace(product, this.#relinKeys);
    if (!this.#rescaled) return;
    this.#evaluator.rescaleToNextInplace(product);
    this.#drop(product, dropped);
  }

  #drop(ciphertext: Ciphertext, primes: number): void {
    for (let left = primes; left > 0; left--) this.#evaluator.cipherModSwitchToNextInplace(ciphertext);
  }

  #squareDifference(first: Ciphertext, second: Ciphertext, result: Ciphertext): void {
    try {
      this.#evaluator.sub(first, second, result);
    } catch (error) {
      // What SEAL throws where the difference is transparent has no type of its own (std::logic_error).
      if (!sealMessage(error).includes("transparent")) throw error;
      throw transparent(
        "both are the same ciphertext, so their difference hides nothing: the distance is 0; encrypt one of them again to compare them",
      );
    }
    this.#evaluator.squareInplace(result);
  }

  // Rotations as `rotationSteps` explains them: `power` is S_k with 2^k = `width`, `result` is R with `summed` slots.
  #sumSlots(result: Ciphertext, dimension: number): void {
    using power = result.copy();
    using rotated = new this.#seal.Ciphertext();
    let summed = dimension % 2;
    for (let width = 2; width <= dimension; width *= 2) {
      this.#evaluator.rotateVector(power, width / 2, this.#galoisKeys, rotated);
      this.#evaluator.addInplace(power, rotated);
      if ((dimension & width) === 0) continue;
      if (summed === 0) result.assign(power);
      else {
        this.#evaluator.rotateVector(result, width, this.#galoisKeys, rotated);
        this.#evaluator.add(power, rotated, result);
      }
      summed += width;
    }
  }

  #openChecked(bytes: Uint8Array): Ciphertext {
    using owned = new DisposableStack();
    const ciphertext = owned.use(new this.#seal.Ciphertext());
    try {
      // SEAL wants an array of its own, not a Buffer.
      ciphertext.loadFromArray(this.#context, Uint8Array.from(bytes));
    } catch (cause) {
      throw new FheError(
        "CIPHERTEXT_MALFORMED",
        "SEAL does not take the ciphertext: a residue is not below its prime, or its seed is of an unknown kind",
        { cause },
      );
    }
    owned.move();
    return ciphertext;
  }

  #load(keys: RelinKeys | GaloisKeys, bytes: Uint8Array): void {
    try {
      keys.loadFromArray(this.#context, bytes);
    } catch (cause) {
      throw new FheError(
        "KEYS_MALFORMED",
        "SEAL does not take the keys: a residue is not below its prime, or a seed is of an unknown kind",
        { cause },
      );
    }
  }
}
