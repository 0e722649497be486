// TenSEAL contexts above the 64 MiB that a server takes, at ring degree 16384. With VEILFACE_LARGE=1 (npm run
// test:large) one of 384 MB, whose fresh vectors have more primes than a server takes; otherwise one of 76 MB.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, test } from "node:test";
import { runCli, temporaryFolder } from "../support/process/cli-process.ts";
import { startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import { randomEmbedding } from "../support/independent/independent-encoding.ts";
import { writeLargeContext } from "../support/independent/large-context.ts";
import { plainResult } from "../support/independent/pairwise-context.ts";
import { TensealMaker, stepsUpTo } from "../support/independent/tenseal-maker.ts";

const { server } = await startContractServer();
const { folder, remove } = await temporaryFolder();
after(remove);
const DIMENSION = 128;
const LARGE = process.env["VEILFACE_LARGE"] === "1";
const [PRIME_BITS, OTHER_PRIME_BITS] = LARGE
  ? [
      [60, 40, 40, 40, 40, 40, 40, 40, 60],
      [60, 40, 40, 40, 40, 40, 60],
    ]
  : [
      [60, 40, 40, 60],
      [60, 40, 40, 40, 60],
    ];
const maker = await TensealMaker.create({ degree: 16_384, primeBits: PRIME_BITS, scale: 2 ** 40 });
after(() => {
  maker[Symbol.dispose]();
});
const context = join(folder, "large.bin");
const contextBytes = await writeLargeContext(context, maker, maker.makeKeys(stepsUpTo(DIMENSION / 2)));
const env = { VEILFACE_SERVER: server.address, VEILFACE_KEY: join(folder, "none.key") };
const people = Array.from({ length: 3 }, () => randomEmbedding(DIMENSION));
const files = await Promise.all(people.map((embedding, i) => fileOf(`v${i}.bin`, maker.vector(embedding))));
// Measured: 2e-6.
const TOLERANCE = 1e-4;

async function fileOf(name: string, bytes: Buffer): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, bytes);
  return path;
}

async function json(code: number, ...args: string[]): Promise<Record<string, unknown>> {
  const run = await runCli(["tenseal", ...args, "--json"], { env });
  assert.equal(run.code, code, run.stdout);
  return JSON.parse(run.stdout) as Record<string, unknown>;
}

async function errorOf(...args: string[]): Promise<string> {
  return ((await json(2, ...args)) as { error: { message: string } }).error.message;
}

test("a context above the limit is refused with what to do, and so is a dimension that it has no keys or no slots for", async () => {
  assert.ok(contextBytes > (LARGE ? 300_000_000 : 70_000_000), `${contextBytes} bytes`);
  assert.match(
    await errorOf("upload", context),
    /large\.bin has \d+ bytes: expected at most 67108864.*upload FILE --dimension D/,
  );
  assert.match(
    await errorOf("upload", context, "--dimension", "8193"),
    /dimension 8193 is out of range: a vector of .*large\.bin has at most 8192/,
  );
  assert.match(
    await errorOf("upload", context, "--dimension", "129"),
    /Galois keys for rotations by 1, 2, .* 128, which vectors of 129 components need.*generate_galois_keys/,
  );
});

test("with --dimension it is uploaded, and vectors are compared though they have more primes than a server takes", async () => {
  const uploaded = await json(0, "upload", context, "--dimension", String(DIMENSION));
  const { contextId, maxDimension, rotationSteps, modulusBits } = uploaded as {
    contextId: string;
    maxDimension: number;
    rotationSteps: number[];
    modulusBits: number[];
  };
  assert.deepEqual([maxDimension, rotationSteps], [DIMENSION, stepsUpTo(DIMENSION / 2)]);
  assert.deepEqual(modulusBits, LARGE ? [60, 40, 40, 40, 40, 60] : PRIME_BITS, "as many primes as there is room for");
  // The same steps are the same context.
  assert.equal((await json(0, "upload", context, "--dimension", "65"))["contextId"], contextId);
  const out = join(folder, "distance.bin");
  for (const [operation, wire] of [
    ["SQUARED_DISTANCE", "SQUARED_DISTANCE"],
    ["INNER_PRODUCT", "INNER_PRODUCT"],
  ] as const) {
    await json(0, "compare", contextId, files[0]!, files[1]!, "--out", out, "--operation", operation, "--force");
    const found = maker.decrypt("CIPHERTEXT_ENCODING_TENSEAL_CKKS_VECTOR", await readFile(out));
    assert.ok(Math.abs(found - plainResult(wire, people[0]!, people[1]!)) < TOLERANCE, `${operation}: ${found}`);
  }
});

test("vectors of other parameters are refused, though the primes they begin with have the same sizes", async () => {
  const { contextId } = (await json(0, "upload", context, "--dimension", String(DIMENSION))) as { contextId: string };
  using other = await TensealMaker.create({ degree: 16_384, primeBits: OTHER_PRIME_BITS, scale: 2 ** 40 });
  const vector = await fileOf("other.bin", other.vector(people[0]!));
  assert.match(
    await errorOf("compare", contextId, vector, files[1]!, "--out", join(folder, "none.bin")),
    /other\.bin has \d primes, which are not those of the context/,
  );
});

test("reading it takes no more memory than what is kept of it, many times less than the whole", async () => {
  const script = join(import.meta.dirname, "..", "support", "process", "trim-child.ts");
  const child = spawn(process.execPath, ["--conditions=source", script, context, String(DIMENSION)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let printed = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (printed += text));
  await once(child, "close");
  const { keptBytes, grownBytes } = JSON.parse(printed) as { keptBytes: number; grownBytes: number };
  assert.ok(keptBytes <= 67_108_864);
  // Measured: 56 MB beside what is kept, SEAL's own context among it.
  assert.ok(grownBytes < keptBytes + 100_000_000, `${grownBytes} bytes for ${keptBytes} that are kept`);
  if (LARGE) assert.ok(grownBytes < contextBytes / 2);
});

testThatTheLogTellsNothing(server);
