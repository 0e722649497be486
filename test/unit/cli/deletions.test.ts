import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { loadKeyFile } from "../../../client/keys/key-file.ts";
import { VeilfaceClient } from "../../../client/veilface-client.ts";
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

const DIMENSION = 8;

async function run(code: number, ...args: string[]): Promise<string> {
  const { stdout, stderr, ...ended } = await runCli(args, { env });
  assert.equal(ended.code, code, stdout + stderr);
  return stdout;
}

async function json(code: number, ...args: string[]): Promise<Record<string, unknown>> {
  return JSON.parse(await run(code, ...args, "--json")) as Record<string, unknown>;
}

/** A CSV file of people from..to-1, enrolled as one packed block. */
async function enroll(gallery: string, from: number, to: number): Promise<string> {
  const path = join(folder, `${gallery}-${from}.csv`);
  const lines = Array.from({ length: to - from }, (_, i) =>
    [`t-${from + i}`, `s-${from + i}`, ...unitVector(from + i, DIMENSION)].join(","),
  );
  await writeFile(path, `${lines.join("\n")}\n`);
  return run(0, "enroll", gallery, "--embeddings", path);
}

async function createGallery(gallery: string): Promise<void> {
  await json(
    0,
    "gallery",
    "create",
    gallery,
    "--dimension",
    String(DIMENSION),
    "--metric",
    "cosine",
    "--model-id",
    "m",
    "--packed-stride",
    "1",
  );
}

before(async () => {
  await json(0, "keygen", "--parameter-set", "PACKED_N4096_Q30");
});

test("delete says whose bits stay in packed blocks and how to remove them, as text and as JSON, and after packing none does", async () => {
  await createGallery("staff");
  await enroll("staff", 0, 50);
  const text = await run(0, "delete", "staff", "--subject", "s-7");
  assert.match(
    text,
    /^1 template deleted\nbits of 1 template stay .*packed blocks.*: t-7\nremove them with: veilface gallery pack staff\n$/,
  );
  const deleted = await json(0, "delete", "staff", "--template", "t-8", "--subject", "s-9");
  assert.deepEqual(deleted, {
    galleryId: "staff",
    deleted: 2,
    struck: ["t-8", "t-9"],
    notFound: { templateIds: [], subjectIds: [] },
  });
  await json(0, "gallery", "pack", "staff");
  assert.deepEqual((await json(1, "delete", "staff", "--template", "t-8"))["struck"], []);
});

test("delete names the ids that were not there, as text and as JSON, and ends with 1 where nothing was deleted", async () => {
  await createGallery("team");
  await enroll("team", 0, 50);
  assert.match(
    await run(0, "delete", "team", "--subject", "s-1", "nobody", "--template", "t-2", "t-x"),
    /^2 templates deleted\nnot in team: subject nobody, template t-x\n/,
  );
  assert.equal(
    await run(1, "delete", "team", "--subject", "nobody", "--template", "t-x"),
    "nothing deleted\nnot in team: subject nobody, template t-x\n",
  );
  const document = await json(1, "delete", "team", "--subject", "nobody", "--template", "t-x");
  assert.deepEqual(document, {
    galleryId: "team",
    deleted: 0,
    struck: [],
    notFound: { templateIds: ["t-x"], subjectIds: ["nobody"] },
  });
});

test("enrolling ids again says that the bits of the replaced ones stay in packed blocks, unless their whole block was replaced", async () => {
  await createGallery("again");
  await enroll("again", 0, 50);
  assert.doesNotMatch(await enroll("again", 0, 50), /packed blocks/, "the whole block was replaced");
  assert.match(
    await enroll("again", 40, 80),
    /bits of 10 templates stay .*: t-40, .*t-49\nremove them with: veilface gallery pack again\n$/,
  );
});

test("the library deletes any number of templates of any number of subjects, and says of each whether its bits stay", {
  timeout: 180_000,
}, async () => {
  await createGallery("crowd");
  using keyHolder = await loadKeyFile(env.VEILFACE_KEY, env.VEILFACE_PASSPHRASE);
  using client = new VeilfaceClient({ keyHolder, address: server.address });
  const SUBJECTS = 5000;
  const PHOTOS = 5;
  function* people() {
    for (let i = 0; i < SUBJECTS * PHOTOS; i++)
      yield { templateId: `t-${i}`, subjectId: `s-${i % SUBJECTS}`, embedding: unitVector(i % 100, DIMENSION) };
    yield { templateId: "kept", subjectId: "kept", embedding: unitVector(1, DIMENSION) };
  }
  await client.enroll("crowd", people());
  const subjectIds = Array.from({ length: SUBJECTS }, (_, i) => `s-${i}`);
  const { deleted, struck, notFound } = await client.deleteTemplates("crowd", {
    subjectIds: [...subjectIds, "nobody"],
  });
  assert.equal(deleted, SUBJECTS * PHOTOS);
  assert.deepEqual(notFound, { templateIds: [], subjectIds: ["nobody"] });
  // The block that has "kept" is the only one left: the templates of the others are erased.
  const rest = (SUBJECTS * PHOTOS) % 4096;
  assert.deepEqual(
    struck.toSorted(),
    Array.from({ length: rest }, (_, i) => `t-${SUBJECTS * PHOTOS - rest + i}`).sort(),
  );
  assert.equal((await client.getGallery("crowd")).templateCount, 1);
});
