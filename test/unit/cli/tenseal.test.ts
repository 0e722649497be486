import assert from "node:assert/strict";
import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, beforeEach, test } from "node:test";
import { runCli, temporaryFolder } from "../../support/process/cli-process.ts";
import type { CliRun } from "../../support/process/cli-process.ts";
import { FAKE_CONTEXT_ID, FakePairwiseServer, refusal } from "../../support/fake/fake-pairwise-server.ts";
import { SMALL, TensealMaker } from "../../support/independent/tenseal-maker.ts";

const { folder, remove } = await temporaryFolder();
const maker = await TensealMaker.create(SMALL);
const server = await FakePairwiseServer.start();
after(async () => {
  await server[Symbol.asyncDispose]();
  maker[Symbol.dispose]();
  await remove();
});

const publicContext = maker.publicContext(maker.makeKeys([1, 2]));
const [v1, v2, distance] = [maker.vector([1, 2, 3]), maker.vector([4, 5, 6]), maker.vector([27])];

async function fileOf(name: string, bytes: Uint8Array | string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, bytes);
  return path;
}

const files = {
  context: await fileOf("public.bin", publicContext),
  contextText: await fileOf("public.txt", publicContext.toString("base64")),
  secret: await fileOf("secret.bin", maker.secretContext()),
  secretText: await fileOf("secret.txt", maker.secretContext().toString("base64")),
  v1: await fileOf("v1.bin", v1),
  v2: await fileOf("v2.bin", v2),
  v1Text: await fileOf("v1.txt", `${v1.toString("base64")}\n`),
};

beforeEach(() => {
  server.interference = {};
  server.distance = distance;
  for (const calls of [server.uploads, server.comparisons, server.deletions]) calls.length = 0;
});

// No key file and no passphrase anywhere: none may be asked for.
const env = { VEILFACE_SERVER: server.address, VEILFACE_KEY: join(folder, "none.key") };
const tenseal = (...args: string[]): Promise<CliRun> => runCli(["tenseal", ...args], { env });

async function succeeded(...args: string[]): Promise<string> {
  const run = await tenseal(...args);
  assert.deepEqual([run.code, run.stderr], [0, ""], run.stdout + run.stderr);
  return run.stdout;
}

async function json(...args: string[]): Promise<Record<string, unknown>> {
  return JSON.parse(await succeeded(...args, "--json")) as Record<string, unknown>;
}

/** The reason of an error, which is one line without --json and one document with it. */
async function reasonOf(says: RegExp, ...args: string[]): Promise<string> {
  const run = await tenseal(...args, "--json");
  const { error } = JSON.parse(run.stdout) as { error: { reason: string; message: string; serverReason?: string } };
  assert.deepEqual([run.code, run.stderr], [2, ""]);
  assert.match(error.message, says);
  return error.serverReason ?? error.reason;
}

test("an upload prints the context's id and what it can do, from raw bytes and from base64 text", async () => {
  const text = await succeeded("upload", files.context);
  assert.match(
    text,
    new RegExp(
      `^context ${FAKE_CONTEXT_ID}\nvectors of up to 16 components \\(4096 slots\\), distances up to 1\\.00e\\+6\nsquared distances of unit vectors are off by less than 0\\.0000025 \\(19 of 20\\)\nring degree 8192, primes of 60, 40, 40, 60 bits, scale 2\\^40\n$`,
    ),
  );
  const fromText = await json("upload", files.contextText);
  const { contextId, slots, maxDimension, maxDistance, rotationSteps } = fromText;
  assert.equal(fromText["expectedError"], 2.5e-6);
  assert.deepEqual(
    [contextId, slots, maxDimension, maxDistance, rotationSteps],
    [FAKE_CONTEXT_ID, 4096, 16, 1e6, [1, 2, 4, 8]],
  );
  const [raw, decoded] = server.uploads.map(({ announced }) => announced);
  assert.deepEqual(raw, decoded);
});

test("a context with its secret key is refused by upload and by compare, and the server hears nothing", async () => {
  const out = join(folder, "refused.bin");
  for (const secret of [files.secret, files.secretText]) {
    assert.equal(
      await reasonOf(
        /secret\.(bin|txt) holds a secret key, so nothing of it was sent: write it again with context\.serialize\(\), without save_secret_key=True/,
        "upload",
        secret,
      ),
      "SECRET_KEY_REFUSED",
    );
    assert.equal(
      await reasonOf(/holds a secret key/, "compare", FAKE_CONTEXT_ID, files.v1, secret, "--out", out),
      "SECRET_KEY_REFUSED",
    );
  }
  assert.deepEqual([server.uploads.length, server.comparisons.length], [0, 0]);
  assert.ok(!(await readdir(folder)).includes("refused.bin"));
});

test("files that are something else are named, with what they seem to be", async () => {
  assert.equal(
    await reasonOf(/v1\.bin is an encrypted TenSEAL vector: expected a public context/, "upload", files.v1),
    "TENSEAL_INVALID",
  );
  const out = join(folder, "wrong.bin");
  assert.equal(
    await reasonOf(
      /public\.txt is a TenSEAL context: expected an encrypted CKKS vector/,
      "compare",
      FAKE_CONTEXT_ID,
      files.v1,
      files.contextText,
      "--out",
      out,
    ),
    "TENSEAL_INVALID",
  );
  assert.equal(
    await reasonOf(
      /none cannot be read: no such file/,
      "compare",
      FAKE_CONTEXT_ID,
      files.v1,
      join(folder, "none"),
      "--out",
      out,
    ),
    "USAGE",
  );
  const run = await tenseal("upload", files.v1);
  assert.match(run.stderr, /^veilface: [^\n]+\n$/);
  assert.deepEqual([run.code, run.stdout], [2, ""]);
});

test("a comparison writes the reply as the first file is written, raw or base64 text, and says how to read it in Python", async () => {
  const out = join(folder, "distance.bin");
  const text = await succeeded("compare", FAKE_CONTEXT_ID, files.v1, files.v2, "--out", out);
  for (const line of ["ts.lazy_ckks_vector_from(open(", "link_context(context)", "distance.decrypt()[0]"])
    assert.ok(text.includes(line), text);
  assert.ok(!text.includes("base64"));
  assert.deepEqual(await readFile(out), distance);
  const outText = join(folder, "distance.txt");
  const asText = await succeeded(
    "compare",
    FAKE_CONTEXT_ID,
    files.v1Text,
    files.v2,
    "--out",
    outText,
    "--operation",
    "INNER_PRODUCT",
    "--norm-bound",
    "2.5",
  );
  assert.ok(asText.includes("base64.b64decode(open("), asText);
  assert.equal(await readFile(outText, "latin1"), distance.toString("base64"));
  assert.deepEqual(
    server.comparisons.map(({ operation, normBound, dimension }) => [operation, normBound, dimension]),
    [
      [1, 0, 3],
      [2, 2.5, 3],
    ],
  );
  assert.deepEqual(
    (await readdir(folder)).filter((name) => name.endsWith(".part")),
    [],
  );
});

test("a file that is there is replaced only with --force, and is asked after before anything is sent", async () => {
  const out = await fileOf("kept.bin", "mine");
  assert.equal(
    await reasonOf(/kept\.bin already.*--force/, "compare", FAKE_CONTEXT_ID, files.v1, files.v2, "--out", out),
    "OUTPUT_FILE_EXISTS",
  );
  assert.equal(await readFile(out, "latin1"), "mine");
  assert.equal(server.comparisons.length, 0);
  const done = await json("compare", FAKE_CONTEXT_ID, files.v1, files.v2, "--out", out, "--force");
  assert.deepEqual(done, {
    contextId: FAKE_CONTEXT_ID,
    operation: "SQUARED_DISTANCE",
    out,
    base64: false,
    bytes: distance.length,
  });
  assert.deepEqual(await readFile(out), distance);
});

test("a comparison that is refused, or cannot be written, leaves no file", async () => {
  server.interference = {
    distance: () => {
      throw refusal("ROTATION_KEYS_MISSING", "the context has no Galois keys for rotations by 2");
    },
  };
  assert.equal(
    await reasonOf(
      /no Galois keys for rotations by 2/,
      "compare",
      FAKE_CONTEXT_ID,
      files.v1,
      files.v2,
      "--out",
      join(folder, "never.bin"),
    ),
    "ROTATION_KEYS_MISSING",
  );
  server.interference = {};
  assert.equal(
    await reasonOf(
      /cannot be written: no such file/,
      "compare",
      FAKE_CONTEXT_ID,
      files.v1,
      files.v2,
      "--out",
      join(folder, "no-folder", "d.bin"),
    ),
    "USAGE",
  );
  assert.deepEqual(
    (await readdir(folder)).filter((name) => /never|part/.test(name)),
    [],
  );
});

test("a context is deleted by its whole id, with its galleries when forced", async () => {
  assert.equal(await succeeded("delete", FAKE_CONTEXT_ID), `context ${FAKE_CONTEXT_ID} deleted\n`);
  assert.deepEqual(await json("delete", FAKE_CONTEXT_ID, "--force"), { contextId: FAKE_CONTEXT_ID, deleted: true });
  assert.deepEqual(
    server.deletions.map(({ force }) => force),
    [false, true],
  );
});

test("wrong usage is told before a file is read or a call made", async () => {
  const cases: readonly (readonly [RegExp, ...string[]])[] = [
    [/64 lowercase hexadecimal digits/, "delete", "0123abcd"],
    [/64 lowercase hexadecimal digits/, "compare", "0123abcd", files.v1, files.v2, "--out", join(folder, "x")],
    [/--out/, "compare", FAKE_CONTEXT_ID, files.v1, files.v2],
    [
      /SQUARED_DISTANCE, INNER_PRODUCT/,
      "compare",
      FAKE_CONTEXT_ID,
      files.v1,
      files.v2,
      "--out",
      "x",
      "--operation",
      "cosine",
    ],
    [/a number > 0/, "compare", FAKE_CONTEXT_ID, files.v1, files.v2, "--out", "x", "--norm-bound", "0"],
    [/public-file/, "upload"],
    [/use TLS/, "upload", files.context, "--server", "192.0.2.1:50051"],
  ];
  for (const [says, ...args] of cases) assert.equal(await reasonOf(says, ...args), "USAGE");
  assert.deepEqual([server.uploads.length, server.comparisons.length, server.deletions.length], [0, 0, 0]);
});

test("a server that is down is told at once, and Ctrl-C ends an upload that hangs", async () => {
  assert.equal(
    await reasonOf(/127\.0\.0\.1:1/, "upload", files.context, "--server", "127.0.0.1:1"),
    "SERVER_UNAVAILABLE",
  );
  const never = Promise.withResolvers<undefined>();
  const reached = Promise.withResolvers<undefined>();
  server.interference = {
    chunk: () => {
      reached.resolve(undefined);
      return never.promise;
    },
  };
  const run = await runCli(["tenseal", "upload", files.context], { env, interruptWhen: reached.promise });
  never.resolve(undefined);
  assert.deepEqual(run, { code: 130, stdout: "", stderr: "veilface: the call was cancelled\n" });
});
