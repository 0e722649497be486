/* eslint-disable @typescript-eslint/no-non-null-assertion -- typed arrays, read inside their bounds */
import {
  SAME_PADDING,
  add,
  convolve,
  convolveDepthwise,
  toChannelsFirst,
  toChannelsLast,
  toOnnxFilters,
} from "./layers.ts";
import { OnnxGraph } from "./onnx-graph.ts";
import type { Value } from "./onnx-graph.ts";
import type { Tensor, Weights } from "./weights.ts";

const BATCH_NORM_EPSILON = 0.0010000000474974513;
const STRIDE_TWO_LAYERS: ReadonlySet<number> = new Set([2, 4, 6, 12]);

/**
 * face-api's SSD MobileNet v1 face detector.
 * Input "image": [1, 512, 512, 3], RGB 0..255. Outputs "boxes": [1, A, 4], top, left, bottom, right as fractions of the
 * square, and "scores": [1, A, 1], [0, 1], for A = 5118 anchors.
 */
export function buildDetectorGraph(weights: Weights): Uint8Array {
  const graph = new OnnxGraph("face_detector");
  const layers = new MobileNet(graph, weights);
  const features = layers.featureMaps(normalize(graph, graph.input("image", [1, 512, 512, 3])));
  const anchors = weights.get("Output/extra_dim");
  const count = anchors.data.length / 4;
  const encodings = features.map((map, level) => layers.predict(map, `BoxPredictor_${level}/BoxEncodingPredictor`, 4));
  const classes = features.map((map, level) => layers.predict(map, `BoxPredictor_${level}/ClassPredictor`, 3));
  decodeBoxes(graph, graph.node("Concat", encodings, { axis: 1 }), anchors);
  // Class 0 is background, class 1 is a face; the third is never used by this network.
  const ofFaces = sliceLast(graph, graph.node("Concat", classes, { axis: 1 }), { start: 1, end: 2 });
  graph.named("scores", { operator: "Sigmoid", inputs: [ofFaces] });
  graph.output("boxes", [1, count, 4]);
  graph.output("scores", [1, count, 1]);
  return graph.encode();
}

/** 0..255 to -1..1. */
function normalize(graph: OnnxGraph, image: Value): Value {
  const scaled = graph.node("Div", [toChannelsFirst(graph, image), graph.scalar(127.5)]);
  return graph.node("Sub", [scaled, graph.scalar(1)]);
}

class MobileNet {
  readonly #graph: OnnxGraph;
  readonly #weights: Weights;
  readonly #zero: Value;
  readonly #six: Value;

  constructor(graph: OnnxGraph, weights: Weights) {
    this.#graph = graph;
    this.#weights = weights;
    this.#zero = graph.scalar(0);
    this.#six = graph.scalar(6);
  }

  /**
   * The six maps that predictions are made from, finest first: layers 11 and 13 of MobileNet, then every second extra
   * layer.
   */
  featureMaps(image: Value): Value[] {
    const maps: Value[] = [];
    let x = this.#pointwise(image, "MobilenetV1/Conv2d_0_pointwise", 2);
    for (let layer = 1; layer <= 13; layer++) {
      x = this.#depthwise(x, `MobilenetV1/Conv2d_${layer}_depthwise`, STRIDE_TWO_LAYERS.has(layer) ? 2 : 1);
      x = this.#pointwise(x, `MobilenetV1/Conv2d_${layer}_pointwise`, 1);
      if (layer === 11 || layer === 13) maps.push(x);
    }
    for (let layer = 0; layer < 8; layer++) {
      const last = layer % 2 === 1;
      x = this.#pointwise(x, `Prediction/Conv2d_${layer}_pointwise`, last ? 2 : 1);
      if (last) maps.push(x);
    }
    return maps;
  }

  /** What one level of the map predicts: [1, anchors of this level, width]. */
  predict(map: Value, predictor: string, width: number): Value {
    const name = `Prediction/${predictor}`;
    const filters = toOnnxFilters(this.#weights.get(`${name}/weights`));
    const predicted = convolve(this.#graph, map, { filters, bias: this.#weights.get(`${name}/biases`) });
    return this.#graph.node("Reshape", [toChannelsLast(this.#graph, predicted), this.#graph.integers(1, -1, width)]);
  }

  #pointwise(input: Value, name: string, stride: number): Value {
    const filters = toOnnxFilters(this.#weights.get(`${name}/weights`));
    const bias = this.#weights.get(`${name}/convolution_bn_offset`);
    const attributes = { ...SAME_PADDING, strides: [stride, stride] };
    return this.#relu6(convolve(this.#graph, input, { filters, bias, attributes }));
  }

  #depthwise(input: Value, name: string, stride: number): Value {
    const filters = this.#weights.get(`${name}/depthwise_weights`);
    const convolved = convolveDepthwise(this.#graph, input, { filters, stride });
    const statistics = ["gamma", "beta", "moving_mean", "moving_variance"].map((part) =>
      this.#graph.constant(this.#weights.get(`${name}/BatchNorm/${part}`)),
    );
    const epsilon = { real: BATCH_NORM_EPSILON };
    return this.#relu6(this.#graph.node("BatchNormalization", [convolved, ...statistics], { epsilon }));
  }

  #relu6(input: Value): Value {
    return this.#graph.node("Clip", [input, this.#zero, this.#six]);
  }
}

/**
 * Boxes are predicted as shifts of their anchor's centre in tenths of its size, and as logarithms of its size in
 * fifths.
 */
function decodeBoxes(graph: OnnxGraph, encodings: Value, anchors: Tensor): void {
  const { centers, sizes } = splitAnchors(anchors);
  const [center, size] = [graph.constant(centers), graph.constant(sizes)];
  const growth = graph.node("Exp", [
    graph.node("Div", [sliceLast(graph, encodings, { start: 2, end: 4 }), graph.scalar(5)]),
  ]);
  const half = graph.node("Div", [graph.node("Mul", [growth, size]), graph.scalar(2)]);
  const tenths = graph.node("Div", [sliceLast(graph, encodings, { start: 0, end: 2 }), graph.scalar(10)]);
  const shift = graph.node("Mul", [tenths, size]);
  const middle = add(graph, shift, center);
  const corners = [graph.node("Sub", [middle, half]), add(graph, middle, half)];
  graph.named("boxes", { operator: "Concat", inputs: corners, attributes: { axis: 2 } });
}

/** Anchors come as corners (top, left, bottom, right); both results are [1, A, 2], vertical before horizontal. */
function splitAnchors({ data }: Tensor): { centers: Tensor; sizes: Tensor } {
  const shape = [1, data.length / 4, 2];
  const [centers, sizes] = [new Float32Array(data.length / 2), new Float32Array(data.length / 2)];
  for (let i = 0; i < sizes.length; i++) {
    const corner = 4 * Math.floor(i / 2) + (i % 2);
    sizes[i] = data[corner + 2]! - data[corner]!;
    centers[i] = data[corner]! + sizes[i]! / 2;
  }
  return { centers: { shape, data: centers }, sizes: { shape, data: sizes } };
}

function sliceLast(graph: OnnxGraph, input: Value, { start, end }: { start: number; end: number }): Value {
  return graph.node("Slice", [input, graph.integers(start), graph.integers(end), graph.integers(2)]);
}
