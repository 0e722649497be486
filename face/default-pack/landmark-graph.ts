import {
  MEAN_RGB,
  SAME_PADDING,
  add,
  convolve,
  convolveDepthwise,
  relu,
  toChannelsFirst,
  toChannelsLast,
  toOnnxFilters,
} from "./layers.ts";
import { OnnxGraph } from "./onnx-graph.ts";
import type { Value } from "./onnx-graph.ts";
import type { Weights } from "./weights.ts";

/**
 * face-api's 68-point landmark network: four densely connected blocks of depthwise separable convolutions.
 * Input "image": [1, 112, 112, 3], RGB 0..255, the face's box made square. Output "landmarks": [1, 136], x and y of
 * each point as fractions of the square.
 */
export function buildLandmarkGraph(weights: Weights): Uint8Array {
  const graph = new OnnxGraph("face_landmarks_68");
  let x = normalize(graph, graph.input("image", [1, 112, 112, 3]));
  const network = new DenseNetwork(graph, weights);
  for (const block of ["dense0", "dense1", "dense2", "dense3"]) x = network.block(x, block);
  x = graph.node("AveragePool", [x], { kernel_shape: [7, 7], strides: [2, 2] });
  x = graph.node("Flatten", [toChannelsLast(graph, x)], { axis: 1 });
  x = graph.node("MatMul", [x, graph.constant(weights.get("fc/weights"))]);
  graph.named("landmarks", { operator: "Add", inputs: [x, graph.constant(weights.get("fc/bias"))] });
  graph.output("landmarks", [1, 136]);
  return graph.encode();
}

function normalize(graph: OnnxGraph, image: Value): Value {
  const mean = graph.constant({ shape: [1, 3, 1, 1], data: Float32Array.from(MEAN_RGB) });
  return graph.node("Div", [graph.node("Sub", [toChannelsFirst(graph, image), mean]), graph.scalar(255)]);
}

class DenseNetwork {
  readonly #graph: OnnxGraph;
  readonly #weights: Weights;

  constructor(graph: OnnxGraph, weights: Weights) {
    this.#graph = graph;
    this.#weights = weights;
  }

  block(input: Value, block: string): Value {
    const graph = this.#graph;
    const separable = (x: Value, name: string, stride: number) => this.#separable(x, `${block}/${name}`, stride);
    const first = block === "dense0" ? this.#full(input, "dense0/conv0") : separable(input, "conv0", 2);
    const out1 = relu(graph, first);
    const out2 = separable(out1, "conv1", 1);
    const out3 = separable(relu(graph, add(graph, out1, out2)), "conv2", 1);
    const out4 = separable(relu(graph, add(graph, out1, add(graph, out2, out3))), "conv3", 1);
    return relu(graph, add(graph, out1, add(graph, out2, add(graph, out3, out4))));
  }

  #full(input: Value, name: string): Value {
    const filters = toOnnxFilters(this.#weights.get(`${name}/filters`));
    const bias = this.#weights.get(`${name}/bias`);
    return convolve(this.#graph, input, { filters, bias, attributes: { ...SAME_PADDING, strides: [2, 2] } });
  }

  #separable(input: Value, name: string, stride: number): Value {
    const depthwise = { filters: this.#weights.get(`${name}/depthwise_filter`), stride };
    const each = convolveDepthwise(this.#graph, input, depthwise);
    const filters = toOnnxFilters(this.#weights.get(`${name}/pointwise_filter`));
    return convolve(this.#graph, each, { filters, bias: this.#weights.get(`${name}/bias`) });
  }
}
