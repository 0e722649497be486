import assert from "node:assert/strict";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import sharp from "sharp";
import { runCli, temporaryFolder } from "../../support/process/cli-process.ts";
import type { CliRun } from "../../support/process/cli-process.ts";
import { PEOPLE, PHOTO_WITHOUT_FACE, photoPath, readPhoto } from "../../../scripts/dev/photos.ts";
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

const cli = (...args: string[]): Promise<CliRun> => runCli(args, { env });

/** Runs with --json and gives the document, which must be all that is printed. */
async function json(code: number, ...args: string[]): Promise<Record<string, unknown>> {
  const run = await cli(...args, "--json");
  assert.equal(run.stderr, "");
  assert.equal(run.stdout.split("\n").length, 2, "one line");
  assert.equal(run.code, code, run.stdout);
  return JSON.parse(run.stdout) as Record<string, unknown>;
}

async function enrolled(): Promise<string[]> {
  const { templates } = (await json(0, "list", "staff")) as { templates: { subjectId: string }[] };
  return templates.map(({ subjectId }) => subjectId);
}

const [CONNERY, CONNERY_AGAIN] = PEOPLE.connery.map(photoPath) as [string, string];

before(async () => {
  await json(0, "keygen");
  const { gallery } = (await json(0, "gallery", "create", "staff")) as {
    gallery: { dimension: number; metric: string };
  };
  assert.deepEqual([gallery.dimension, gallery.metric], [128, "euclidean"]);
  for (const [person, photos] of [
    ["cage", PEOPLE.cage],
    ["bieber", PEOPLE.bieber],
  ] as const) {
    await mkdir(join(folder, "people", person), { recursive: true });
    for (const photo of photos) await copyFile(photoPath(photo), join(folder, "people", person, photo));
  }
  await writeFile(join(folder, "people", "cage", "notes.txt"), "not a photo");
});

test("people are enrolled from folders, one by one, verified, identified, listed and deleted", async () => {
  assert.equal((await json(0, "enroll", "staff", "--dir", join(folder, "people")))["enrolled"], 4);
  assert.equal((await json(0, "enroll", "staff", "connery", CONNERY))["enrolled"], 1);
  assert.deepEqual(await enrolled(), ["bieber", "bieber", "cage", "cage", "connery"]);

  const [genuine, plain, impostor, strict, identified, unknown] = await Promise.all([
    json(0, "verify", "staff", "connery", CONNERY_AGAIN),
    json(0, "compare", CONNERY, CONNERY_AGAIN),
    json(1, "verify", "staff", "cage", CONNERY_AGAIN),
    json(1, "verify", "staff", "connery", CONNERY_AGAIN, "--threshold", "0.01"),
    json(0, "identify", "staff", CONNERY_AGAIN, "--max-candidates", "2"),
    json(1, "identify", "staff", photoPath(PEOPLE.obama[0])),
  ]);
  assert.deepEqual([genuine["accepted"], impostor["accepted"], strict["accepted"]], [true, false, false]);
  assert.ok(
    Math.abs(Number(genuine["distance"]) - Number(plain["distance"])) < 1e-5,
    "the encrypted distance is the plain one",
  );
  const { candidates } = identified as { candidates: { subjectId: string; accepted: boolean }[] };
  assert.deepEqual(
    candidates.map(({ subjectId, accepted }) => [subjectId === "connery", accepted]),
    [
      [true, true],
      [false, false],
    ],
  );
  assert.deepEqual(
    [identified["threshold"], genuine["threshold"]],
    [0.5, 0.6],
    "a search is stricter than a comparison",
  );
  assert.ok(Math.abs(Number(identified["expectedFalseMatches"]) - 3e-5 * Number(identified["templates"])) < 1e-9);
  assert.equal(identified["templates"], 5);
  assert.ok((unknown as { candidates: { accepted: boolean }[] }).candidates.every(({ accepted }) => !accepted));

  assert.equal((await json(0, "delete", "staff", "--subject", "connery"))["deleted"], 1);
  assert.equal((await json(1, "delete", "staff", "--subject", "connery"))["deleted"], 0);
  const { error } = (await json(2, "verify", "staff", "connery", CONNERY)) as { error: { serverReason: string } };
  assert.equal(error.serverReason, "SUBJECT_NOT_FOUND");
});

test("the same photos enrolled again are passed over, or replaced where that is asked for", async () => {
  const before = await enrolled();
  const report = await json(0, "enroll", "staff", "--dir", join(folder, "people"));
  assert.deepEqual([report["enrolled"], (report["already"] as unknown[]).length], [0, 4]);
  assert.equal((await json(0, "enroll", "staff", "--dir", join(folder, "people"), "--again"))["enrolled"], 4);
  assert.deepEqual(await enrolled(), before);
});

test("compare says same or different by its exit code, without key or server", async () => {
  const others = [CONNERY_AGAIN, photoPath(PEOPLE.cage[0])];
  const runs = await Promise.all(others.map((other) => runCli(["compare", CONNERY, other])));
  assert.deepEqual(
    runs.map(({ code }) => code),
    [0, 1],
  );
  assert.match(runs[0]!.stdout, /^same person: distance 0\.\d{6} \(threshold 0\.6, euclidean, dlib-resnet-128\)\n$/);
  assert.match(runs[1]!.stdout, /^different people: /);
});

test("one bad photo among several is named and nothing of the run is enrolled", async () => {
  const text = join(folder, "text.jpg");
  await writeFile(text, "not an image");
  const cut = join(folder, "cut.jpg");
  await writeFile(cut, (await readFile(CONNERY)).subarray(0, 3000));
  const two = join(folder, "two.png");
  const [a, b] = await Promise.all(
    [PEOPLE.cage[0], PEOPLE.bieber[0]].map(async (name) =>
      sharp(await readPhoto(name))
        .resize(400, 500, { fit: "cover" })
        .toBuffer(),
    ),
  );
  await sharp({ create: { width: 800, height: 500, channels: 3, background: "#888" } })
    .composite([
      { input: a!, left: 0, top: 0 },
      { input: b!, left: 400, top: 0 },
    ])
    .png()
    .toFile(two);
  const before = await enrolled();
  const bad: [string, string][] = [
    [text, "NOT_AN_IMAGE"],
    [cut, "NOT_AN_IMAGE"],
    [photoPath(PHOTO_WITHOUT_FACE), "NO_FACE"],
    [two, "SEVERAL_FACES"],
    [join(folder, "none.jpg"), "USAGE"],
  ];
  const runs = await Promise.all(bad.map(([path]) => json(2, "enroll", "staff", "new", CONNERY, path)));
  bad.forEach(([path, reason], i) => {
    const { error } = runs[i] as { error: { reason: string; message: string } };
    assert.deepEqual([error.reason, error.message.includes(path)], [reason, true]);
  });
  assert.deepEqual(await enrolled(), before);
  const enrollment = await json(0, "enroll", "staff", "new", two, "--largest-face");
  const faces = enrollment["faces"] as Record<string, unknown>[];
  const [{ path, turn, score, box }] = faces as [{ path: string; turn: number; score: number; box: { left: number } }];
  assert.deepEqual([faces.length, path, turn], [1, two, 0]);
  assert.ok(score > 0.9 && box.left > 350, "the larger face, on the right");
  const told = await cli("enroll", "staff", "new", two, "--largest-face");
  assert.match(told.stdout, /two\.png: took the face of \d+ x \d+ pixels at \d+, \d+ \(score 0\.\d\d\)\n$/);
});
