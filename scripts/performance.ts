// Puts the figures of docs/scale.jsonl and docs/bench.jsonl into docs/performance.md, and draws docs/scaling.svg.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { init } from "echarts";
import type { BenchLine } from "../bench/figures.ts";

const DOCS = join(import.meta.dirname, "..", "docs");
const scale = await readLines("scale.jsonl");
const bench = await readLines("bench.jsonl");

async function readLines(name: string): Promise<BenchLine[]> {
  return (await readFile(join(DOCS, name), "utf8"))
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as BenchLine);
}

type Column = readonly [title: string, value: (line: BenchLine) => string | number | undefined];

const figure =
  (key: string, unit = ""): Column[1] =>
  (line) =>
    line[key] === undefined ? "" : `${line[key]}${unit}`;
const WHAT: readonly Column[] = [
  ["parameter set", (line) => `\`${line.parameterSet}\``],
  ["dimension", figure("dimension")],
  ["templates", (line) => line.templates.toLocaleString("en")],
  ["stride", figure("stride")],
];

function table(lines: readonly BenchLine[], columns: readonly Column[]): string {
  const row = (cells: readonly unknown[]): string => `| ${cells.map(String).join(" | ")} |`;
  return [
    row(columns.map(([title]) => title)),
    row(columns.map(() => "---")),
    ...lines.map((line) => row(columns.map(([, value]) => value(line)))),
  ].join("\n");
}

const of = (name: string, lines = scale): BenchLine[] => lines.filter((line) => line.case === name);

/** Least squares of time against templates; R^2 tells how straight the line is. */
function fit(lines: readonly BenchLine[]): { nsPerTemplate: number; r2: number } {
  const points = lines.map((line) => [line.templates, Number(line["p50_ms"])] as const);
  const mean = (k: 0 | 1): number => points.reduce((sum, point) => sum + point[k], 0) / points.length;
  const [mx, my] = [mean(0), mean(1)];
  const sum = (f: (x: number, y: number) => number): number =>
    points.reduce((total, [x, y]) => total + f(x - mx, y - my), 0);
  const [xy, xx, yy] = [sum((x, y) => x * y), sum((x) => x * x), sum((_, y) => y * y)];
  return { nsPerTemplate: (xy / xx) * 1e6, r2: xy ** 2 / (xx * yy) };
}

function scanSection(): string {
  const lines = of("server_scan");
  const sets = [...new Set(lines.map((line) => line.parameterSet))];
  const fits = sets.map((set) => {
    const { nsPerTemplate, r2 } = fit(
      lines.filter((line) => line.parameterSet === set && line.dimension === 128 && line.templates >= 10_000),
    );
    return `\`${set}\`, 128 components: a line through 10,000 and more templates rises by ${nsPerTemplate.toFixed(0)} ns a template, R² = ${r2.toFixed(4)}.`;
  });
  return [
    table(lines, [
      ...WHAT,
      ["median", figure("p50_ms", " ms")],
      ["95th percentile", figure("p95_ms", " ms")],
      ["templates/s", (line) => Number(line["templates_per_s"]).toLocaleString("en")],
      ["stops after a cancellation (95th percentile)", figure("cancelled_after_ms", " ms")],
    ]),
    "",
    ...fits,
  ].join("\n");
}

const perTemplate = (line: BenchLine): number => Number(line["p50_ms"]) / line.templates;
const pairOf = ({ dimension }: BenchLine): number =>
  Number(of("pairwise_tutorial").find((line) => line.dimension === dimension)?.["p50_ms"]);

function tutorialSection(): string {
  return table(
    of("server_scan").filter((line) => line.templates >= 100_000),
    [
      ...WHAT,
      ["scan, per template", (line) => `${(perTemplate(line) * 1e6).toFixed(0)} ns`],
      ["tutorial, per pair", (line) => `${pairOf(line)} ms`],
      ["ratio", (line) => Math.round(pairOf(line) / perTemplate(line)).toLocaleString("en")],
    ],
  );
}

const count =
  (key: string): Column[1] =>
  (line) =>
    Number(line[key]).toLocaleString("en");
const kilobytes =
  (key: string): Column[1] =>
  (line) =>
    `${(Number(line[key]) / 1000).toLocaleString("en", { maximumFractionDigits: 0 })} kB`;
const ENCODING: Column = [
  "encoding",
  (line) => (line["encoding"] === "TENSEAL_CKKS_VECTOR" ? "TenSEAL's" : "SEAL's, seeded"),
];
const PAIR: readonly Column[] = [
  ["dimension", figure("dimension")],
  ["bound on the norm", figure("norm_bound")],
  ["median", figure("p50_ms", " ms")],
  ["95th percentile", figure("p95_ms", " ms")],
];

const SECTIONS: Readonly<Record<string, string>> = {
  identify: table(of("identify"), [
    ...WHAT,
    ["median", figure("p50_ms", " ms")],
    ["95th percentile", figure("p95_ms", " ms")],
    ["plain scan", figure("plain_scan_p50_ms", " ms")],
    ["ratio", figure("ratio_to_plain_scan")],
    ["server memory, anonymous", figure("server_anonymous_mb", " MiB")],
    ["with file pages", figure("server_resident_mb", " MiB")],
  ]),
  scan: scanSection(),
  enroll: table(of("bulk_enroll"), [
    ...WHAT,
    ["templates/s", (line) => Number(line["templates_per_s"]).toLocaleString("en")],
    ["bytes on disk per template, all included", figure("bytes_per_template")],
  ]),
  kernel: table(of("kernel_match", bench), [
    ...WHAT,
    ["probes", figure("probes")],
    ["templates/s", (line) => Number(line["templates_per_s"]).toLocaleString("en")],
    ["against SEAL", figure("ratio_to_seal", " x")],
    ["against a plain read", figure("ratio_to_plain_read", " x")],
  ]),
  tutorial: tutorialSection(),
  pairwise_compare: table(of("pairwise_compare", bench), [
    ...PAIR,
    ["packed scheme", (line) => `\`${line["packed_set"]}\``],
    ["its 1:1", figure("loose_us", " us")],
    ["ratio", count("ratio_to_loose")],
    ["its templates at stride 1", figure("packed_us", " us")],
    ["ratio", count("ratio_to_packed")],
  ]),
  pairwise_rpc: table(of("pairwise_rpc", bench), [
    ENCODING,
    ...PAIR,
    ["sent", kilobytes("bytes_sent")],
    ["received", kilobytes("bytes_received")],
  ]),
  pairwise_upload: table(of("pairwise_upload", bench), [
    ENCODING,
    ["dimension", figure("dimension")],
    ["keys", kilobytes("key_bytes")],
    ["sent", kilobytes("bytes_sent")],
    ["median", figure("p50_ms", " ms")],
  ]),
};

/** Time against size on logarithmic axes: identify, the scan, and the plain scan. */
function plot(): string {
  const chart = init(null, null, { renderer: "svg", ssr: true, width: 900, height: 440 });
  const points = (lines: readonly BenchLine[], key: string): number[][] =>
    lines.filter((line) => line.dimension === 128).map((line) => [line.templates, Number(line[key])]);
  const sets = [...new Set(of("identify").map((line) => line.parameterSet))];
  const series = sets.flatMap((set) => {
    const ofSet = (name: string): BenchLine[] => of(name).filter((line) => line.parameterSet === set);
    return [
      { name: `${set} identify`, data: points(ofSet("identify"), "p50_ms") },
      { name: `${set} server scan`, data: points(ofSet("server_scan"), "p50_ms") },
    ];
  });
  series.push({
    name: "plain float32 scan",
    data: points(
      of("identify").filter((line) => line.parameterSet === sets[0]),
      "plain_scan_p50_ms",
    ),
  });
  chart.setOption({
    animation: false,
    backgroundColor: "#ffffff",
    legend: { top: 0 },
    grid: { left: 60, right: 20, top: 70, bottom: 45 },
    xAxis: { type: "log", name: "templates", nameLocation: "middle", nameGap: 28, min: 1000 },
    yAxis: { type: "log", name: "ms (median)" },
    series: series.map((line) => ({ ...line, type: "line" as const, symbolSize: 7 })),
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}

let page = await readFile(join(DOCS, "performance.md"), "utf8");
for (const [name, content] of Object.entries(SECTIONS)) {
  const marks = new RegExp(`(<!-- ${name} -->\n)[^]*?(<!-- /${name} -->)`);
  if (!marks.test(page)) throw new Error(`docs/performance.md has no marks for ${name}`);
  page = page.replace(marks, (_, open: string, close: string) => `${open}\n${content}\n\n${close}`);
}
await writeFile(join(DOCS, "performance.md"), page);
await writeFile(join(DOCS, "scaling.svg"), plot());
