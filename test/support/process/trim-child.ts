// Reads a TenSEAL context as an upload with a dimension does, and prints how much memory that took at its peak.
import { readFileSync } from "node:fs";
import { trimContext } from "../../../client/pairwise/context-trimmer.ts";
import { streamTensealFile } from "../../../client/pairwise/tenseal-files.ts";

const [path, dimension] = process.argv.slice(2) as [string, string];
const peakBytes = (): number =>
  Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) * 1024;

const before = peakBytes();
const { keys } = await trimContext({ source: streamTensealFile(path), dimension: Number(dimension), name: path });
console.log(
  JSON.stringify({
    keptBytes: keys.reduce((sum, { bytes }) => sum + bytes.length, 0),
    grownBytes: peakBytes() - before,
  }),
);
