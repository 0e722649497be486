// The bytes of every message, held to golden ones by two codecs that share no code: the generated one and
// proto-loader's.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { FieldDescriptorProto_Label, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import type { DescriptorProto, FieldDescriptorProto, FileDescriptorSet } from "@bufbuild/protobuf/wkt";
import { loadFileDescriptorSetFromBuffer } from "@grpc/proto-loader";
import type { MessageTypeDefinition, PackageDefinition } from "@grpc/proto-loader";
import { generatedCodec } from "../../../scripts/vectors/wire-vectors.ts";
import type { WireVector } from "../../../scripts/vectors/wire-vectors.ts";
import { readVector } from "../../vectors/read-vectors.ts";

type Json = Readonly<Record<string, unknown>>;

const golden = readVector("wire.json") as Readonly<Record<string, readonly WireVector[]>>;
const descriptorSet = fromBinary(
  FileDescriptorSetSchema,
  readFileSync(fileURLToPath(import.meta.resolve("@veilface/proto/descriptor-set"))),
);
const OUR_PACKAGES = new Set(["veilface.v1", "tenseal"]);

/** proto-loader's codecs of a descriptor set; its messages look as the JSON mapping, but for names and timestamps. */
function load(set: FileDescriptorSet): PackageDefinition {
  const bytes = Buffer.from(toBinary(FileDescriptorSetSchema, set));
  return loadFileDescriptorSetFromBuffer(bytes, { keepCase: true, longs: String, enums: String, bytes: String });
}

function codecOf(definition: PackageDefinition, name: string): MessageTypeDefinition<Json, Json> {
  return definition[name] as unknown as MessageTypeDefinition<Json, Json>;
}

/** Fields whose JSON is not their message: a map is its entries to proto-loader, and a field mask paths. */
const MESSAGES_OF: Readonly<Record<string, (json: unknown) => unknown>> = {
  labels: (json) => Object.entries(json as Json).map(([key, value]) => ({ key, value })),
  updateMask: (json) => ({ paths: (json as string).split(",") }),
};

/** The JSON mapping with names as in the .proto, and timestamps, maps and field masks as messages. */
function asInProto(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(asInProto);
  if (typeof value === "string" && /^\d{4}-.*Z$/.test(value))
    return { seconds: String(Math.floor(Date.parse(value) / 1000)), nanos: (Date.parse(value) % 1000) * 1e6 };
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [
      name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      MESSAGES_OF[name]?.(member) ?? asInProto(member),
    ]),
  );
}

const contract = load(descriptorSet);
const messages: ReadonlyMap<string, DescriptorProto> = new Map(
  descriptorSet.file
    .filter((file) => OUR_PACKAGES.has(file.package))
    .flatMap((file) =>
      file.messageType.map((message): [string, DescriptorProto] => [`${file.package}.${message.name}`, message]),
    ),
);

for (const [name, vectors] of Object.entries(golden)) {
  test(`${name} has its golden bytes in both codecs, and reads back from them`, () => {
    const generated = generatedCodec(name);
    const independent = codecOf(contract, name);
    for (const { json, hex } of vectors) {
      const bytes = Buffer.from(hex, "hex");
      assert.equal(Buffer.from(generated.encode(generated.fromJSON(json)).finish()).toString("hex"), hex);
      assert.deepEqual(generated.decode(Uint8Array.from(bytes)), generated.fromJSON(json));
      const message = asInProto(json) as Json;
      assert.equal(independent.serialize(message).toString("hex"), hex);
      assert.deepEqual(independent.deserialize(bytes), message);
    }
  });
}

test("every message that an rpc takes or gives has golden bytes of its own, and so have TenSEAL's", () => {
  const ofRpcs = descriptorSet.file
    .flatMap(({ service }) => service)
    .flatMap(({ method }) => method.flatMap(({ inputType, outputType }) => [inputType.slice(1), outputType.slice(1)]));
  assert.ok(ofRpcs.length >= 2 * 16);
  for (const name of [...ofRpcs, "tenseal.TenSEALContextProto", "tenseal.CKKSVectorProto"])
    assert.ok(
      (golden[name]?.length ?? 0) > 0,
      `${name} has no golden bytes: add an example to scripts/vectors/wire-examples.ts`,
    );
});

/** Every field that the examples fill, as "message.field", by walking them along the descriptors. */
function filledFields(): Set<string> {
  const filled = new Set<string>();
  const visit = (name: string, value: unknown): void => {
    for (const [field, member] of Object.entries(value as Json)) {
      const descriptor = messages.get(name)!.field.find((candidate) => candidate.name === field);
      assert.ok(descriptor !== undefined, `${name} has no field ${field}`);
      filled.add(`${name}.${field}`);
      const type = descriptor.typeName.slice(1);
      if (messages.has(type)) for (const item of [member].flat()) visit(type, item);
    }
  };
  for (const [name, vectors] of Object.entries(golden)) for (const { json } of vectors) visit(name, asInProto(json));
  return filled;
}

test("every field of every message is filled in some golden message", () => {
  const all = [...messages].flatMap(([name, { field }]) => field.map((descriptor) => `${name}.${descriptor.name}`));
  assert.ok(all.length > 100);
  assert.deepEqual([...new Set(all).difference(filledFields())], [], "add them to scripts/vectors/wire-examples.ts");
});

/** The golden messages whose bytes proto-loader writes otherwise, or cannot write, by this descriptor set. */
function differing(set: FileDescriptorSet): string[] {
  const definition = load(set);
  return Object.entries(golden)
    .filter(([name, vectors]) => {
      try {
        return vectors.some(
          ({ json, hex }) =>
            codecOf(definition, name)
              .serialize(asInProto(json) as Json)
              .toString("hex") !== hex,
        );
      } catch {
        return true;
      }
    })
    .map(([name]) => name);
}

/** A copy of the descriptor set in which one field was changed. */
function withChange(
  message: string,
  field: string,
  change: (descriptor: FieldDescriptorProto, owner: DescriptorProto) => void,
): FileDescriptorSet {
  const copy = fromBinary(FileDescriptorSetSchema, toBinary(FileDescriptorSetSchema, descriptorSet));
  const owner = copy.file
    .flatMap((file) => file.messageType.map((type) => ({ type, name: `${file.package}.${type.name}` })))
    .find(({ name }) => name === message)!.type;
  change(owner.field.find(({ name }) => name === field)!, owner);
  return copy;
}

test("the unchanged descriptor set gives the golden bytes", () => {
  assert.deepEqual(differing(descriptorSet), []);
});

test("any field with another number is noticed", () => {
  const fields = [...messages].flatMap(([message, { field }]) => field.map(({ name }) => [message, name] as const));
  for (const [message, field] of fields) {
    const renumbered = withChange(message, field, (descriptor, owner) => {
      descriptor.number = 1 + Math.max(...owner.field.map(({ number }) => number));
    });
    assert.notDeepEqual(differing(renumbered), [], `${message}.${field}`);
  }
});

test("a field that became repeated, and a field that is gone, are noticed", () => {
  const repeated = withChange("veilface.v1.Placement", "slot", (descriptor) => {
    descriptor.label = FieldDescriptorProto_Label.REPEATED;
  });
  assert.notDeepEqual(differing(repeated), []);
  const gone = withChange("veilface.v1.Placement", "slot", (descriptor, owner) => {
    owner.field.splice(owner.field.indexOf(descriptor), 1);
  });
  assert.notDeepEqual(differing(gone), []);
});
