import assert from "node:assert/strict";
import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { VeilfaceClient } from "../../../client/veilface-client.ts";
import { loadKeyFile } from "../../../client/keys/key-file.ts";
import { unitVector } from "../../../bench/figures.ts";
import { runCli, temporaryFolder } from "../../support/process/cli-process.ts";
import { ServerProcess } from "../../../scripts/dev/server-process.ts";

const { folder, remove } = await temporaryFolder();
const server = await ServerProcess.start(["--log-level", "error"]);
const env = {
  VEILFACE_KEY: join(folder, "a.key"),
  VEILFACE_PASSPHRASE: "a passphrase",
  VEILFACE_SERVER: server.address,
  VEILFACE_CACHE: join(folder, "cache"),
};
after(async () => {
  await server[Symbol.asyncDispose]();
  await remove();
});

const DIMENSION = 32;

async function json(code: number, ...args: string[]): Promise<Record<string, unknown>> {
  const run = await runCli([...args, "--json"], { env });
  assert.equal(run.code, code, run.stdout + run.stderr);
  return JSON.parse(run.stdout) as Record<string, unknown>;
}

async function text(...args: string[]): Promise<string> {
  const run = await runCli(args, { env });
  assert.equal(run.code, 0, run.stdout + run.stderr);
  return run.stdout;
}

const createGallery = (name: string, ...flags: string[]): Promise<Record<string, unknown>> =>
  json(
    0,
    "gallery",
    "create",
    name,
    "--dimension",
    String(DIMENSION),
    "--metric",
    "cosine",
    "--model-id",
    "theirs",
    ...flags,
  );

/** A CSV file of people from..to-1. */
async function csvOf(from: number, to: number): Promise<string> {
  const path = join(folder, `people-${from}-${to}.csv`);
  const lines = Array.from({ length: to - from }, (_, i) =>
    [`t-${from + i}`, `s-${from + i}`, ...unitVector(from + i, DIMENSION)].join(","),
  );
  await writeFile(path, `${lines.join("\n")}\n`);
  return path;
}

/** What the library finds, under a key file. */
async function nearest(galleryId: string, i: number, keyFile = env.VEILFACE_KEY): Promise<string | undefined> {
  using keyHolder = await loadKeyFile(keyFile, env.VEILFACE_PASSPHRASE);
  using client = new VeilfaceClient({ keyHolder, address: server.address });
  return (await client.identify(galleryId, unitVector(i, DIMENSION)))[0]?.subjectId;
}

before(async () => {
  await json(0, "keygen");
  await json(0, "keygen", "--key", join(folder, "b.key"), "--parameter-set", "PACKED_N4096_Q30");
});

test("the packed stride is the server's choice for the expected size, or the user's, and both are listed", async () => {
  const chosen = (await createGallery("large", "--expect", "1000000"))["gallery"] as Record<string, unknown>;
  assert.deepEqual([chosen["packedStride"], chosen["expectedTemplates"]], [1, 1_000_000]);
  assert.equal(
    ((await createGallery("small", "--packed-stride", "16"))["gallery"] as Record<string, unknown>)["packedStride"],
    16,
  );
  const { galleries } = (await json(0, "gallery", "list")) as {
    galleries: { galleryId: string; packedStride: number }[];
  };
  assert.deepEqual(
    galleries.map(({ galleryId, packedStride }) => [galleryId, packedStride]),
    [
      ["large", 1],
      ["small", 16],
    ],
  );
  assert.match(
    await text("gallery", "list"),
    /gallery +templates +model +dimension +metric +packed stride[^\n]*\nlarge .* 1\nsmall .* 16\n/,
  );
  assert.equal(
    (
      (
        await json(
          2,
          "gallery",
          "create",
          "wrong",
          "--dimension",
          "8",
          "--metric",
          "cosine",
          "--model-id",
          "m",
          "--packed-stride",
          "9",
        )
      )["error"] as Record<string, unknown>
    )["serverReason"],
    "FIELD_INVALID",
  );
});

test("embeddings are enrolled from a file, packed again, and found; what was deleted is not", async () => {
  await createGallery("people", "--packed-stride", "4");
  assert.match(
    await text("enroll", "people", "--embeddings", await csvOf(0, 1500)),
    /^1500 templates enrolled in people in [\d.]+ s \(\d+ a second\)\n$/,
  );
  assert.equal(
    (await json(0, "enroll", "people", "--embeddings", await csvOf(1500, 1505), "--model-id", "theirs"))["enrolled"],
    5,
  );
  await json(0, "delete", "people", "--template", "t-7");
  const packed = await json(0, "gallery", "pack", "people", "--stride", "8", "--discard-drafts");
  assert.deepEqual([packed["templates"], packed["packedStride"], packed["discardedDrafts"]], [1504, 8, 0]);
  assert.deepEqual([await nearest("people", 3), await nearest("people", 1504)], ["s-3", "s-1504"]);
  assert.notEqual(await nearest("people", 7), "s-7");
  assert.match(await text("gallery", "pack", "people"), /^1504 templates packed in people, at stride \d+\n$/);
});

test("a file that does not fit is told by its line, with what was enrolled before it", async () => {
  await createGallery("bad", "--packed-stride", "4");
  const path = join(folder, "bad.jsonl");
  await writeFile(
    path,
    `${JSON.stringify({ subjectId: "ada", embedding: [...unitVector(1, DIMENSION)] })}\n{"embedding":[1,2]}\n`,
  );
  const { error } = (await json(2, "enroll", "bad", "--embeddings", path)) as {
    error: { reason: string; message: string };
  };
  assert.equal(error.reason, "EMBEDDINGS_FILE_INVALID");
  assert.match(
    error.message,
    /bad\.jsonl: line 2 has 2 components: expected 32 \(1 templates are enrolled; run it again/,
  );
  assert.equal(
    (
      (await json(2, "enroll", "bad", "--embeddings", path, "--model-id", "another"))["error"] as Record<
        string,
        unknown
      >
    )["reason"],
    "MODEL_MISMATCH",
  );
});

test("the roster is kept in the cache folder, encrypted", async () => {
  await createGallery("kept", "--packed-stride", "4");
  await json(0, "enroll", "kept", "--embeddings", await csvOf(0, 20));
  const before = await readdir(join(folder, "cache", "rosters")).catch((): string[] => []);
  assert.equal(((await json(0, "list", "kept"))["templates"] as unknown[]).length, 20);
  const [added, ...others] = (await readdir(join(folder, "cache", "rosters"))).filter((name) => !before.includes(name));
  assert.deepEqual(others, []);
  assert.ok(!(await readFile(join(folder, "cache", "rosters", added!), "latin1")).includes("s-1"));
  assert.equal(((await json(0, "list", "kept"))["templates"] as unknown[]).length, 20);
});

test("rotation moves every gallery of a key to a new one, and a second run finds nothing to do", async () => {
  await createGallery("moved", "--packed-stride", "4");
  await json(0, "enroll", "moved", "--embeddings", await csvOf(0, 1100));
  const newKey = join(folder, "b.key");
  const { galleries } = (await json(0, "key", "rotate", "--new-key", newKey, "--gallery", "moved")) as {
    galleries: unknown[];
  };
  assert.deepEqual(galleries, [{ galleryId: "moved", templates: 1100 }]);
  assert.deepEqual([await nearest("moved", 1023, newKey), await nearest("moved", 1099, newKey)], ["s-1023", "s-1099"]);
  assert.match(await text("key", "rotate", "--new-key", newKey), /people: 1504 templates are under the new key\n/);
  assert.equal(await text("key", "rotate", "--new-key", newKey), "nothing to do: no gallery is under the old key\n");
  assert.equal(await nearest("people", 3, newKey), "s-3");
  assert.equal(
    ((await json(2, "key", "rotate", "--new-key", env.VEILFACE_KEY))["error"] as Record<string, unknown>)["reason"],
    "USAGE",
  );
});
