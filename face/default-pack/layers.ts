/* eslint-disable @typescript-eslint/no-non-null-assertion -- typed arrays, read inside their bounds */
import type { Attribute, OnnxGraph, Value } from "./onnx-graph.ts";
import type { Tensor } from "./weights.ts";

/** The mean colour (red, green, blue) that face-api's landmark and dlib's descriptor network subtract from a pixel. */
export const MEAN_RGB = [122.782, 117.001, 104.298] as const;

/** TensorFlow's "same" padding: the output has ceil(input / stride) pixels, the odd one is added at the end. */
export const SAME_PADDING: Record<string, Attribute> = { auto_pad: "SAME_UPPER" };

/**
 * TensorFlow orders filters height, width, input, output; ONNX output, input, height, width. Filters of other shapes
 * make another network, which its SHA-256 gives away.
 */
export function toOnnxFilters({ shape, data }: Tensor): Tensor {
  const [height = 1, width = 1, inputs = 1, outputs = 1] = shape;
  const reordered = new Float32Array(data.length);
  const area = height * width;
  for (let at = 0; at < area; at++) {
    for (let i = 0; i < inputs; i++) {
      for (let o = 0; o < outputs; o++)
        reordered[(o * inputs + i) * area + at] = data[(at * inputs + i) * outputs + o]!;
    }
  }
  return { shape: [outputs, inputs, height, width], data: reordered };
}

/**
 * Depthwise filters: TensorFlow height, width, channel, 1; ONNX channel, 1, height, width, with one group per channel.
 */
function toOnnxDepthwiseFilters({ shape, data }: Tensor): Tensor {
  const [height = 1, width = 1, channels = 1, multiplier = 1] = shape;
  return toOnnxFilters({ shape: [height, width, 1, channels * multiplier], data });
}

/** What a convolution is made with. */
interface Convolution {
  /** In ONNX order. */
  readonly filters: Tensor;
  /** One number per output channel, or none. */
  readonly bias?: Tensor;
  /** Beside the size of the filters, which they have themselves. */
  readonly attributes?: Record<string, Attribute>;
}

/** What a convolution of each channel by itself is made with. */
interface DepthwiseConvolution {
  /** In TensorFlow's order. */
  readonly filters: Tensor;
  readonly stride: number;
}

/** Adds a convolution. */
export function convolve(graph: OnnxGraph, input: Value, { filters, bias, attributes = {} }: Convolution): Value {
  const inputs = [input, graph.constant(filters), ...(bias ? [graph.constant(bias)] : [])];
  return graph.node("Conv", inputs, { kernel_shape: filters.shape.slice(2), ...attributes });
}

/** Each channel by itself, "same" padding, no bias. */
export function convolveDepthwise(graph: OnnxGraph, input: Value, { filters, stride }: DepthwiseConvolution): Value {
  const reordered = toOnnxDepthwiseFilters(filters);
  const [group = 1] = reordered.shape;
  return convolve(graph, input, {
    filters: reordered,
    attributes: { ...SAME_PADDING, group, strides: [stride, stride] },
  });
}

export function relu(graph: OnnxGraph, input: Value): Value {
  return graph.node("Relu", [input]);
}

export function add(graph: OnnxGraph, a: Value, b: Value): Value {
  return graph.node("Add", [a, b]);
}

export function toChannelsFirst(graph: OnnxGraph, input: Value): Value {
  return graph.node("Transpose", [input], { perm: [0, 3, 1, 2] });
}

export function toChannelsLast(graph: OnnxGraph, input: Value): Value {
  return graph.node("Transpose", [input], { perm: [0, 2, 3, 1] });
}
