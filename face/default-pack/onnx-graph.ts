import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { Tensor } from "./weights.ts";

// Field numbers and types are those of onnx.proto (ONNX IR version 8); only what these networks need is written.
const IR_VERSION = 8;
const OPSET_VERSION = 13;
const FLOAT = 1;
const INT64 = 7;

/** A node's attribute: a whole number, a list of them, a text, or a real number (marked, since 1 could be either). */
export type Attribute = number | readonly number[] | string | { readonly real: number };

/** The name of a value that flows between nodes. */
export type Value = string;

/** An operation of ONNX on values, which has one output. */
interface GraphNode {
  readonly operator: string;
  readonly inputs: readonly Value[];
  readonly attributes?: Record<string, Attribute>;
}

/** Collects the nodes and constants of one network and writes them as an ONNX file. Equal calls give equal bytes. */
export class OnnxGraph {
  readonly #name: string;
  readonly #nodes: Uint8Array[] = [];
  readonly #constants: Uint8Array[] = [];
  readonly #inputs: Uint8Array[] = [];
  readonly #outputs: Uint8Array[] = [];
  #names = 0;

  constructor(name: string) {
    this.#name = name;
  }

  input(name: string, shape: readonly (number | string)[]): Value {
    this.#inputs.push(encodeValueInfo(name, shape));
    return name;
  }

  output(name: Value, shape: readonly (number | string)[]): void {
    this.#outputs.push(encodeValueInfo(name, shape));
  }

  constant({ shape, data }: Tensor): Value {
    return this.#addConstant(shape, FLOAT, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }

  scalar(value: number): Value {
    return this.constant({ shape: [], data: Float32Array.of(value) });
  }

  integers(...values: readonly number[]): Value {
    return this.#addConstant([values.length], INT64, new Uint8Array(BigInt64Array.from(values, BigInt).buffer));
  }

  /** Adds a node whose output's name does not matter. */
  node(operator: string, inputs: readonly Value[], attributes: Record<string, Attribute> = {}): Value {
    return this.named(this.#freshName(), { operator, inputs, attributes });
  }

  /** Adds a node whose output has a name. */
  named(output: Value, node: GraphNode): Value {
    this.#nodes.push(encodeNode(output, node));
    return output;
  }

  /** The file's bytes: a ModelProto. */
  encode(): Uint8Array {
    const graph = new BinaryWriter();
    for (const node of this.#nodes) field(graph, 1).bytes(node);
    field(graph, 2).string(this.#name);
    for (const constant of this.#constants) field(graph, 5).bytes(constant);
    for (const input of this.#inputs) field(graph, 11).bytes(input);
    for (const output of this.#outputs) field(graph, 12).bytes(output);
    const model = new BinaryWriter().tag(1, WireType.Varint).int64(IR_VERSION);
    field(model, 2).string("veilface");
    field(model, 7).bytes(graph.finish());
    field(model, 8).bytes(
      field(new BinaryWriter(), 1).string("").tag(2, WireType.Varint).int64(OPSET_VERSION).finish(),
    );
    return model.finish();
  }

  #addConstant(shape: readonly number[], type: number, raw: Uint8Array): Value {
    const name = this.#freshName();
    const tensor = new BinaryWriter();
    for (const length of shape) tensor.tag(1, WireType.Varint).int64(length);
    tensor.tag(2, WireType.Varint).int32(type);
    field(tensor, 8).string(name);
    field(tensor, 9).bytes(raw);
    this.#constants.push(tensor.finish());
    return name;
  }

  #freshName(): Value {
    return `v${this.#names++}`;
  }
}

function field(writer: BinaryWriter, number: number): BinaryWriter {
  return writer.tag(number, WireType.LengthDelimited);
}

function encodeNode(output: Value, { operator, inputs, attributes = {} }: GraphNode): Uint8Array {
  const node = new BinaryWriter();
  for (const input of inputs) field(node, 1).string(input);
  field(node, 2).string(output);
  field(node, 3).string(output);
  field(node, 4).string(operator);
  for (const [name, value] of Object.entries(attributes)) field(node, 5).bytes(encodeAttribute(name, value));
  return node.finish();
}

function encodeAttribute(name: string, value: Attribute): Uint8Array {
  const attribute = field(new BinaryWriter(), 1).string(name);
  const type = writeAttributeValue(attribute, value);
  return attribute.tag(20, WireType.Varint).int32(type).finish();
}

/** Gives the number of the type in AttributeProto.AttributeType. */
function writeAttributeValue(attribute: BinaryWriter, value: Attribute): number {
  if (typeof value === "number") {
    attribute.tag(3, WireType.Varint).int64(value);
    return 2;
  }
  if (typeof value === "string") {
    field(attribute, 4).string(value);
    return 3;
  }
  if ("real" in value) {
    attribute.tag(2, WireType.Bit32).float(value.real);
    return 1;
  }
  for (const item of value) attribute.tag(8, WireType.Varint).int64(item);
  return 7;
}

function encodeValueInfo(name: string, shape: readonly (number | string)[]): Uint8Array {
  const dimensions = new BinaryWriter();
  for (const length of shape) field(dimensions, 1).bytes(encodeDimension(length));
  const tensor = new BinaryWriter().tag(1, WireType.Varint).int32(FLOAT);
  field(tensor, 2).bytes(dimensions.finish());
  const type = field(new BinaryWriter(), 1).bytes(tensor.finish()).finish();
  return field(field(new BinaryWriter(), 1).string(name), 2).bytes(type).finish();
}

function encodeDimension(length: number | string): Uint8Array {
  const dimension = new BinaryWriter();
  if (typeof length === "string") return field(dimension, 2).string(length).finish();
  return dimension.tag(1, WireType.Varint).int64(length).finish();
}
