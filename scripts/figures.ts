// Puts the figures of a bench run into README, between its figures marks. Reads docs/bench.jsonl, which `npm run
// performance` makes.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { BenchLine } from "../bench/figures.ts";

const ROOT = join(import.meta.dirname, "..");
const MARKS = /(<!-- figures[^>]*-->\n)[^]*?(<!-- \/figures -->)/;
const PACKED_SETS = ["PACKED_N4096_Q60", "PACKED_N4096_Q30"];
const DIMENSION = 128;

/** Where a figure stands in the bench, and how it is written. */
interface Cell {
  readonly from: string;
  readonly key: string;
  readonly as: (value: number) => string;
  /** What else tells the line apart. */
  readonly where?: Readonly<Record<string, unknown>>;
}

const lines = (await readFile(join(ROOT, "docs", "bench.jsonl"), "utf8"))
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as BenchLine);

function figure({ from, key, as, where }: Cell): string {
  const wanted = Object.entries({ case: from, dimension: DIMENSION, ...where });
  const value = lines.find((line) => wanted.every(([name, expected]) => line[name] === expected))?.[key];
  if (typeof value !== "number")
    throw new Error(
      `docs/bench.jsonl has no ${key} of ${JSON.stringify(Object.fromEntries(wanted))}: run npm run performance`,
    );
  return as(value);
}

const ms = (value: number): string => `${value} ms`;
const bytes = (value: number): string => `${Math.round(value / 100) / 10} kB`;
const times = (value: number): string => value.toLocaleString("en");
const perSecond = (value: number): string => `${value} templates/s`;

/** A figure of the packed scheme, in the column of its parameter set. */
const packed =
  (from: string, key: string, as: Cell["as"]) =>
  (set: string): Cell => ({ from, key, as, where: { parameterSet: set } });
const besidePairs =
  (key: string, as: Cell["as"]) =>
  (set: string): Cell => ({ from: "pairwise_compare", key, as, where: { packed_set: set, norm_bound: "none" } });
const pairwise = (from: string, key: string, as: Cell["as"], where: Cell["where"] = {}): Cell => ({
  from,
  key,
  as,
  where: { ...where, norm_bound: "none" },
});
const pairwiseRpc = (key: string, as: Cell["as"]): Cell =>
  pairwise("pairwise_rpc", key, as, { encoding: "TENSEAL_CKKS_VECTOR" });

const ROWS: readonly { readonly label: string; readonly packed?: (set: string) => Cell; readonly pairwise?: Cell }[] = [
  { label: "encrypt a template, median", packed: packed("encrypt", "p50_ms", ms) },
  {
    label: "1:1 round trip on loopback, encrypting and decrypting included, median",
    packed: packed("compare_1_to_1", "p50_ms", ms),
  },
  { label: "the same, 95th percentile", packed: packed("compare_1_to_1", "p95_ms", ms) },
  { label: "two ciphertexts compared on loopback, median", pairwise: pairwiseRpc("p50_ms", ms) },
  { label: "search among 1,000 loose templates, median", packed: packed("search_loose", "p50_ms", ms) },
  { label: "enroll one by one, durable", packed: packed("enroll_loose", "templates_per_s", perSecond) },
  { label: "sent to enroll a template", packed: packed("bytes_enroll_loose", "bytes_sent", bytes) },
  {
    label: "sent for a 1:1 comparison",
    packed: packed("bytes_compare_1_to_1", "bytes_sent", bytes),
    pairwise: pairwiseRpc("bytes_sent", bytes),
  },
  {
    label: "received for a 1:1 comparison",
    packed: packed("bytes_compare_1_to_1", "bytes_received", bytes),
    pairwise: pairwiseRpc("bytes_received", bytes),
  },
  {
    label: "received for a search among 1,000 loose templates",
    packed: packed("bytes_search_loose", "bytes_received", bytes),
  },
  { label: "on disk per loose template", packed: packed("enroll_loose", "bytes_per_template", bytes) },
  {
    label: "kernel, packed templates at stride 1, one thread",
    packed: packed("kernel_match", "templates_per_s", (value) => `${(value / 1e6).toFixed(1)} M templates/s`),
  },
  {
    label: "kernel against SEAL's own multiply and add",
    packed: packed("kernel_match", "ratio_to_seal", (value) => `${value} x`),
  },
  {
    label: "computing a 1:1 comparison, one thread, median",
    packed: besidePairs("loose_us", (value) => `${value / 1000} ms`),
    pairwise: pairwise("pairwise_compare", "p50_ms", ms),
  },
  {
    label: "in the time of a pairwise comparison: 1:1 comparisons",
    packed: besidePairs("ratio_to_loose", times),
    pairwise: pairwise("pairwise_compare", "p50_ms", () => "1"),
  },
  {
    label: "in the time of a pairwise comparison: templates packed at stride 1",
    packed: besidePairs("ratio_to_packed", times),
  },
];

const table = [
  `| ${DIMENSION} components, client and server on one 2-core x86-64 machine | ${PACKED_SETS.map((set) => `\`${set}\``).join(" | ")} | pairwise, TenSEAL's tutorial parameters |`,
  "|---|---|---|---|",
  ...ROWS.map((row) => {
    const cells = PACKED_SETS.map((set) => (row.packed ? figure(row.packed(set)) : ""));
    return `| ${[row.label, ...cells, row.pairwise ? figure(row.pairwise) : ""].join(" | ")} |`;
  }),
];
const path = join(ROOT, "README.md");
const readme = await readFile(path, "utf8");
if (!MARKS.test(readme)) throw new Error("README.md has no figures marks");
await writeFile(
  path,
  readme.replace(MARKS, (_, open: string, close: string) => `${open}\n${table.join("\n")}\n\n${close}`),
);
