import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ClientError } from "../../client/errors.ts";
import { saveKeyFile } from "../../client/keys/key-file.ts";
import { KeyHolder } from "../../client/keys/key-holder.ts";
import type { ModelSpace } from "../../client/model-space.ts";
import { VeilfaceClient } from "../../client/veilface-client.ts";
import { unitVector } from "../../bench/figures.ts";
import { freePort } from "../support/process/free-port.ts";
import { ServerProcess } from "../../scripts/dev/server-process.ts";

const SPACE: ModelSpace = { dimension: 32, metric: "cosine", normBound: 1, modelId: "random" };
const PACKED = 2500;
const LOOSE = 30;
const DELETED = [3, 1500, PACKED + 2];
const LIVE = Array.from({ length: PACKED + LOOSE }, (_, i) => i).filter((i) => !DELETED.includes(i));

const folder = await mkdtemp(join(tmpdir(), "veilface-rewrite-"));
const server = await ServerProcess.start(["--log-level", "error", "--address", `127.0.0.1:${await freePort()}`]);
const [oldKey, newKey] = [await KeyHolder.create("PACKED_N4096_Q30"), await KeyHolder.create("PACKED_N4096_Q60")];
const [oldClient, newClient] = [oldKey, newKey].map(
  (keyHolder) => new VeilfaceClient({ keyHolder, address: server.address }),
) as [VeilfaceClient, VeilfaceClient];
after(async () => {
  for (const owned of [oldClient, newClient, oldKey, newKey]) owned[Symbol.dispose]();
  await server[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const person = (i: number): { templateId: string; subjectId: string; embedding: Float64Array } => ({
  templateId: `t-${i}`,
  subjectId: `s-${i}`,
  embedding: Float64Array.from(unitVector(i, SPACE.dimension)),
});

before(async () => {
  await saveKeyFile(join(folder, "old.key"), { keyHolder: oldKey, passphrase: "test" });
  await saveKeyFile(join(folder, "new.key"), { keyHolder: newKey, passphrase: "test" });
});

async function createMixedGallery(galleryId: string): Promise<void> {
  await oldClient.createGallery(galleryId, SPACE, { packedStride: 4 });
  await oldClient.enroll(
    galleryId,
    Array.from({ length: PACKED }, (_, i) => person(i)),
  );
  await oldClient.enroll(
    galleryId,
    Array.from({ length: LOOSE }, (_, i) => person(PACKED + i)),
    { packing: "never" },
  );
  await oldClient.deleteTemplates(galleryId, { templateIds: DELETED.map((i) => `t-${i}`) });
}

/** Runs the child and kills it once it has reported so much; undefined lets it finish. Gives whether it finished. */
async function rewrite(galleryId: string, newKeyFile: string, killAfter: number | undefined): Promise<boolean> {
  const args = [
    "--conditions=source",
    join(import.meta.dirname, "client-rewrite-child.ts"),
    server.address,
    galleryId,
    join(folder, "old.key"),
    newKeyFile,
  ];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  let printed = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    printed += text;
    if (killAfter !== undefined && printed.split("\n").some((line) => Number(line) >= killAfter)) child.kill("SIGKILL");
  });
  await once(child, "close");
  return printed.includes("finished");
}

/**
 * The gallery under whichever key it is: exactly the live people, each found by the plain embedding, the deleted ones
 * never.
 */
async function assertWhole(galleryId: string): Promise<void> {
  const { contextId } = await oldClient.getGallery(galleryId);
  const client = contextId === oldKey.contextId ? oldClient : newClient;
  const entries = await client.listTemplates(galleryId);
  assert.deepEqual(
    entries.map(({ templateId }) => Number(templateId.slice(2))).sort((a, b) => a - b),
    LIVE,
  );
  for (const i of [0, 1499, 2499, PACKED, PACKED + LOOSE - 1]) {
    const [nearest] = await client.identify(galleryId, person(i).embedding);
    assert.equal(nearest?.subjectId, `s-${i}`);
    assert.ok(nearest.distance < 0.03, `person ${i} is at distance ${nearest.distance}`);
  }
  for (const i of DELETED)
    assert.notEqual((await client.identify(galleryId, person(i).embedding))[0]?.subjectId, `s-${i}`);
}

const drafts = async (client: VeilfaceClient, galleryId: string): Promise<number> =>
  (await client.listGalleries()).filter(({ draftOf }) => draftOf === galleryId).length;

test("packing that is killed at any moment leaves the gallery whole, old or new, and is finished by running it again", async () => {
  await createMixedGallery("packed");
  for (const killAfter of [1, 600, LIVE.length]) {
    await rewrite("packed", "", killAfter);
    await assertWhole("packed");
  }
  assert.equal(await rewrite("packed", "", undefined), true);
  await assertWhole("packed");
  const { strides, packedStride } = await oldClient.getGallery("packed");
  assert.equal(packedStride, 8);
  assert.ok(strides.includes(8) && !strides.includes(4));
  const left = await drafts(oldClient, "packed");
  assert.ok(left >= 2, `${left} drafts were left behind`);
  assert.equal(await oldClient.discardDrafts("packed"), left);
  assert.equal(await drafts(oldClient, "packed"), 0);
  await assertWhole("packed");
});

test("a rotation that is killed at any moment leaves the gallery whole under the old key or the new, and goes on when run again", async () => {
  await createMixedGallery("rotated");
  const newKeyFile = join(folder, "new.key");
  for (const killAfter of [1, 600, LIVE.length]) {
    await rewrite("rotated", newKeyFile, killAfter);
    await assertWhole("rotated");
  }
  assert.equal(await rewrite("rotated", newKeyFile, undefined), true);
  assert.equal((await newClient.getGallery("rotated")).contextId, newKey.contextId);
  await assertWhole("rotated");
  await assert.rejects(
    oldClient.identify("rotated", person(0).embedding),
    (error) => error instanceof ClientError && error.reason === "KEY_MISMATCH",
  );
  assert.deepEqual(await oldClient.rotateKey(newKey, { galleryIds: ["rotated"] }), []);
  await newClient.discardDrafts("rotated");
});

test("packing that outlives its server goes on when the server is back, or fails and leaves the gallery whole", async () => {
  await createMixedGallery("server-killed");
  let killed: Promise<void> | undefined;
  const packing = oldClient.packGallery("server-killed", {
    onProgress: () => {
      killed ??= server.kill("SIGKILL").then(() => server.restart());
    },
  });
  const outcome = await packing.then(
    () => "packed",
    (error: unknown) => error instanceof ClientError && error.reason,
  );
  assert.ok(outcome === "packed" || outcome === "SERVER_UNAVAILABLE", String(outcome));
  await killed;
  await assertWhole("server-killed");
});

test("of two who pack at once one is told that the gallery changed, its draft is gone and nobody is lost", async () => {
  using one = new VeilfaceClient({ keyHolder: oldKey, address: server.address });
  using other = new VeilfaceClient({ keyHolder: oldKey, address: server.address });
  await one.createGallery("raced", SPACE, { packedStride: 4 });
  await one.enroll(
    "raced",
    Array.from({ length: 1500 }, (_, i) => person(i)),
  );
  const outcomes = await Promise.allSettled([one.packGallery("raced"), other.packGallery("raced", { stride: 2 })]);
  const refused = outcomes
    .filter((outcome) => outcome.status === "rejected")
    .map(({ reason }) => reason as ClientError);
  assert.deepEqual(
    refused.map(({ serverReason }) => serverReason),
    ["GALLERY_CHANGED"],
  );
  assert.match(refused[0]!.message, /nothing is lost; run it again/);
  assert.equal((await one.listTemplates("raced")).length, 1500);
  assert.equal((await one.listGalleries()).filter(({ draftOf }) => draftOf === "raced").length, 0);
  assert.equal((await one.identify("raced", person(1234).embedding))[0]?.subjectId, "s-1234");
});
