import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { DEFAULT_CARD } from "../../../face/default-pack/card.ts";
import { runCli, temporaryFolder } from "../../support/process/cli-process.ts";
import { PEOPLE, photoPath } from "../../../scripts/dev/photos.ts";
import { ServerProcess } from "../../../scripts/dev/server-process.ts";

const { folder, remove } = await temporaryFolder();
const server = await ServerProcess.start(["--log-level", "error"]);
const env = {
  VEILFACE_KEY: join(folder, "a.key"),
  VEILFACE_PASSPHRASE: "a passphrase",
  VEILFACE_SERVER: server.address,
};
after(async () => {
  await server[Symbol.asyncDispose]();
  await remove();
});

const PHOTO = photoPath(PEOPLE.connery[0]);

/** Runs with --json and gives the document. */
async function json(code: number, ...args: string[]): Promise<Record<string, unknown>> {
  const run = await runCli([...args, "--json"], { env });
  assert.equal(run.code, code, run.stdout + run.stderr);
  return JSON.parse(run.stdout) as Record<string, unknown>;
}

async function reasonOf(...args: string[]): Promise<string> {
  const { error } = (await json(2, ...args)) as { error: { reason: string; serverReason?: string } };
  return error.serverReason ?? error.reason;
}

before(async () => {
  await json(0, "keygen");
  await json(0, "keygen", "--key", join(folder, "b.key"), "--parameter-set", "PACKED_N4096_Q30");
  await json(0, "gallery", "create", "staff");
});

test("a gallery takes its space from the model pack, or from flags", async () => {
  const { gallery } = (await json(
    0,
    "gallery",
    "create",
    "theirs",
    "--dimension",
    "512",
    "--metric",
    "cosine",
    "--model-id",
    "their-model",
  )) as { gallery: Record<string, unknown> };
  assert.deepEqual(
    [gallery["dimension"], gallery["metric"], gallery["modelId"], gallery["normBound"]],
    [512, "cosine", "their-model", 1],
  );
  const { galleries } = (await json(0, "gallery", "list")) as { galleries: { galleryId: string; modelId: string }[] };
  assert.deepEqual(
    galleries.map(({ galleryId, modelId }) => [galleryId, modelId]),
    [
      ["staff", "dlib-resnet-128"],
      ["theirs", "their-model"],
    ],
  );
  assert.equal(await reasonOf("gallery", "create", "theirs"), "GALLERY_EXISTS");
  assert.equal(await reasonOf("enroll", "theirs", "ada", PHOTO), "MODEL_MISMATCH");
});

test("embeddings of another version of a model are refused, where the gallery states one", async () => {
  const model = ["--dimension", "4", "--metric", "cosine", "--model-id", "their-model"];
  await json(0, "gallery", "create", "second", ...model, "--model-version", "2.0");
  await json(0, "gallery", "create", "unversioned", ...model);
  const path = join(folder, "versioned.csv");
  await writeFile(path, "ada,1,0,0,0\n");
  const enroll = (gallery: string, version: string): string[] => [
    "enroll",
    gallery,
    "--embeddings",
    path,
    "--model-id",
    "their-model",
    "--model-version",
    version,
  ];
  assert.equal(await reasonOf(...enroll("second", "1.0")), "MODEL_MISMATCH");
  await json(0, ...enroll("second", "2.0"));
  await json(0, ...enroll("unversioned", "1.0"));
  const { galleries } = (await json(0, "gallery", "list")) as {
    galleries: { galleryId: string; modelVersion?: string }[];
  };
  const versions = galleries
    .filter(({ galleryId }) => ["second", "staff", "unversioned"].includes(galleryId))
    .map((g) => g.modelVersion);
  assert.deepEqual(versions, ["2.0", DEFAULT_CARD.version, undefined]);
  assert.equal(await reasonOf("gallery", "create", "odd", ...model, "--model-version", "a b"), "FIELD_INVALID");
});

test("an unknown gallery is told by every command before a photo is looked at", async () => {
  const none = join(folder, "there-is-no-such-photo.jpg");
  const commands = [
    ["gallery", "delete", "nope"],
    ["list", "nope"],
    ["delete", "nope", "--subject", "ada"],
    ["identify", "nope", none],
    ["verify", "nope", "ada", none],
    ["enroll", "nope", "ada", none],
  ];
  const reasons = await Promise.all(commands.map((args) => reasonOf(...args)));
  assert.deepEqual(
    reasons,
    commands.map(() => "GALLERY_NOT_FOUND"),
  );
});

test("a deleted gallery is gone, and its id free", async () => {
  await json(0, "gallery", "create", "short-lived");
  assert.equal((await json(0, "gallery", "delete", "short-lived"))["deleted"], true);
  assert.equal(await reasonOf("list", "short-lived"), "GALLERY_NOT_FOUND");
  await json(0, "gallery", "create", "short-lived");
});

test("the galleries of another key are neither listed nor opened", async () => {
  const other = ["--key", join(folder, "b.key")];
  assert.deepEqual((await json(0, "gallery", "list", ...other))["galleries"], []);
  assert.equal(await reasonOf("list", "staff", ...other), "KEY_MISMATCH");
});

test("a person enrolled with one parameter set or the other is accepted at a distance near zero from the same photo", async () => {
  const other = ["--key", join(folder, "b.key")];
  await json(0, "gallery", "create", "compact", ...other);
  for (const [gallery, largest, flags] of [
    ["staff", 2e-3, []],
    ["compact", 0.3, other],
  ] as const) {
    await json(0, "enroll", gallery, "connery", PHOTO, ...flags);
    const { accepted, distance } = await json(0, "verify", gallery, "connery", PHOTO, ...flags);
    assert.ok(accepted === true && Number(distance) < largest, `${gallery}: distance ${String(distance)}`);
  }
});

test("labels are set, replaced and taken away, and the expected size is changed", async () => {
  const update = async (...args: string[]): Promise<Record<string, unknown>> => {
    const { gallery } = (await json(0, "gallery", "update", "staff", ...args)) as { gallery: Record<string, unknown> };
    return gallery;
  };
  const labelled = await update("--label", "site=north", "--label", "owner=a=b");
  assert.deepEqual(labelled["labels"], { site: "north", owner: "a=b" });
  assert.match(String(labelled["uid"]), /^[0-9a-f]{32}$/);
  const sized = await update("--expect", "500");
  assert.deepEqual([sized["labels"], sized["expectedTemplates"]], [labelled["labels"], 500]);
  assert.deepEqual((await update("--no-label"))["labels"], {});
  assert.equal(await reasonOf("gallery", "update", "staff"), "USAGE");
  assert.equal(await reasonOf("gallery", "update", "staff", "--label", "nothing"), "USAGE");
  assert.equal(await reasonOf("gallery", "update", "nowhere", "--expect", "5"), "GALLERY_NOT_FOUND");
});

test("info says which server answers, without a key", async () => {
  const run = await runCli(["info", "--json"], { env: { VEILFACE_SERVER: server.address } });
  assert.equal(run.code, 0, run.stderr);
  const info = JSON.parse(run.stdout) as { version: string; schemes: string[]; limits: { maxCalls: number } };
  assert.match(info.version, /^\d+\.\d+\.\d+$/);
  assert.deepEqual([info.schemes, info.limits.maxCalls], [["packed", "pairwise"], 4000]);
});
