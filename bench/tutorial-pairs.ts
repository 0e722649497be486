import {
  PairwiseEvaluator,
  checkGaloisKeys,
  checkRelinKeys,
  loadPublicSeal,
  readEncryptionParameters,
  withScale,
} from "@veilface/fhe";
import { TUTORIAL, TensealMaker, stepsUpTo } from "../scripts/dev/tenseal-maker.ts";
import type { EvaluationKeys, VectorForm } from "../scripts/dev/tenseal-maker.ts";
import { unitVector } from "./figures.ts";
import type { BenchLine, Work } from "./figures.ts";

/** TenSEAL's CKKSVectorProto, or SEAL's own serialisation. */
type Encoding = "TENSEAL_CKKS_VECTOR" | "SEAL";

// They take turns, so that none stays in the CPU's caches: 0.8 MB each.
const PAIRS = 8;
// Distances of unit vectors are right to 1e-6 with these parameters.
const TOLERANCE = 1e-5;

/** What every line about the pairwise scheme says. */
export function aboutTutorial(
  dimension: number,
): Pick<BenchLine, "templates" | "dimension" | "parameterSet" | "stride"> {
  return {
    templates: 1,
    dimension,
    parameterSet: `CKKS_N${TUTORIAL.degree}_${TUTORIAL.primeBits.join("_")}`,
    stride: 0,
  };
}

/**
 * Pairs of unit vectors under one key with the parameters of TenSEAL's tutorial, and the plain distances that results
 * are held to.
 */
export class TutorialPairs implements Disposable {
  readonly dimension: number;
  readonly maker: TensealMaker;
  readonly #vectors: readonly (readonly [number[], number[]])[];

  static async create(dimension: number): Promise<TutorialPairs> {
    return new TutorialPairs(dimension, await TensealMaker.create(TUTORIAL));
  }

  private constructor(dimension: number, maker: TensealMaker) {
    this.dimension = dimension;
    this.maker = maker;
    this.#vectors = Array.from({ length: PAIRS }, (_, k) => [
      [...unitVector(2 * k, dimension)],
      [...unitVector(2 * k + 1, dimension)],
    ]);
  }

  /** Evaluation keys for vectors of this dimension and no larger ones. */
  makeKeys(): EvaluationKeys {
    return this.maker.makeKeys(stepsUpTo(2 ** (Math.ceil(Math.log2(this.dimension)) - 1)));
  }

  /** Each pair encrypted. */
  encrypt(encoding: Encoding, form?: VectorForm): [Buffer, Buffer][] {
    const encrypt = (vector: number[]): Buffer =>
      encoding === "SEAL" ? this.maker.ciphertext(vector, form) : this.maker.vector(vector, form);
    return this.#vectors.map(([x, y]) => [encrypt(x), encrypt(y)]);
  }

  /** Throws unless the encrypted squared distance of the pair that is due in a round is the plain one. */
  check(round: number, encoding: Encoding, distance: Uint8Array): void {
    const found = this.maker.decrypt(`CIPHERTEXT_ENCODING_${encoding}` as const, distance);
    const [x, y] = this.#vectors[round % PAIRS]!;
    const expected = x.reduce((sum, component, k) => sum + (component - y[k]!) ** 2, 0);
    if (!(Math.abs(found - expected) < TOLERANCE)) throw new Error(`a distance is ${found}: expected ${expected}`);
  }

  /** The server's evaluator with its keys, as it opens a context that was uploaded. */
  async openEvaluator(owned: DisposableStack): Promise<PairwiseEvaluator> {
    const seal = await loadPublicSeal();
    const evaluator = owned.use(
      new PairwiseEvaluator(
        seal,
        withScale(readEncryptionParameters(seal, this.maker.encryptionParameters()), TUTORIAL.scale),
      ),
    );
    const keys = this.makeKeys();
    evaluator.loadKeys({
      relinKeys: checkRelinKeys(evaluator.levels, keys.relinKeys()).bytes,
      galoisKeys: checkGaloisKeys(evaluator.levels, keys.galoisKeys()).bytes,
    });
    return evaluator;
  }

  /**
   * A pair a run: from opened ciphertexts to the distance serialised for sending. `bound`: the largest squared
   * distance, where it is known.
   */
  comparison(owned: DisposableStack, evaluator: PairwiseEvaluator, bound: number | undefined): Work {
    const ciphertexts = this.encrypt("SEAL").map((pair) => pair.map((data) => owned.use(evaluator.open(data))));
    const task = { operation: "SQUARED_DISTANCE", dimension: this.dimension, bound } as const;
    const distances = new Map<number, Uint8Array>();
    const run = (round: number): void => {
      const [x, y] = ciphertexts[round % PAIRS]!;
      distances.set(round % PAIRS, evaluator.compare(task, x!, y!));
    };
    return {
      templates: 1,
      run,
      check: () => {
        distances.forEach((distance, pair) => {
          this.check(pair, "SEAL", distance);
        });
      },
    };
  }

  [Symbol.dispose](): void {
    this.maker[Symbol.dispose]();
  }
}
