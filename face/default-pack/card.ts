import type { ModelCard } from "../model-card.ts";
import { EMBEDDING_MEAN } from "./embedding-mean.ts";
import { MEAN_RGB } from "./layers.ts";

const CHIP_SIDE = 150;
/** dlib's margin around the box its alignment points were measured in, as a part of that box's side, on each side. */
const PADDING = 0.25;

/**
 * dlib's mean face (get_face_chip_details, 5 points): outer and inner corner of both eyes and the base of the nose, in
 * [0, 1].
 */
const MEAN_FACE = [
  { landmark: 45, x: 0.8595674595992, y: 0.2134981538014 },
  { landmark: 42, x: 0.6460604764104, y: 0.2289674387677 },
  { landmark: 36, x: 0.1205750620789, y: 0.2137274526848 },
  { landmark: 39, x: 0.3340850613712, y: 0.2290642403242 },
  { landmark: 33, x: 0.4901123135679, y: 0.6277975316475 },
];

const LICENSE =
  "Descriptor weights: dlib_face_recognition_resnet_model_v1 by Davis E. King, public domain (CC0). " +
  "Detector and landmark weights, and the 8-bit form of all three: face-api by Vincent Muehler and Vladimir Mandic, MIT License, " +
  "distributed in the npm package @vladmandic/face-api 1.7.15, whose LICENSE file holds the terms.";

/**
 * The tail of a normal distribution of mean 0.828 and deviation 0.082: the distances between 10 people in 24 photos
 * (`node --conditions=source --test test/accuracy/face-people.test.ts` measures them), every pair of people with the
 * same weight. Rough: children and relatives are more alike, and rates below 1 % are extrapolated.
 */
const FALSE_MATCH_RATES = [
  { threshold: 0.4, rate: 1e-7 },
  { threshold: 0.45, rate: 2e-6 },
  { threshold: 0.5, rate: 3e-5 },
  { threshold: 0.55, rate: 4e-4 },
  { threshold: 0.6, rate: 3e-3 },
  { threshold: 0.65, rate: 1.5e-2 },
  { threshold: 0.7, rate: 6e-2 },
];

/**
 * The default pack: published accuracy of the descriptor 99.38 % on LFW at Euclidean distance 0.6.
 * The SHA-256 values pin the exact networks, so that everyone's embeddings under this id and version can be compared.
 * The version is that of the package the weights come from, then that of the conversion.
 */
export const DEFAULT_CARD = {
  id: "dlib-resnet-128",
  version: "1.7.15-2",
  license: LICENSE,
  metric: "euclidean",
  threshold: 0.6,
  // At 0.6 one search in six among 121 templates names a stranger, at 0.5 none of 118 did, and one of 118 probes was
  // missed.
  identificationThreshold: 0.5,
  falseMatchRates: FALSE_MATCH_RATES,
  dimension: 128,
  // Once the mean is off, norms are 0.73 on average and up to 0.94 have been seen: a longer one is refused, so there is
  // room above. A larger bound would cost precision: the error of a squared distance grows with its square.
  normBound: 1.1,
  embeddingMean: EMBEDDING_MEAN,
  descriptor: {
    file: "descriptor.onnx",
    sha256: "053c56951878c0c3cdf4bb712d5877e869989dc09044ef77246ca0123512f077",
    input: {
      width: CHIP_SIDE,
      height: CHIP_SIDE,
      layout: "NCHW",
      channelOrder: "RGB",
      mean: MEAN_RGB,
      scale: [1 / 255, 1 / 255, 1 / 255],
    },
    alignment: MEAN_FACE.map(({ landmark, x, y }) => ({ landmarks: [landmark], x: toChip(x), y: toChip(y) })),
  },
  detector: {
    kind: "ssd-mobilenet-v1",
    file: "detector.onnx",
    sha256: "c83dec31c3eddddaf60d8f6bab92b2bf7692713c4cbff6dfd8b7bc5469adf64f",
  },
  landmarks: {
    kind: "face-api-68",
    file: "landmarks.onnx",
    sha256: "51d8a5c74c631859ea2dd6393f7831a83250f391cc825d9e03b6844a70fa5e1b",
  },
} as const satisfies ModelCard;

function toChip(fraction: number): number {
  return ((PADDING + fraction) / (1 + 2 * PADDING)) * CHIP_SIDE;
}
