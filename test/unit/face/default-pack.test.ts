import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { FaceError } from "../../../face/errors.ts";
import { DEFAULT_CARD } from "../../../face/default-pack/card.ts";
import { hashFile } from "../../../face/file-hash.ts";
import { loadDefaultModelPack, loadModelPack } from "../../../face/model-pack.ts";

const FILES = [DEFAULT_CARD.descriptor, DEFAULT_CARD.detector, DEFAULT_CARD.landmarks];
let cache = "";
let folder = "";

beforeEach(async () => {
  cache = await mkdtemp(join(tmpdir(), "veilface-cache-"));
  folder = join(cache, "models", `${DEFAULT_CARD.id}-${DEFAULT_CARD.version}`);
  process.env["VEILFACE_CACHE"] = cache;
});

afterEach(async () => {
  delete process.env["VEILFACE_CACHE"];
  await rm(cache, { recursive: true, force: true });
});

async function assertWhole(): Promise<void> {
  for (const { file, sha256 } of FILES) assert.equal(await hashFile(join(folder, file)), sha256);
  assert.deepEqual((await readdir(folder)).sort(), [
    "descriptor.onnx",
    "detector.onnx",
    "landmarks.onnx",
    "model.json",
  ]);
}

test("the default pack is made at first use, with progress, and only read afterwards", async () => {
  const progress: string[] = [];
  const onProgress = ({ done, total }: { done: number; total: number }) => progress.push(`${done}/${total}`);
  const pack = await loadDefaultModelPack({ onProgress });
  await assertWhole();
  assert.deepEqual(progress, ["0/3", "1/3", "2/3", "3/3"]);
  assert.deepEqual(await loadDefaultModelPack({ onProgress }), pack);
  assert.equal(progress.length, 4);
});

test("the cached folder is a model pack like any other", async () => {
  const pack = await loadDefaultModelPack();
  assert.deepEqual(await loadModelPack(folder), pack);
});

test("a damaged file is made again, the others are left alone", async () => {
  await loadDefaultModelPack();
  const path = join(folder, "landmarks.onnx");
  const bytes = await readFile(path);
  bytes[5000]! ^= 1;
  await writeFile(path, bytes);
  const totals: number[] = [];
  await loadDefaultModelPack({ onProgress: ({ total }) => totals.push(total) });
  assert.deepEqual(totals, [1, 1]);
  await assertWhole();
});

test("what a killed preparation left behind is never used, and goes away", async () => {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "detector.onnx"), "half of");
  const abandoned = join(folder, "detector.onnx.0b.part");
  await writeFile(abandoned, "a file");
  await utimes(abandoned, new Date(0), new Date(0));
  await loadDefaultModelPack();
  await assertWhole();
});

/** Another process that prepares the pack, and prints a line as each file is written. */
function startPreparation(): ChildProcess {
  const module = new URL("../../../face/model-pack.ts", import.meta.url).href;
  const script = `const { loadDefaultModelPack } = await import(${JSON.stringify(module)});
    await loadDefaultModelPack({ onProgress: () => console.log("written") });`;
  const options = ["--conditions=source", "--input-type=module", "-e", script];
  return spawn(process.execPath, options, { env: process.env, stdio: ["ignore", "pipe", "inherit"] });
}

test("processes that prepare the pack at the same time all end with a whole one", async () => {
  const exits = [startPreparation(), startPreparation()].map((child) => once(child, "exit"));
  await loadDefaultModelPack();
  assert.deepEqual(await Promise.all(exits), [
    [0, null],
    [0, null],
  ]);
  await assertWhole();
});

test("a preparation killed half-way is finished by the next one", async () => {
  const child = startPreparation();
  await once(child.stdout!, "data");
  child.kill("SIGKILL");
  assert.deepEqual(await once(child, "exit"), [null, "SIGKILL"]);
  await loadDefaultModelPack();
  for (const { file, sha256 } of FILES) assert.equal(await hashFile(join(folder, file)), sha256);
});

test("a cache folder that cannot be written is refused, naming the variable that moves it", async () => {
  process.env["VEILFACE_CACHE"] = join(cache, "file");
  await writeFile(join(cache, "file"), "not a folder");
  await assert.rejects(loadDefaultModelPack(), (error) => {
    assert.ok(error instanceof FaceError);
    assert.equal(error.reason, "MODEL_CACHE_UNUSABLE");
    assert.match(error.message, /VEILFACE_CACHE/);
    return true;
  });
});

async function assertPackRefused(message: RegExp): Promise<void> {
  await assert.rejects(loadModelPack(cache), (error) => {
    assert.ok(error instanceof FaceError);
    assert.equal(error.reason, "MODEL_PACK_INVALID");
    assert.match(error.message, message);
    return true;
  });
}

test("a folder without a card, without a file of its card, or with another file than its card says is refused", async () => {
  await assertPackRefused(/model.json cannot be read/);
  await writeFile(join(cache, "model.json"), JSON.stringify(DEFAULT_CARD));
  await assertPackRefused(/descriptor.onnx cannot be read/);
  await writeFile(join(cache, "descriptor.onnx"), "something else");
  await assertPackRefused(/descriptor.onnx has SHA-256 [0-9a-f]{64}, its card says/);
});

test("a named pipe in the place of a card or a network is refused, not waited for", async () => {
  const card = join(cache, "model.json");
  execFileSync("mkfifo", [card]);
  await assertPackRefused(/model.json cannot be read \(it is no file/);
  await rm(card);
  await writeFile(card, JSON.stringify(DEFAULT_CARD));
  execFileSync("mkfifo", [join(cache, "descriptor.onnx")]);
  await assertPackRefused(/descriptor.onnx cannot be read/);
});
