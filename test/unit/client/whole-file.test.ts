import assert from "node:assert/strict";
import { mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { writeWholeFile } from "../../../client/whole-file.ts";

const folder = await mkdtemp(join(tmpdir(), "veilface-whole-file-"));
after(() => rm(folder, { recursive: true, force: true }));
const path = join(folder, "a");
const [old, fresh] = [Buffer.from("old"), Buffer.from("new")];

test("a file is written whole, with its mode, and nothing stays beside it", async () => {
  await writeWholeFile(path, old, { replace: false, mode: 0o600 });
  assert.deepEqual(await readFile(path), old);
  if (process.platform !== "win32") assert.equal((await stat(path)).mode & 0o777, 0o600);
  assert.deepEqual(await readdir(folder), ["a"]);
});

test("what is there stays unless it is to be replaced", async () => {
  await writeFile(path, old);
  await assert.rejects(writeWholeFile(path, fresh, { replace: false }), { code: "EEXIST" });
  assert.deepEqual(await readFile(path), old);
  for (const durable of [true, false]) await writeWholeFile(path, fresh, { replace: true, durable });
  assert.deepEqual(await readFile(path), fresh);
});

test("where the bytes cannot be made nothing is left, and what was there stays", async () => {
  const failure = new Error("not made");
  const make = (): Promise<Buffer> => Promise.reject(failure);
  await writeFile(path, old);
  await assert.rejects(writeWholeFile(path, make, { replace: true }), failure);
  await assert.rejects(writeWholeFile(join(folder, "b"), make, { replace: false }), failure);
  assert.deepEqual(await readdir(folder), ["a"]);
  assert.deepEqual(await readFile(path), old);
});
