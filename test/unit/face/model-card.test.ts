import assert from "node:assert/strict";
import { test } from "node:test";
import { FaceError } from "../../../face/errors.ts";
import { toEmbedding, toInputTensor } from "../../../face/descriptor.ts";
import { DEFAULT_CARD } from "../../../face/default-pack/card.ts";
import { parseModelCard } from "../../../face/model-card.ts";

const ARCFACE_CARD = {
  id: "my-arcface",
  version: "2",
  license: "Example terms",
  metric: "cosine",
  threshold: 0.35,
  dimension: 512,
  descriptor: {
    file: "w600k.onnx",
    input: {
      width: 112,
      height: 112,
      layout: "NCHW",
      channelOrder: "BGR",
      mean: [127.5, 127.5, 127.5],
      scale: [0.0078125, 0.0078125, 0.0078125],
    },
    alignment: [
      { landmarks: [36, 37, 38, 39, 40, 41], x: 38.2946, y: 51.6963 },
      { landmarks: [42, 43, 44, 45, 46, 47], x: 73.5318, y: 51.5014 },
      { landmarks: [30], x: 56.0252, y: 71.7366 },
      { landmarks: [48], x: 41.5493, y: 92.3655 },
      { landmarks: [54], x: 70.7299, y: 92.2041 },
    ],
  },
};

test("a card of a user's own model comes back as it was written", () => {
  assert.deepEqual(parseModelCard(JSON.stringify(ARCFACE_CARD)), ARCFACE_CARD);
});

test("the default pack's card is itself a valid card", () => {
  assert.deepEqual(parseModelCard(JSON.stringify(DEFAULT_CARD)), DEFAULT_CARD);
});

function withField(path: string, value: unknown): string {
  const card = structuredClone<Record<string, unknown>>(ARCFACE_CARD);
  const names = path.split(".");
  const parent = names.slice(0, -1).reduce((object, name) => object[name] as Record<string, unknown>, card);
  parent[names.at(-1)!] = value;
  return JSON.stringify(card);
}

const WRONG_FIELDS: readonly (readonly [path: string, value: unknown, message: RegExp])[] = [
  ["id", "My Model", /: id: expected 1 to 64 of a-z/],
  ["version", "", /: version: /],
  ["license", undefined, /: license: expected the terms/],
  ["metric", "manhattan", /: metric: expected one of "euclidean", "cosine"/],
  ["threshold", 1.5, /: threshold: expected a number from -1 to 1/],
  ["dimension", 2049, /: dimension: expected a number from 1 to 2048/],
  ["dimension", 12.5, /: dimension: expected a whole number/],
  ["embeddingMean", [0.5], /: embeddingMean: expected a list of 512 numbers, not 1/],
  ["surprise", 1, /: surprise: expected no such field/],
  ["descriptor", "w600k.onnx", /: descriptor: expected a JSON object/],
  ["descriptor.file", "../elsewhere.onnx", /: descriptor.file: expected the bare name/],
  ["descriptor.file", "/etc/passwd", /: descriptor.file: expected the bare name/],
  ["descriptor.sha256", "ABC", /: descriptor.sha256: expected 64 lowercase hex digits/],
  ["descriptor.input.width", 4, /: descriptor.input.width: /],
  ["descriptor.input.layout", "CHWN", /: descriptor.input.layout: expected one of "NCHW", "NHWC"/],
  ["descriptor.input.mean", [0, 0], /: descriptor.input.mean: expected a list of 3 numbers, not 2/],
  ["descriptor.input.scale", [1, 1, null], /: descriptor.input.scale\[2\]: expected a number/],
  ["descriptor.alignment", [{ landmarks: [30], x: 1, y: 2 }], /: descriptor.alignment: expected 2 to 68 anchors/],
  [
    "descriptor.alignment.0.landmarks",
    [68],
    /: descriptor.alignment\[0\].landmarks\[0\]: expected a number from 0 to 67/,
  ],
  ["descriptor.alignment.0.landmarks", [1.5], /: descriptor.alignment\[0\].landmarks: expected whole numbers/],
  ["detector", { kind: "yolo", file: "d.onnx" }, /: detector.kind: expected one of "ssd-mobilenet-v1"/],
];

for (const [path, value, message] of WRONG_FIELDS) {
  test(`a card whose ${path} is ${JSON.stringify(value)} is refused by name`, () => {
    assertInvalid(() => parseModelCard(withField(path, value)), message);
  });
}

function assertInvalid(work: () => unknown, message: RegExp): void {
  assert.throws(work, (error) => {
    assert.ok(error instanceof FaceError);
    assert.equal(error.reason, "MODEL_PACK_INVALID");
    assert.match(error.message, message);
    return true;
  });
}

test("a Euclidean threshold must be a distance above 0, and text that is not JSON is refused", () => {
  const euclidean = { ...ARCFACE_CARD, metric: "euclidean" };
  assert.equal(parseModelCard(JSON.stringify({ ...euclidean, threshold: 1.2 })).threshold, 1.2);
  assertInvalid(() => parseModelCard(JSON.stringify({ ...euclidean, threshold: 0 })), /a distance above 0/);
  assert.equal(parseModelCard(JSON.stringify({ ...euclidean, normBound: 1.5 })).normBound, 1.5);
  assertInvalid(() => parseModelCard(JSON.stringify({ ...euclidean, normBound: 0 })), /at least 1e-6/);
  assertInvalid(() => parseModelCard(JSON.stringify({ ...ARCFACE_CARD, normBound: 1 })), /norm 1/);
  assertInvalid(() => parseModelCard("{"), /not JSON/);
});

test("pixels are laid out in the order, and normalised with the numbers, that the card says", () => {
  const chip = { width: 2, height: 1, data: Uint8Array.of(10, 20, 30, 40, 50, 60) };
  const input = { width: 2, height: 1, mean: [1, 2, 3], scale: [1, 10, 100] };
  const values = (layout: "NCHW" | "NHWC", channelOrder: "RGB" | "BGR") => [
    ...toInputTensor(chip, { ...input, layout, channelOrder }),
  ];
  assert.deepEqual(values("NCHW", "RGB"), [9, 39, 180, 480, 2700, 5700]);
  assert.deepEqual(values("NHWC", "RGB"), [9, 180, 2700, 39, 480, 5700]);
  assert.deepEqual(values("NCHW", "BGR"), [29, 59, 180, 480, 700, 3700]);
});

test("cosine embeddings have unit length, and the public mean is taken off first", () => {
  const output = Float32Array.of(4, 5, 1);
  assert.deepEqual([...toEmbedding(output, { dimension: 3, metric: "euclidean" })], [4, 5, 1]);
  assert.deepEqual(
    [...toEmbedding(output, { dimension: 3, metric: "euclidean", embeddingMean: [1, 1, 1] })],
    [3, 4, 0],
  );
  const unit = toEmbedding(output, { dimension: 3, metric: "cosine", embeddingMean: [1, 1, 1] });
  assert.deepEqual([...unit], [Math.fround(0.6), Math.fround(0.8), 0]);
});

test("a network that answers with the wrong length, infinities or nothing but zeros does not fit its card", () => {
  const card = { dimension: 2, metric: "cosine" } as const;
  assertInvalid(() => toEmbedding(Float32Array.of(1, 2, 3), card), /gave 3 numbers, its card says 2/);
  assertInvalid(() => toEmbedding(Float32Array.of(1, Infinity), card), /not finite/);
  assertInvalid(() => toEmbedding(Float32Array.of(0, 0), card), /zeros/);
});

test("a search may be stricter than a comparison, never laxer, in either metric", () => {
  const euclidean = { ...ARCFACE_CARD, metric: "euclidean", threshold: 0.6 };
  const stricter = (card: object, identificationThreshold: unknown) => () =>
    parseModelCard(JSON.stringify({ ...card, identificationThreshold }));
  assert.equal(stricter(euclidean, 0.5)().identificationThreshold, 0.5);
  assert.equal(stricter(ARCFACE_CARD, 0.5)().identificationThreshold, 0.5);
  assertInvalid(stricter(euclidean, 0.7), /identificationThreshold.*no laxer than 0.6/);
  assertInvalid(stricter(ARCFACE_CARD, 0.3), /identificationThreshold.*no laxer than 0.35/);
  assertInvalid(stricter(euclidean, "0.5"), /identificationThreshold/);
});

test("false match rates go from the strictest threshold to the laxest, and grow", () => {
  const rates =
    (...falseMatchRates: [threshold: number, rate: number][]) =>
    () => {
      const list = falseMatchRates.map(([threshold, rate]) => ({ threshold, rate }));
      return parseModelCard(JSON.stringify({ ...ARCFACE_CARD, falseMatchRates: list })).falseMatchRates;
    };
  assert.equal(rates([0.6, 1e-6], [0.5, 1e-4])()?.length, 2);
  for (const wrong of [rates(), rates([0.6, 1e-6]), rates([0.5, 1e-4], [0.6, 1e-6]), rates([0.6, 1e-4], [0.5, 1e-6])]) {
    assertInvalid(wrong, /falseMatchRates.*growing/);
  }
  assertInvalid(rates([0.6, 0], [0.5, 1e-4]), /rate/);
  assertInvalid(rates([0.6, 1e-4], [0.5, 1.5]), /rate/);
});
