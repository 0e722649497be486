// npm run --silent bench -- --json prints one JSON line per case; without --json, the same as text.
import { parseArgs } from "node:util";
import { PARAMETER_SET_NAMES } from "@veilface/fhe";
import type { BenchLine } from "./figures.ts";
import { kernelBench } from "./kernel-bench.ts";
import { roadBench } from "./road-bench.ts";

const { values } = parseArgs({ options: { json: { type: "boolean", default: false } } });

async function* cases(): AsyncGenerator<BenchLine> {
  for (const name of PARAMETER_SET_NAMES) yield* roadBench(name);
  yield* kernelBench();
}

for await (const line of cases()) console.log(values.json ? JSON.stringify(line) : asText(line));

function asText({ case: name, templates, dimension, parameterSet, stride, ...figures }: BenchLine): string {
  const about = `${name.padEnd(22)} ${parameterSet}  ${templates} templates, d ${dimension}, s ${stride}:`;
  return [about, ...Object.entries(figures).map(([figure, value]) => `${figure} ${value}`)].join("  ");
}
