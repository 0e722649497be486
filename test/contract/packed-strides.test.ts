import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { Enrollment } from "../../client/enroll/unit-maker.ts";
import { KeyHolder } from "../../client/keys/key-holder.ts";
import type { ModelSpace } from "../../client/model-space.ts";
import { VeilfaceClient } from "../../client/veilface-client.ts";
import { unitVector } from "../../bench/figures.ts";
import { ByteCounter } from "../../scripts/dev/byte-counter.ts";
import { ServerProcess } from "../../scripts/dev/server-process.ts";

const DIMENSION = 128;
const FEW = 124;
const SPACE: ModelSpace = { dimension: DIMENSION, metric: "cosine", normBound: 1, modelId: "random" };

const server = await ServerProcess.start(["--log-level", "error"]);
const counter = await ByteCounter.open(() => server.address);
const keyHolder = await KeyHolder.create();
const client = new VeilfaceClient({ keyHolder, address: counter.address });
after(async () => {
  client[Symbol.dispose]();
  counter[Symbol.dispose]();
  keyHolder[Symbol.dispose]();
  await server[Symbol.asyncDispose]();
});

function people(count: number): Enrollment[] {
  return Array.from({ length: count }, (_, i) => ({
    templateId: `t-${i}`,
    subjectId: `s-${i}`,
    embedding: unitVector(i, DIMENSION),
  }));
}

/** Bytes in both directions of a verification of somebody who is there. */
async function verifyBytes(galleryId: string, of = client): Promise<number> {
  const verify = () =>
    of.verify(galleryId, { subjectId: "s-7", embedding: unitVector(7, DIMENSION) }, { threshold: 0.01 });
  await verify();
  const before = counter.sent + counter.received;
  assert.equal((await verify()).accepted, true);
  return counter.sent + counter.received - before;
}

async function looseGallery(galleryId: string): Promise<number> {
  await client.createGallery(galleryId, SPACE);
  await client.enroll(galleryId, people(FEW), { packing: "never" });
  return verifyBytes(galleryId);
}

test("packing 124 templates at most doubles what a verification costs, and packing again follows growth", async () => {
  const loose = await looseGallery("grown");
  const { gallery } = await client.packGallery("grown");
  assert.deepEqual(gallery.strides, [gallery.packedStride]);
  assert.ok(gallery.packedStride >= DIMENSION / 2, `packed at stride ${gallery.packedStride}`);
  const packed = await verifyBytes("grown");
  assert.ok(packed < 2 * loose, `${packed} bytes packed, ${loose} before`);
  await client.enroll("grown", people(5000));
  const later = (await client.packGallery("grown")).gallery;
  assert.ok(later.packedStride <= 16, `5000 templates were packed at stride ${later.packedStride}`);
  assert.equal((await client.identify("grown", unitVector(4321, DIMENSION)))[0]?.subjectId, "s-4321");
});

test("124 templates enrolled at once cost a verification no more than one by one", async () => {
  const loose = await looseGallery("one-by-one");
  await client.createGallery("at-once", SPACE);
  assert.equal(await client.enroll("at-once", people(FEW)), FEW);
  const atOnce = await verifyBytes("at-once");
  assert.ok(atOnce < 2 * loose, `${atOnce} bytes enrolled at once, ${loose} one by one`);
});

test("many templates enrolled at once are packed, and few where somebody said that many will come", async () => {
  await client.createGallery("many", SPACE);
  await client.enroll("many", people(2000));
  const many = await client.getGallery("many");
  assert.ok(many.strides.includes(many.packedStride) && many.packedStride < DIMENSION);
  await client.createGallery("expecting", SPACE, { expectedTemplates: 1_000 });
  await client.enroll("expecting", people(FEW));
  assert.deepEqual((await client.getGallery("expecting")).strides, [16]);
});

test("a rotated gallery is packed for what it holds, and one whose stride somebody wished keeps it", async () => {
  const loose = await looseGallery("rotated");
  await client.createGallery("wished", SPACE, { packedStride: 12 });
  await client.enroll("wished", people(FEW));
  using newKeyHolder = await KeyHolder.create();
  await client.rotateKey(newKeyHolder, { galleryIds: ["rotated", "wished"] });
  using rotated = new VeilfaceClient({ keyHolder: newKeyHolder, address: counter.address });
  assert.ok((await verifyBytes("rotated", rotated)) < 2 * loose);
  assert.deepEqual((await rotated.getGallery("wished")).strides, [12]);
});

test("who is not there, and a gallery that is not there, are said in words", async () => {
  const nobody = client.verify(
    "wished-nobody",
    { subjectId: "ada", embedding: unitVector(0, DIMENSION) },
    { threshold: 0.5 },
  );
  await assert.rejects(nobody, {
    reason: "SERVER_REFUSED",
    serverReason: "GALLERY_NOT_FOUND",
    message: /no gallery "wished-nobody".*create it/,
  });
  await client.createGallery("staff", SPACE);
  for (let again = 0; again < 2; again++) {
    const verifying = client.verify(
      "staff",
      { subjectId: "ada", embedding: unitVector(0, DIMENSION) },
      { threshold: 0.5 },
    );
    const message = 'gallery "staff" has no subject "ada": enroll it first, or check the id';
    await assert.rejects(verifying, { reason: "SERVER_REFUSED", serverReason: "SUBJECT_NOT_FOUND", message });
  }
});
