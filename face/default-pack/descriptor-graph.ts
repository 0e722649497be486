/* eslint-disable @typescript-eslint/no-non-null-assertion -- typed arrays, read inside their bounds */
import { add, convolve, relu, toOnnxFilters } from "./layers.ts";
import { OnnxGraph } from "./onnx-graph.ts";
import type { Attribute, Value } from "./onnx-graph.ts";
import type { Tensor, Weights } from "./weights.ts";

const HALVING: Record<string, Attribute> = { pads: [0, 0, 0, 0], strides: [2, 2] };
const SAME_SIZE: Record<string, Attribute> = { pads: [1, 1, 1, 1], strides: [1, 1] };

/**
 * dlib's dlib_face_recognition_resnet_model_v1 (29 convolutions), from its weights in `@vladmandic/face-api`.
 * Input "chip": [1, 3, 150, 150], (RGB pixel - MEAN_RGB) / 255. Output "descriptor": [1, 128].
 */
export function buildDescriptorGraph(weights: Weights): Uint8Array {
  const graph = new OnnxGraph("face_descriptor");
  const network = new ResidualNetwork(graph, weights);
  let x = graph.input("chip", [1, 3, 150, 150]);
  x = relu(graph, network.scaledConvolution(x, "conv32_down", HALVING));
  x = graph.node("MaxPool", [x], { kernel_shape: [3, 3], strides: [2, 2] });
  x = network.repeat(x, ["conv32_1", "conv32_2", "conv32_3"]);
  x = network.reduce(x, "conv64_down", { size: 35, channels: 32, newChannels: 64 });
  x = network.repeat(x, ["conv64_1", "conv64_2", "conv64_3"]);
  x = network.reduce(x, "conv128_down", { size: 17, channels: 64, newChannels: 128 });
  x = network.repeat(x, ["conv128_1", "conv128_2"]);
  x = network.reduce(x, "conv256_down", { size: 8, channels: 128, newChannels: 256 });
  x = network.repeat(x, ["conv256_1", "conv256_2"]);
  x = network.reduce(x, "conv256_down_out", { size: 4, channels: 256, newChannels: 256 });
  x = graph.node("Flatten", [graph.node("GlobalAveragePool", [x])], { axis: 1 });
  graph.named("descriptor", { operator: "MatMul", inputs: [x, graph.constant(weights.get("fc"))] });
  graph.output("descriptor", [1, 128]);
  return graph.encode();
}

interface Reduction {
  /** Side of the input in pixels. */
  readonly size: number;
  readonly channels: number;
  readonly newChannels: number;
}

class ResidualNetwork {
  readonly #graph: OnnxGraph;
  readonly #weights: Weights;

  constructor(graph: OnnxGraph, weights: Weights) {
    this.#graph = graph;
    this.#weights = weights;
  }

  repeat(input: Value, names: readonly string[]): Value {
    return names.reduce((x, name) => this.#residual(x, name), input);
  }

  #residual(input: Value, name: string): Value {
    const first = relu(this.#graph, this.scaledConvolution(input, `${name}/conv1`, SAME_SIZE));
    return relu(this.#graph, add(this.#graph, this.scaledConvolution(first, `${name}/conv2`, SAME_SIZE), input));
  }

  /**
   * Halves the side: the shortcut is an average pool, its missing channels zeros; the convolved half may be one pixel
   * short.
   */
  reduce(input: Value, name: string, { size, channels, newChannels }: Reduction): Value {
    const graph = this.#graph;
    const first = relu(graph, this.scaledConvolution(input, `${name}/conv1`, HALVING));
    let main = this.scaledConvolution(first, `${name}/conv2`, SAME_SIZE);
    let shortcut = graph.node("AveragePool", [input], { kernel_shape: [2, 2], strides: [2, 2] });
    const [mainSize, shortcutSize] = [Math.floor((size - 3) / 2) + 1, Math.floor(size / 2)];
    if (mainSize !== shortcutSize) main = this.#padWithZeros(main, [0, 0, 0, 0, 0, 0, 1, 1]);
    if (channels !== newChannels)
      shortcut = this.#padWithZeros(shortcut, [0, 0, 0, 0, 0, newChannels - channels, 0, 0]);
    return relu(graph, add(graph, shortcut, main));
  }

  /** `amounts`: what to add before each of the four axes, then after each. */
  #padWithZeros(input: Value, amounts: readonly number[]): Value {
    return this.#graph.node("Pad", [input, this.#graph.integers(...amounts)], { mode: "constant" });
  }

  /**
   * A convolution of dlib's, each of which is followed by a scale and shift per channel: both are folded into its
   * filters and bias.
   */
  scaledConvolution(input: Value, name: string, attributes: Record<string, Attribute>): Value {
    const filters = toOnnxFilters(this.#weights.get(`${name}/conv/filters`));
    const scale = this.#weights.get(`${name}/scale/weights`).data;
    const shift = this.#weights.get(`${name}/scale/biases`).data;
    const { shape, data } = this.#weights.get(`${name}/conv/bias`);
    const bias = { shape, data: data.map((value, channel) => value * scale[channel]! + shift[channel]!) };
    return convolve(this.#graph, input, { filters: scaleChannels(filters, scale), bias, attributes });
  }
}

function scaleChannels({ shape, data }: Tensor, scale: Float32Array): Tensor {
  const [channels = 1] = shape;
  const perChannel = data.length / channels;
  return { shape, data: data.map((value, i) => value * scale[Math.floor(i / perChannel)]!) };
}
