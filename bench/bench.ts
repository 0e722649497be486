// npm run --silent bench -- --json prints one JSON line per case; without --json, the same as text. --only PREFIX runs
// the cases that start with it.
import { parseArgs } from "node:util";
import { PARAMETER_SET_NAMES } from "@veilface/fhe";
import type { BenchLine } from "./figures.ts";
import { HEALTH_CASES, healthBench } from "./health-bench.ts";
import { KERNEL_CASES, kernelBench } from "./kernel-bench.ts";
import { PAIRWISE_CASES, pairwiseBench } from "./pairwise-bench.ts";
import { PAIRWISE_RPC_CASES, pairwiseRpcBench } from "./pairwise-rpc-bench.ts";
import { ROAD_CASES, roadBench } from "./road-bench.ts";

const { values } = parseArgs({
  options: { json: { type: "boolean", default: false }, only: { type: "string", default: "" } },
});

interface Bench {
  /** The names of the lines that it yields. */
  readonly cases: readonly string[];
  readonly run: () => AsyncIterable<BenchLine>;
}

const BENCHES: readonly Bench[] = [
  ...PARAMETER_SET_NAMES.map((name): Bench => ({ cases: ROAD_CASES, run: () => roadBench(name) })),
  { cases: HEALTH_CASES, run: healthBench },
  { cases: KERNEL_CASES, run: kernelBench },
  { cases: PAIRWISE_CASES, run: pairwiseBench },
  { cases: PAIRWISE_RPC_CASES, run: pairwiseRpcBench },
];

const wanted = (name: string): boolean => name.startsWith(values.only);
const benches = BENCHES.filter(({ cases }) => cases.some(wanted));
if (benches.length === 0)
  throw new Error(
    `no case starts with ${values.only}: expected the start of one of ${[...new Set(BENCHES.flatMap(({ cases }) => cases))].join(", ")}`,
  );
for (const { run } of benches) {
  for await (const line of run()) if (wanted(line.case)) console.log(values.json ? JSON.stringify(line) : asText(line));
}

function asText({ case: name, templates, dimension, parameterSet, stride, ...figures }: BenchLine): string {
  const about = `${name.padEnd(22)} ${parameterSet}  ${templates} templates, d ${dimension}, s ${stride}:`;
  return [about, ...Object.entries(figures).map(([figure, value]) => `${figure} ${value}`)].join("  ");
}
