import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { compileFunction } from "node:vm";
import { EMBEDDING_MEAN } from "../../face/default-pack/embedding-mean.ts";
import { toInputTensor } from "../../face/descriptor.ts";
import { decodeImage, resizeImage } from "../../face/image.ts";
import type { RgbImage } from "../../face/image.ts";
import { loadDefaultModelPack } from "../../face/model-pack.ts";
import type { ModelPack } from "../../face/model-pack.ts";
import { ModelSession } from "../../face/session.ts";
import { PEOPLE, readPhoto } from "../../scripts/dev/photos.ts";

/** As much of a TensorFlow.js tensor as is used here. */
interface TfTensor {
  data(): Promise<Float32Array>;
}

interface FaceApiNet {
  loadFromWeightMap(weights: unknown): void;
  forwardInput(input: unknown): TfTensor;
  /** Landmark network only: its output before the package undoes its own padding. */
  runNet(input: unknown): TfTensor;
}

/** The package's own browser build, with the TensorFlow.js that is bundled in it. */
interface FaceApi {
  readonly tf: {
    env(): { setPlatform(name: string, platform: object): void };
    setBackend(name: string): Promise<boolean>;
    tensor(data: Float32Array, shape: number[]): TfTensor;
    readonly io: { decodeWeights(bytes: ArrayBuffer, entries: unknown[]): unknown };
  };
  readonly env: { setEnv(environment: object): void };
  toNetInput(input: TfTensor): Promise<unknown>;
  readonly FaceRecognitionNet: new () => FaceApiNet;
  readonly FaceLandmark68Net: new () => FaceApiNet;
  readonly SsdMobilenetv1: new () => Omit<FaceApiNet, "forwardInput"> & {
    forwardInput(input: unknown): { boxes: TfTensor[]; scores: TfTensor[] };
  };
}

const PACKAGE = dirname(createRequire(import.meta.url).resolve("@vladmandic/face-api/package.json"));
let cache = "";
let pack: ModelPack;
let faceApi: FaceApi;

before(async () => {
  cache = await mkdtemp(join(tmpdir(), "veilface-conversion-"));
  process.env["VEILFACE_CACHE"] = cache;
  pack = await loadDefaultModelPack();
  faceApi = await openFaceApi();
});

after(async () => {
  delete process.env["VEILFACE_CACHE"];
  await rm(cache, { recursive: true, force: true });
});

/** Runs the browser build: it must see no `process`, or it looks for a TensorFlow that is not installed. */
async function openFaceApi(): Promise<FaceApi> {
  const code = await readFile(join(PACKAGE, "dist", "face-api.js"), "utf8");
  const api = (compileFunction(`${code};return faceapi;`, ["process"]) as (process: undefined) => FaceApi)(undefined);
  api.tf.env().setPlatform("plain", {
    isTypedArray: (value: unknown) => ArrayBuffer.isView(value),
    now: () => performance.now(),
    encode: (text: string) => new TextEncoder().encode(text),
    decode: (bytes: Uint8Array) => new TextDecoder().decode(bytes),
  });
  // The package asks whether its input is one of these browser classes; any class that a tensor is not will do.
  api.env.setEnv({ Canvas: URL, Image: URL, ImageData: URL, Video: URL });
  await api.tf.setBackend("cpu");
  return api;
}

async function load<T extends { loadFromWeightMap(weights: unknown): void }>(net: T, base: string): Promise<T> {
  const manifest = JSON.parse(await readFile(join(PACKAGE, "model", `${base}-weights_manifest.json`), "utf8")) as {
    weights: unknown[];
  }[];
  const bytes = await readFile(join(PACKAGE, "model", `${base}.bin`));
  net.loadFromWeightMap(
    faceApi.tf.io.decodeWeights(
      Uint8Array.from(bytes).buffer,
      manifest.flatMap((group) => group.weights),
    ),
  );
  return net;
}

async function portrait(name: string, side: number): Promise<RgbImage> {
  return resizeImage(await decodeImage(await readPhoto(name)), side, side);
}

async function netInput({ width, height, data }: RgbImage): Promise<unknown> {
  return faceApi.toNetInput(faceApi.tf.tensor(Float32Array.from(data), [1, height, width, 3]));
}

function assertAgrees(what: string, actual: Float32Array, expected: Float32Array, tolerance: number): void {
  assert.equal(actual.length, expected.length);
  const worst = actual.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0);
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  console.log(
    `${what}: largest difference ${worst.toExponential(1)} over ${expected.length} values of up to ${largest.toFixed(2)}`,
  );
  assert.ok(largest > 0.1 && worst < tolerance);
}

test("the ONNX descriptor agrees with the package's own network to 2e-6", async () => {
  const net = await load(new faceApi.FaceRecognitionNet(), "face_recognition_model");
  await using session = await ModelSession.open(pack.descriptorPath);
  for (const name of [PEOPLE.obama[0], PEOPLE.queen[0]]) {
    const chip = await portrait(name, 150);
    const [actual] = await session.run(
      toInputTensor(chip, pack.card.descriptor.input),
      [1, 3, 150, 150],
      ["descriptor"],
    );
    assertAgrees("descriptor", actual, await net.forwardInput(await netInput(chip)).data(), 2e-6);
  }
});

test("the ONNX landmarks agree with the package's own network to 2e-6 of the face's side", async () => {
  const net = await load(new faceApi.FaceLandmark68Net(), "face_landmark_68_model");
  await using session = await ModelSession.open(pack.landmarksPath);
  for (const name of [PEOPLE.obama[0], PEOPLE.queen[0]]) {
    const face = await portrait(name, 112);
    const [actual] = await session.run(Float32Array.from(face.data), [1, 112, 112, 3], ["landmarks"]);
    assertAgrees("landmarks", actual, await net.runNet(await netInput(face)).data(), 2e-6);
  }
});

test("the ONNX detector agrees with the package's own network to 1e-5 in every box and score", async () => {
  const net = await load(new faceApi.SsdMobilenetv1(), "ssd_mobilenetv1_model");
  await using session = await ModelSession.open(pack.detectorPath);
  const image = await portrait(PEOPLE.cage[0], 512);
  const [boxes, scores] = await session.run(Float32Array.from(image.data), [1, 512, 512, 3], ["boxes", "scores"]);
  const expected = net.forwardInput(await netInput(image));
  assertAgrees("boxes", boxes, await expected.boxes[0]!.data(), 1e-5);
  assertAgrees("scores", scores, await expected.scores[0]!.data(), 1e-5);
});

test("the public mean is what the descriptor answers to a black chip", async () => {
  const net = await load(new faceApi.FaceRecognitionNet(), "face_recognition_model");
  const black = { width: 150, height: 150, data: new Uint8Array(150 * 150 * 3) };
  const answer = await net.forwardInput(await netInput(black)).data();
  answer.forEach((value, i) => {
    assert.ok(Math.abs(value - EMBEDDING_MEAN[i]!) < 5.1e-4);
  });
});
