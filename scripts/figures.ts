// Puts the figures of a bench run into README, between its figures marks. Reads docs/bench.jsonl, which `npm run performance` makes.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { BenchLine } from "../test/bench/figures.ts";

const ROOT = join(import.meta.dirname, "..");
const MARKS = /(<!-- figures[^>]*-->\n)[^]*?(<!-- \/figures -->)/;

const lines = (await readFile(join(ROOT, "docs", "bench.jsonl"), "utf8")).trim().split("\n").map((line) => JSON.parse(line) as BenchLine);

function figure(name: string, parameterSet: string, key: string): number {
  const value = lines.find((line) => line.case === name && line.parameterSet === parameterSet)?.[key];
  if (typeof value !== "number") throw new Error(`docs/bench.jsonl has no ${key} of ${name} for ${parameterSet}: run npm run performance`);
  return value;
}

const ROWS: [string, string, string, (value: number) => string][] = [
  ["encrypt a template, median", "encrypt", "p50_ms", ms],
  ["1:1 round trip on loopback, median", "compare_1_to_1", "p50_ms", ms],
  ["1:1 round trip on loopback, 95th percentile", "compare_1_to_1", "p95_ms", ms],
  ["search among 1,000 loose templates, median", "search_loose", "p50_ms", ms],
  ["enroll one by one, durable", "enroll_loose", "templates_per_s", (value) => `${value} templates/s`],
  ["sent to enroll a template", "bytes_enroll_loose", "bytes_sent", bytes],
  ["sent for a 1:1 comparison", "bytes_compare_1_to_1", "bytes_sent", bytes],
  ["received for a 1:1 comparison", "bytes_compare_1_to_1", "bytes_received", bytes],
  ["received for a search among 1,000 loose templates", "bytes_search_loose", "bytes_received", bytes],
  ["on disk per loose template", "enroll_loose", "bytes_per_template", bytes],
  ["kernel, packed templates at stride 1, one thread", "kernel_match", "templates_per_s", (value) => `${(value / 1e6).toFixed(1)} M templates/s`],
  ["kernel against SEAL's own multiply and add", "kernel_match", "ratio_to_seal", (value) => `${value} x`],
];

function ms(value: number): string {
  return `${value} ms`;
}

function bytes(value: number): string {
  return `${Math.round(value / 100) / 10} kB`;
}

const table = [
  "| 128 components, client and server on one 2-core x86-64 machine | `PACKED_N4096_Q60` | `PACKED_N4096_Q30` |",
  "|---|---|---|",
  ...ROWS.map(([label, name, key, format]) => `| ${label} | ${["PACKED_N4096_Q60", "PACKED_N4096_Q30"].map((set) => format(figure(name, set, key))).join(" | ")} |`),
];
const path = join(ROOT, "README.md");
const readme = await readFile(path, "utf8");
if (!MARKS.test(readme)) throw new Error("README.md has no figures marks");
await writeFile(path, readme.replace(MARKS, (_, open: string, close: string) => `${open}\n${table.join("\n")}\n\n${close}`));
