import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { photoPath } from "../../scripts/dev/photos.ts";
import { ServerProcess } from "../../scripts/dev/server-process.ts";

const ROOT = join(import.meta.dirname, "..", "..");

async function readme(): Promise<string> {
  return readFile(join(ROOT, "README.md"), "utf8");
}

/** The example as a newcomer would run it, but for the server's port and where its files are. */
async function exampleFor(address: string, folder: string): Promise<string> {
  let code = /```ts\n([^]*?)```/.exec(await readme())?.[1] ?? assert.fail("README has no TypeScript example");
  const places = { "127.0.0.1:50051": address, "veilface.key": join(folder, "veilface.key") };
  const photos = Object.fromEntries(
    ["cage.jpg", "audrey.jpg", "cage2_crop.jpg"].map((name) => [name, photoPath(name)]),
  );
  for (const [name, place] of Object.entries({ ...places, ...photos })) {
    assert.ok(code.includes(`"${name}"`), `the example names ${name}`);
    code = code.replaceAll(`"${name}"`, JSON.stringify(place));
  }
  return code;
}

void test("the example in README runs as it stands and recognises the right person", async () => {
  await using server = await ServerProcess.start();
  const folder = await mkdtemp(join(tmpdir(), "veilface-readme-"));
  try {
    const code = await exampleFor(server.address, folder);
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ["--conditions=source", "--input-type=module-typescript", "--eval", code],
      { cwd: ROOT },
    );
    const { accepted, distance, candidates } = JSON.parse(stdout) as {
      accepted: boolean;
      distance: number;
      candidates: { subjectId: string }[];
    };
    assert.equal(accepted, true);
    assert.ok(distance > 0.3 && distance < 0.6);
    assert.deepEqual(
      candidates.map(({ subjectId }) => subjectId),
      ["nicolas"],
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

void test("the buf curl lines in README list and call the server's rpcs", async () => {
  await using server = await ServerProcess.start();
  const blocks = [...(await readme()).matchAll(/```sh\n([^]*?)```/g)]
    .map(([, block]) => block!)
    .filter((block) => block.includes("buf curl"));
  assert.equal(blocks.length, 1);
  const script = blocks[0]!
    .replaceAll("127.0.0.1:50051", server.address)
    .replaceAll("npx buf", join(ROOT, "node_modules", ".bin", "buf"));
  const { stdout } = await promisify(execFile)("bash", ["-euc", script], { cwd: ROOT });
  assert.match(stdout, /veilface\.v1\.MatchingService\/SearchGallery/);
  assert.match(stdout, /"contextId": "[0-9a-f]{64}"/);
});
