// The command line's galleries of encrypted vectors, one-to-many comparisons and lists, held to a real server.
import assert from "node:assert/strict";
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, test } from "node:test";
import { PairwiseClient } from "../../client/pairwise/pairwise-client.ts";
import { runCli, temporaryFolder } from "../support/process/cli-process.ts";
import { startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import { randomEmbedding } from "../support/independent/independent-encoding.ts";
import { plainResult } from "../support/independent/pairwise-context.ts";
import type { Operation } from "../support/independent/pairwise-context.ts";
import { TUTORIAL, TensealMaker, stepsUpTo } from "../support/independent/tenseal-maker.ts";

const DIMENSION = 48;
const { server } = await startContractServer();
const { folder, remove } = await temporaryFolder();
const maker = await TensealMaker.create(TUTORIAL);
const client = new PairwiseClient({ address: server.address });
after(async () => {
  client[Symbol.dispose]();
  maker[Symbol.dispose]();
  await remove();
});
const env = { VEILFACE_SERVER: server.address, VEILFACE_KEY: join(folder, "none.key") };
const people = ["ada", "ada", "grace"].map((subject) => ({ subject, embedding: randomEmbedding(DIMENSION) }));
const probe = randomEmbedding(DIMENSION);
const files = await Promise.all(people.map(({ embedding }, i) => fileOf(`v${i}.bin`, maker.vector(embedding))));
const probeFile = await fileOf("probe.bin", maker.vector(probe));
const context = await fileOf("public.bin", maker.publicContext(maker.makeKeys(stepsUpTo(32))));
let contextId: string;

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

async function assertHolds(path: string, operation: Operation, embedding: readonly number[]): Promise<void> {
  const found = maker.decrypt("CIPHERTEXT_ENCODING_TENSEAL_CKKS_VECTOR", await readFile(path));
  assert.ok(Math.abs(found - plainResult(operation, embedding, probe)) < 1e-4, `${path}: ${found}`);
}

test("contexts are listed, and galleries made and listed under one", async () => {
  ({ contextId } = (await json(0, "upload", context)) as { contextId: string });
  const { contexts } = (await json(0, "list")) as { contexts: { contextId: string; maxDimension: number }[] };
  assert.deepEqual(
    contexts.map((found) => [found.contextId, found.maxDimension]),
    [[contextId, 64]],
  );
  await json(0, "gallery", "create", "staff", contextId, "--dimension", String(DIMENSION));
  await json(
    0,
    "gallery",
    "create",
    "unit",
    contextId,
    "--dimension",
    String(DIMENSION),
    "--metric",
    "cosine",
    "--model-id",
    "arcface",
  );
  const { galleries } = (await json(0, "list", contextId)) as {
    galleries: { galleryId: string; metric: string; modelId: string; templateCount: number }[];
  };
  assert.deepEqual(
    galleries.map(({ galleryId, metric, modelId, templateCount }) => [galleryId, metric, modelId, templateCount]),
    [
      ["staff", "euclidean", "tenseal", 0],
      ["unit", "cosine", "arcface", 0],
    ],
  );
  assert.equal(
    (
      (await json(2, "gallery", "create", "large", contextId, "--dimension", "65")) as {
        error: { serverReason: string };
      }
    ).error.serverReason,
    "ROTATION_KEYS_MISSING",
  );
  assert.equal(
    ((await json(2, "list", "f".repeat(64))) as { error: { serverReason: string } }).error.serverReason,
    "CONTEXT_NOT_FOUND",
  );
});

test("vectors are enrolled, and enrolling them again doubles nothing", async () => {
  for (let run = 0; run < 2; run++) {
    assert.equal((await json(0, "enroll", "staff", "ada", files[0]!, files[1]!))["enrolled"], 2);
    assert.equal((await json(0, "enroll", "staff", "grace", files[2]!))["enrolled"], 1);
  }
  const { templates } = (await json(0, "list", "--gallery", "staff")) as { templates: { subjectId: string }[] };
  assert.deepEqual(templates.map(({ subjectId }) => subjectId).sort(), ["ada", "ada", "grace"]);
  const short = await fileOf("short.bin", maker.vector([1, 2]));
  const { error } = (await json(2, "enroll", "staff", "ada", short)) as { error: { message: string } };
  assert.match(error.message, /short\.bin has 2 components: expected 48, the gallery's dimension/);
});

test("a search writes a result for every template, which decrypts to its distance, and one of a subject for hers", async () => {
  const out = join(folder, "found");
  type Found = { matches: { subjectId: string; templateId: string; out: string }[] };
  const { matches } = (await json(0, "search", "staff", probeFile, "--out", out)) as Found;
  assert.deepEqual(matches.map(({ subjectId }) => subjectId).sort(), ["ada", "ada", "grace"]);
  assert.equal((await readdir(out)).length, 3);
  const grace = matches.find(({ subjectId }) => subjectId === "grace")!;
  await assertHolds(grace.out, "SQUARED_DISTANCE", people[2]!.embedding);
  const ofAda = (await json(
    0,
    "search",
    "staff",
    probeFile,
    "--out",
    join(folder, "ada"),
    "--subject",
    "ada",
  )) as Found;
  const found = await Promise.all(
    ofAda.matches.map(async ({ out: file }) =>
      maker.decrypt("CIPHERTEXT_ENCODING_TENSEAL_CKKS_VECTOR", await readFile(file)),
    ),
  );
  const expected = people.slice(0, 2).map(({ embedding }) => plainResult("SQUARED_DISTANCE", embedding, probe));
  const [a, b] = [found, expected].map((values) => values.toSorted((x, y) => x - y));
  for (const [i, value] of a!.entries()) assert.ok(Math.abs(value - b![i]!) < 1e-4);
  // Nothing is replaced unasked.
  assert.equal(
    ((await json(2, "search", "staff", probeFile, "--out", out)) as { error: { reason: string } }).error.reason,
    "OUTPUT_FILE_EXISTS",
  );
  await json(0, "search", "staff", probeFile, "--out", out, "--force");
});

test("one vector is compared with many, each result named as its vector is", async () => {
  await mkdir(join(folder, "other"));
  const twin = await fileOf(join("other", "v1.bin"), maker.vector(people[2]!.embedding));
  const out = join(folder, "many");
  const { results } = (await json(
    0,
    "compare",
    contextId,
    probeFile,
    files[0]!,
    files[1]!,
    twin,
    "--out",
    out,
    "--operation",
    "INNER_PRODUCT",
  )) as { results: { vector: string; out: string }[] };
  assert.deepEqual(
    results.map(({ vector, out: file }) => [vector, file]),
    [
      [files[0], join(out, "v0.bin")],
      [files[1], join(out, "v1.bin")],
      [twin, join(out, "v1-2.bin")],
    ],
  );
  for (const [i, { out: file }] of results.entries()) await assertHolds(file, "INNER_PRODUCT", people[i]!.embedding);
  const short = join(folder, "short.bin");
  const { error } = (await json(
    2,
    "compare",
    contextId,
    probeFile,
    files[0]!,
    short,
    "--out",
    join(folder, "never"),
  )) as { error: { message: string } };
  assert.match(error.message, /components/);
});

test("the library enrolls from a stream, searches and deletes", async () => {
  const [x, y] = [maker.vector(people[0]!.embedding), maker.ciphertext(people[1]!.embedding)];
  await client.createGallery({
    galleryId: "library",
    contextId,
    dimension: DIMENSION,
    metric: "euclidean",
    normBound: 10,
  });
  const count = await client.enroll(
    "library",
    (async function* () {
      await Promise.resolve();
      yield { templateId: "t-x", subjectId: "ada", vector: { encoding: "TENSEAL_CKKS_VECTOR" as const, bytes: x } };
      yield { templateId: "t-y", subjectId: "ada", vector: { encoding: "SEAL" as const, bytes: y } };
    })(),
  );
  assert.equal(count, 2);
  const matches = await Array.fromAsync(
    client.search("library", { encoding: "TENSEAL_CKKS_VECTOR", bytes: maker.vector(probe) }),
  );
  for (const { templateId, distance } of matches) {
    const { embedding } = people[templateId === "t-x" ? 0 : 1]!;
    assert.ok(
      Math.abs(
        maker.decrypt("CIPHERTEXT_ENCODING_TENSEAL_CKKS_VECTOR", distance!.bytes) -
          plainResult("SQUARED_DISTANCE", embedding, probe),
      ) < 1e-4,
    );
  }
  assert.deepEqual(matches.map(({ templateId }) => templateId).sort(), ["t-x", "t-y"]);
  const library = await client.openGallery("library");
  assert.deepEqual(await library.deleteTemplates({ templateIds: ["t-x", "none"] }), {
    deleted: 1,
    notFound: { templateIds: ["none"], subjectIds: [] },
  });
  assert.deepEqual(
    (await library.listTemplates()).map(({ templateId }) => templateId),
    ["t-y"],
  );
});

test("people, galleries and the context are deleted", async () => {
  assert.equal((await json(0, "unenroll", "staff", "--subject", "ada"))["deleted"], 2);
  assert.deepEqual((await json(1, "unenroll", "staff", "--subject", "ada", "--template", "t"))["notFound"], {
    templateIds: ["t"],
    subjectIds: ["ada"],
  });
  await json(2, "unenroll", "staff");
  await json(0, "gallery", "delete", "staff");
  await json(2, "delete", contextId);
  await json(0, "delete", contextId, "--force");
  assert.deepEqual((await json(0, "list"))["contexts"], []);
});

testThatTheLogTellsNothing(server);
