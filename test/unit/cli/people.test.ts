import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmod, copyFile, mkdir, rename, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { lookThrough } from "../../../cli/people-folder.ts";
import { runCli, temporaryFolder } from "../../support/process/cli-process.ts";
import type { CliRun } from "../../support/process/cli-process.ts";
import { PEOPLE, PHOTO_WITHOUT_FACE, photoPath } from "../../../scripts/dev/photos.ts";
import { ServerProcess } from "../../../scripts/dev/server-process.ts";

interface Photo {
  readonly subjectId: string;
  readonly templateId: string;
  readonly path: string;
}

interface Report {
  readonly enrolled: number;
  readonly templates: readonly Photo[];
  readonly already: readonly Photo[];
  readonly failed: readonly { path: string; reason: string; message: string }[];
  readonly passedOver: readonly { path: string; message: string }[];
  readonly notes: readonly { path: string; message: string }[];
}

const { folder, remove } = await temporaryFolder();
const people = join(folder, "people");
const server = await ServerProcess.start(["--log-level", "error"]);
const key = join(folder, "a.key");
const env = { VEILFACE_KEY: key, VEILFACE_PASSPHRASE: "a passphrase", VEILFACE_SERVER: server.address };
after(async () => {
  await server[Symbol.asyncDispose]();
  await remove();
});

const cli = (...args: string[]): Promise<CliRun> => runCli(args, { env });

async function json<T>(code: number, ...args: string[]): Promise<T> {
  const run = await cli(...args, "--json");
  assert.equal(run.code, code, run.stdout + run.stderr);
  return JSON.parse(run.stdout) as T;
}

/** Puts a photo into the folder of people. */
async function put(photo: string, ...place: string[]): Promise<string> {
  const path = join(people, ...place);
  await mkdir(join(path, ".."), { recursive: true });
  await copyFile(photoPath(photo), path);
  return path;
}

const within = (...place: string[]): string => join(people, ...place);

before(async () => {
  assert.equal((await cli("keygen")).code, 0);
  assert.equal((await cli("gallery", "create", "staff")).code, 0);
  await put(PEOPLE.connery[0], "ada", "1.jpg");
  await put(PEOPLE.connery[0], "ada", "2-copy.JPG");
  await put(PEOPLE.cage[0], "ada", "3.jfif");
  await put(PHOTO_WITHOUT_FACE, "ada", "4-nobody.jpg");
  await writeFile(within("ada", "5-text.jpg"), "not an image");
  await writeFile(within("ada", "notes.txt"), "not a photo by its name");
  execFileSync("mkfifo", [within("ada", "6-pipe.jpg")]);
  await symlink("nowhere", within("ada", "7-dangling.png"));
  await put(PEOPLE.hepburn[0], "ada", "deeper", "1.jpg");
  await put(PEOPLE.hepburn[0], "loose.jpg");
  await put(PEOPLE.bieber[0], "..", "elsewhere", "1.jpg");
  await symlink("../elsewhere", within("bob"));
  await put(PEOPLE.cage[0], "cid", "same-as-ada.jpg");
  await mkdir(within("dan"));
  await put(PEOPLE.obama[0], "Zoë O'Neill", "1.jpg");
  for (const litter of ["@eaDir", "__MACOSX", ".hidden"]) await put(PEOPLE.norris[0], litter, "1.jpg");
  await put(PEOPLE.norris[0], "ada", "@eaDir", "1.jpg");
  for (const litter of [".DS_Store", "Thumbs.db", "desktop.ini"]) {
    await writeFile(within(litter), "");
    await writeFile(within("ada", litter), "");
  }
});

test("a folder of people is enrolled past what cannot be, and every photo and file is accounted for", async () => {
  const report = await json<Report>(1, "enroll", "staff", "--dir", people);
  const enrolled = [
    ["ada", "1.jpg"],
    ["ada", "3.jfif"],
    ["bob", "1.jpg"],
    ["cid", "same-as-ada.jpg"],
  ] as const;
  assert.deepEqual(
    report.templates.map(({ subjectId, path }) => [subjectId, path]),
    enrolled.map(([who, name]) => [who, within(who, name)]),
  );
  assert.equal(report.enrolled, 4);
  assert.deepEqual(report.already, []);

  assert.deepEqual(
    report.failed.map(({ path, reason }) => [path, reason]),
    [
      [within("Zoë O'Neill"), "USAGE"],
      [within("ada", "4-nobody.jpg"), "NO_FACE"],
      [within("ada", "5-text.jpg"), "NOT_AN_IMAGE"],
      [within("ada", "6-pipe.jpg"), "USAGE"],
      [within("ada", "7-dangling.png"), "USAGE"],
    ],
  );
  const says = [/zoe-o-neill/, /no face/, /not an image/, /named pipe/, /no such file/];
  report.failed.forEach(({ path, message }, i) => {
    assert.ok(message.startsWith(path), message);
    assert.match(message, says[i]!);
  });
  assert.deepEqual(Object.fromEntries(report.passedOver.map(({ path, message }) => [path, message.slice(0, 14)])), {
    [within("ada", "2-copy.JPG")]: "the same photo",
    [within("ada", "deeper")]: "a folder withi",
    [within("ada", "notes.txt")]: "no photo by it",
    [within("dan")]: "it has no phot",
    [within("loose.jpg")]: "it is in no pe",
  });
  const [note, ...more] = report.notes;
  assert.deepEqual([note?.path, more], [within("cid", "same-as-ada.jpg"), []]);
  assert.match(note!.message, /the same photo as .*3\.jfif, as cid and as ada/);
});

test("what is enrolled is passed over before it is encoded, and replaced where that is asked for", async () => {
  const report = await json<Report>(1, "enroll", "staff", "--dir", people);
  assert.deepEqual([report.enrolled, report.already.length, report.failed.length], [0, 4, 5]);
  await put(PEOPLE.hepburn[0], "eve", "1.jpg");
  const added = await json<Report>(1, "enroll", "staff", "--dir", people);
  assert.deepEqual(
    added.templates.map(({ path }) => path),
    [within("eve", "1.jpg")],
  );
  assert.equal(added.already.length, 4);
  const again = await json<Report>(1, "enroll", "staff", "--dir", people, "--again");
  assert.deepEqual([again.enrolled, again.already.length], [5, 0]);
  const { templates } = await json<{ templates: unknown[] }>(0, "list", "staff");
  assert.equal(templates.length, 5, "none is doubled");
});

test("the text says the same, and the photos can be found again by what list shows", async () => {
  const { stdout, stderr, code } = await cli("enroll", "staff", "--dir", people, "--again");
  assert.deepEqual([code, stderr], [1, ""]);
  assert.match(stdout, /^5 photos of 4 subjects enrolled in staff\n/);
  const { templates } = await json<{ templates: (Photo & { photo: string | null })[] }>(
    0,
    "list",
    "staff",
    "--dir",
    people,
  );
  for (const { templateId, subjectId, photo } of templates) {
    assert.match(stdout, new RegExp(`^${templateId} +${subjectId} +${String(photo)}$`, "m"));
  }
  for (const says of ["not enrolled:\n  .*Zoë", "passed over:\n  ", "please check:\n  "])
    assert.match(stdout, new RegExp(says));
  const table = (await cli("list", "staff", "--dir", people)).stdout.split("\n");
  assert.match(table[0]!, /^subject +template +photo$/);
  assert.equal(table.filter((line) => line.includes(people)).length, 5);
  await rename(within("eve"), within("..", "eve"));
  const without = await json<{ templates: { subjectId: string; photo: string | null }[] }>(
    0,
    "list",
    "staff",
    "--dir",
    people,
  );
  assert.deepEqual(
    without.templates.filter(({ photo }) => photo === null).map(({ subjectId }) => subjectId),
    ["eve"],
  );
});

test("photos that are named count once when they come twice, and are replaced", async () => {
  const photo = within("ada", "1.jpg");
  const report = await json<Report>(0, "enroll", "staff", "ada", photo, within("ada", "2-copy.JPG"));
  assert.deepEqual([report.enrolled, report.passedOver.length, report.already.length], [1, 1, 0]);
  assert.deepEqual(
    report.templates.map(({ path }) => path),
    [photo],
  );
});

test("verify of somebody who is not there says so in words", async () => {
  const run = await cli("verify", "staff", "nobody-here", within("ada", "1.jpg"));
  assert.deepEqual([run.code, run.stdout], [2, ""]);
  assert.match(run.stderr, /^veilface: nobody is enrolled as nobody-here in staff: see veilface list staff/);
  const { error } = await json<{ error: { serverReason: string } }>(
    2,
    "verify",
    "staff",
    "nobody-here",
    within("ada", "1.jpg"),
  );
  assert.equal(error.serverReason, "SUBJECT_NOT_FOUND");
});

test("a person's folder that cannot be read is told, and the others are enrolled", async () => {
  await put(PEOPLE.norris[0], "shut", "1.jpg");
  await chmod(within("shut"), 0o000);
  await chmod(folder, 0o755);
  const isRoot = process.geteuid?.() === 0;
  // Root may read everything.
  if (isRoot) process.seteuid?.(54_321);
  try {
    const { photos, failed } = await lookThrough(people);
    assert.ok(photos.length > 0);
    assert.match(
      failed.find(({ path }) => path === within("shut"))?.message ?? "",
      /shut cannot be read: permission denied/,
    );
  } finally {
    if (isRoot) process.seteuid?.(0);
    await chmod(within("shut"), 0o700);
  }
});
