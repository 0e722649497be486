// One pair of embeddings under CKKS with slots, relinearization and rotations: what the server's evaluator takes for it
// with the parameters of TenSEAL's tutorial, and how many templates the packed scheme compares meanwhile. On one
// thread, without gRPC.
import { hash } from "node:crypto";
import type { ParameterSetName } from "@veilface/fhe";
import { interleave, latency, quantile, round, sample } from "./figures.ts";
import type { BenchLine, Work } from "./figures.ts";
import { looseComparison, packedScan } from "./packed-pairs.ts";
import { TutorialPairs, aboutTutorial } from "./tutorial-pairs.ts";

export const PAIRWISE_CASES = ["pairwise_compare", "pairwise_parts"];

const DIMENSIONS = [128, 512];
const PACKED_SETS: readonly ParameterSetName[] = ["PACKED_N4096_Q60", "PACKED_N4096_Q30"];
const ROUNDS = 40;
/** Bounds on the norm; that of unit vectors lets one prime go. */
const NORM_BOUNDS = ["none", 1] as const;
type NormBound = (typeof NORM_BOUNDS)[number];

/** The largest squared distance of vectors that are no longer than a bound. */
const distanceBound = (norm: NormBound): number | undefined => (norm === "none" ? undefined : 4 * norm ** 2);

/** A pair with and without a bound on the norm, taking turns with the packed scheme; about 15 seconds. */
export async function* pairwiseBench(): AsyncGenerator<BenchLine> {
  for (const dimension of DIMENSIONS) yield* pairsBesideTemplates(dimension);
  for (const dimension of DIMENSIONS) yield await parts(dimension);
}

/** What a comparison on the server is made of: medians, in milliseconds, of parts that take turns. */
async function parts(dimension: number): Promise<BenchLine> {
  using owned = new DisposableStack();
  const pairs = owned.use(await TutorialPairs.create(dimension));
  const evaluator = await pairs.openEvaluator(owned);
  const [[x, y]] = pairs.encrypt("SEAL") as [[Buffer, Buffer]];
  const [raw, other] = [owned.use(evaluator.open(x)), owned.use(evaluator.open(y))];
  const bytes = evaluator.save(raw);
  const compare = (components: number, bound?: number) => (): void => {
    evaluator.compare({ operation: "SQUARED_DISTANCE", dimension: components, bound }, raw, other);
  };
  const works = {
    sha256_ms: () => hash("sha256", bytes, "buffer"),
    open_ms: () => {
      evaluator.open(bytes).delete();
    },
    open_zstd_ms: () => {
      evaluator.open(x).delete();
    },
    // One component takes no rotation.
    product_ms: compare(1),
    compare_ms: compare(dimension),
    compare_bounded_ms: compare(dimension, 4),
  };
  const samples = await interleave(ROUNDS, Object.values(works));
  const medians = Object.keys(works).map((name, k) => [name, round(quantile(samples[k]!, 0.5))] as const);
  return { case: "pairwise_parts", ...aboutTutorial(dimension), ...Object.fromEntries(medians) };
}

/** A pair as tutorials compare it, without a bound. */
export async function tutorialBench(dimension: number): Promise<BenchLine> {
  using owned = new DisposableStack();
  const [comparison] = await comparisons(owned, dimension, ["none"]);
  const samples = await sample(ROUNDS, comparison!.run);
  comparison!.check();
  return { case: "pairwise_tutorial", ...aboutTutorial(dimension), ...latency(samples) };
}

async function* pairsBesideTemplates(dimension: number): AsyncGenerator<BenchLine> {
  using owned = new DisposableStack();
  const pairs = await comparisons(owned, dimension, NORM_BOUNDS);
  const packed: Work[] = [];
  for (const set of PACKED_SETS)
    packed.push(await packedScan(owned, set, dimension), await looseComparison(owned, set, dimension));
  const works = [...pairs, ...packed];
  const samples = await interleave(
    ROUNDS,
    works.map(({ run }) => run),
  );
  for (const { check } of works) check();
  const medians = works.map(({ templates }, k) => quantile(samples[k]!, 0.5) / templates);
  for (const [k, bound] of NORM_BOUNDS.entries()) {
    const about = { case: "pairwise_compare", ...aboutTutorial(dimension), norm_bound: bound, ...latency(samples[k]!) };
    for (const [j, set] of PACKED_SETS.entries()) {
      const [scan, loose] = medians.slice(pairs.length + 2 * j);
      yield {
        ...about,
        packed_set: set,
        packed_us: us(scan!),
        ratio_to_packed: round(medians[k]! / scan!),
        loose_us: us(loose!),
        ratio_to_loose: round(medians[k]! / loose!),
      };
    }
  }
}

async function comparisons(owned: DisposableStack, dimension: number, bounds: readonly NormBound[]): Promise<Work[]> {
  const pairs = owned.use(await TutorialPairs.create(dimension));
  const evaluator = await pairs.openEvaluator(owned);
  return bounds.map((bound) => pairs.comparison(owned, evaluator, distanceBound(bound)));
}

function us(ms: number): number {
  return round(1e3 * ms);
}
