import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import sharp from "sharp";
import { FaceError } from "../../../face/errors.ts";
import type { FaceErrorReason } from "../../../face/errors.ts";
import { OnnxGraph } from "../../../face/default-pack/onnx-graph.ts";
import { FaceEncoder } from "../../../face/face-encoder.ts";
import type { EncodedFace } from "../../../face/face-encoder.ts";
import { intersectionOverUnion } from "../../../face/geometry.ts";
import { loadDefaultModelPack, loadModelPack } from "../../../face/model-pack.ts";
import { PEOPLE, PHOTO_WITHOUT_FACE, PHOTO_WITH_EARRING, readPhoto } from "../../../scripts/dev/photos.ts";

const THRESHOLD = 0.6;
let folder = "";
let encoder: FaceEncoder;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "veilface-encoder-"));
  process.env["VEILFACE_CACHE"] = folder;
  encoder = await FaceEncoder.open(await loadDefaultModelPack());
});

after(async () => {
  await encoder[Symbol.asyncDispose]();
  delete process.env["VEILFACE_CACHE"];
  await rm(folder, { recursive: true, force: true });
});

function distance(a: EncodedFace, b: EncodedFace): number {
  return Math.hypot(...a.embedding.map((value, i) => value - b.embedding[i]!));
}

async function assertRefused(work: Promise<unknown>, reason: FaceErrorReason): Promise<void> {
  await assert.rejects(work, (error) => error instanceof FaceError && error.reason === reason);
}

/** Two portraits side by side, 500 pixels high. */
async function sideBySide(left: string, right: string): Promise<{ image: Uint8Array; leftWidth: number }> {
  const resize = async (name: string) =>
    sharp(await readPhoto(name))
      .resize({ height: 500 })
      .toBuffer({ resolveWithObject: true });
  const [a, b] = [await resize(left), await resize(right)];
  const canvas = sharp({
    create: { width: a.info.width + b.info.width, height: 500, channels: 3, background: "#fff" },
  });
  const composed = canvas.composite([
    { input: a.data, left: 0, top: 0 },
    { input: b.data, left: a.info.width, top: 0 },
  ]);
  return { image: await composed.png().toBuffer(), leftWidth: a.info.width };
}

test("a portrait gives one face, its landmarks and 128 numbers", async () => {
  const faces = await encoder.encode(await readPhoto(PEOPLE.cage[0]));
  assert.equal(faces.length, 1);
  const { box, score, landmarks, embedding } = faces[0]!;
  assert.ok(score > 0.9 && score <= 1);
  assert.equal(landmarks.length, 68);
  assert.equal(embedding.length, 128);
  const inside = landmarks.filter(({ x, y }) => x > box.left && x < box.right && y > box.top && y < box.bottom);
  assert.ok(inside.length >= 60);
  const [leftEye, rightEye, chin] = [landmarks[36]!, landmarks[45]!, landmarks[8]!];
  assert.ok(leftEye.x < rightEye.x && chin.y > leftEye.y && chin.y > rightEye.y);
});

test("subtracting the public mean leaves embeddings shorter than 1", async () => {
  for (const name of [PEOPLE.cage[0], PEOPLE.obama[0], PEOPLE.franck[0]!]) {
    const { embedding } = await encoder.encodeSingle(await readPhoto(name));
    assert.ok(Math.hypot(...embedding) < 1);
  }
});

test("two people in one photo are both found where they are, and each is recognised", async () => {
  const { image, leftWidth } = await sideBySide(PEOPLE.bieber[1], PEOPLE.connery[0]);
  const faces = (await encoder.encode(image)).toSorted((a, b) => a.box.left - b.box.left);
  assert.equal(faces.length, 2);
  assert.ok(faces[0]!.box.right <= leftWidth && faces[1]!.box.left >= leftWidth - 5);
  const bieber = await encoder.encodeSingle(await readPhoto(PEOPLE.bieber[0]));
  const connery = await encoder.encodeSingle(await readPhoto(PEOPLE.connery[1]));
  assert.ok(distance(faces[0]!, bieber) < THRESHOLD && distance(faces[1]!, connery) < THRESHOLD);
  assert.ok(distance(faces[0]!, connery) > THRESHOLD && distance(faces[1]!, bieber) > THRESHOLD);
});

test("a photo of two is refused where one is expected, unless the largest face is asked for", async () => {
  const { image } = await sideBySide(PEOPLE.bieber[1], PEOPLE.connery[0]);
  await assertRefused(encoder.encodeSingle(image), "SEVERAL_FACES");
  const [largest, other] = await encoder.encode(image);
  const chosen = await encoder.encodeSingle(image, { largestFace: true });
  assert.deepEqual(chosen, largest);
  assert.notDeepEqual(chosen, other);
});

test("a detail taken for a far smaller face does not make a portrait ambiguous", async () => {
  const photo = await readPhoto(PHOTO_WITH_EARRING);
  const faces = await encoder.detect(photo);
  assert.equal(faces.length, 2);
  assert.deepEqual((await encoder.encodeSingle(photo)).box, faces[0]!.box);
});

test("what the detector hardly takes for a face is none", async () => {
  // A screen full of small pictures: measured 0.53 to 0.60 for four boxes that hold no whole face.
  const page = createRequire(import.meta.url).resolve("@vladmandic/face-api/package.json");
  const faces = await encoder.detect(await readFile(join(dirname(page), "demo", "screenshot-images.png")));
  assert.deepEqual(
    faces.filter(({ score }) => score < 0.65),
    [],
  );
});

test("a photo without a face gives none, and is refused where one is expected", async () => {
  const photo = await readPhoto(PHOTO_WITHOUT_FACE);
  assert.deepEqual(await encoder.encode(photo), []);
  await assertRefused(encoder.encodeSingle(photo), "NO_FACE");
});

test("bytes that are no image are refused as such by every method", async () => {
  const letter = new TextEncoder().encode("not a photo");
  await assertRefused(encoder.detect(letter), "NOT_AN_IMAGE");
  await assertRefused(encoder.encode(letter), "NOT_AN_IMAGE");
  await assertRefused(encoder.encodeSingle(letter), "NOT_AN_IMAGE");
});

test("a portrait cropped to the face alone is found, which one look without a border misses", async () => {
  // The tightest crops of the collection: measured score 0.25 and 0.78 without a border, 0.98 and 1.00 with it.
  for (const name of ["walter2_crop.jpg", PEOPLE.murray[0]]) {
    const [face] = await encoder.detect(await readPhoto(name));
    assert.ok(face !== undefined && face.score > 0.95);
  }
});

test("a photo stored turned, with its orientation noted, gives the same face as the upright one", async () => {
  const upright = await sharp(await readPhoto(PEOPLE.cage[0]))
    .png()
    .toBuffer();
  // Stored a quarter turned anticlockwise; orientation 6 tells the reader to turn it back.
  const turned = await sharp(upright).rotate(270).withMetadata({ orientation: 6 }).png().toBuffer();
  const [a, b] = [await encoder.encodeSingle(upright), await encoder.encodeSingle(turned)];
  assert.deepEqual(a.box, b.box);
  assert.ok(distance(a, b) < 1e-6);
});

test("a face in a photo of 26 megapixels is placed in the pixels of that photo and recognised", async () => {
  const photo = await readPhoto(PEOPLE.franck[0]!);
  const { width, height } = await sharp(photo).metadata();
  const factor = 8;
  const large = await sharp(photo)
    .resize(width * factor, height * factor)
    .jpeg()
    .toBuffer();
  const [small, big] = [await encoder.encodeSingle(photo), await encoder.encodeSingle(large)];
  const { left, top, right, bottom } = big.box;
  const scaled = { left: left / factor, top: top / factor, right: right / factor, bottom: bottom / factor };
  assert.ok(intersectionOverUnion(scaled, small.box) > 0.9);
  assert.ok(distance(small, big) < 0.25);
});

/** A descriptor that answers with the average colour of the face, times three columns of constants. */
function colorDescriptor(): Uint8Array {
  const graph = new OnnxGraph("colour");
  const average = graph.node("Flatten", [graph.node("GlobalAveragePool", [graph.input("face", [1, 3, 112, 112])])], {
    axis: 1,
  });
  const colors = graph.constant({ shape: [3, 4], data: Float32Array.of(1, 0, 0, 1, 0, 1, 0, 1, 0, 0, 1, 1) });
  graph.named("embedding", { operator: "MatMul", inputs: [average, colors] });
  graph.output("embedding", [1, 4]);
  return graph.encode();
}

async function writeColorPack(dimension: number): Promise<string> {
  const pack = await mkdtemp(join(folder, "pack-"));
  const input = {
    width: 112,
    height: 112,
    layout: "NCHW",
    channelOrder: "BGR",
    mean: [0, 0, 0],
    scale: [1 / 255, 1 / 255, 1 / 255],
  };
  const alignment = [
    { landmarks: [36, 39], x: 38, y: 52 },
    { landmarks: [42, 45], x: 74, y: 52 },
    { landmarks: [30], x: 56, y: 72 },
  ];
  const descriptor = { file: "colour.onnx", input, alignment };
  const card = { id: "colour", version: "1", license: "none", metric: "cosine", threshold: 0.9, dimension, descriptor };
  await writeFile(join(pack, "model.json"), JSON.stringify(card));
  await writeFile(join(pack, "colour.onnx"), colorDescriptor());
  return pack;
}

test("a user's own descriptor runs behind the default detector, as its card describes it", async () => {
  await using own = await FaceEncoder.open(await loadModelPack(await writeColorPack(4)));
  const { embedding } = await own.encodeSingle(await readPhoto(PEOPLE.cage[0]));
  const [blue, green, red, sum] = embedding as unknown as [number, number, number, number];
  assert.ok(Math.abs(Math.hypot(...embedding) - 1) < 1e-6);
  assert.ok(Math.abs(sum - (blue + green + red)) < 1e-6);
  assert.ok(red > green && green > blue, "skin is redder than it is blue");
});

test("a photo on its side is turned for a user's own descriptor too, by the landmarks alone", async () => {
  await using own = await FaceEncoder.open(await loadModelPack(await writeColorPack(4)));
  const photo = await readPhoto(PEOPLE.cage[0]);
  const upright = await own.encodeSingle(photo);
  const turned = await own.encodeSingle(await sharp(photo).rotate(90).png().toBuffer());
  assert.deepEqual([upright.turn, turned.turn], [0, 270]);
  assert.ok(distance(upright, turned) < 0.01);
});

test("a pack whose network does not fit its card, or is none, is refused when opened", async () => {
  await assertRefused(FaceEncoder.open(await loadModelPack(await writeColorPack(5))), "MODEL_PACK_INVALID");
  const pack = await writeColorPack(4);
  await writeFile(join(pack, "colour.onnx"), "not a network");
  await assertRefused(FaceEncoder.open(await loadModelPack(pack)), "MODEL_PACK_INVALID");
});
