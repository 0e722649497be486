import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { fromJSON, loadFileDescriptorSetFromBuffer } from "@grpc/proto-loader";
import type { PackageDefinition } from "@grpc/proto-loader";
import { IndependentClient, methodsOf } from "../support/independent/independent-client.ts";
import { contract } from "../../scripts/dev/published-contract.ts";
import type { CallRefused } from "../support/independent/independent-client.ts";
import { startContractServer } from "../support/independent/contract-suite.ts";
import { ServerProcess } from "../../scripts/dev/server-process.ts";
import { WELL_KNOWN_PROTOCOLS } from "../support/independent/well-known-protocols.ts";

interface ReflectionAnswer {
  readonly list_services_response: { readonly service: readonly { readonly name: string }[] } | null;
  readonly file_descriptor_response: { readonly file_descriptor_proto: readonly Buffer[] } | null;
}

const { client } = await startContractServer();
const SERVICES = [
  "veilface.v1.ContextService",
  "veilface.v1.GalleryService",
  "veilface.v1.MatchingService",
  "veilface.v1.ServerService",
];
const REFLECTION = ["v1", "v1alpha"].map(
  (version) => `grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`,
);

const STANDARD = [
  "grpc.health.v1.Health",
  "grpc.reflection.v1.ServerReflection",
  "grpc.reflection.v1alpha.ServerReflection",
];

/** A FileDescriptorSet of serialised files: each is field 1, length-delimited. */
function descriptorSetOf(files: readonly Buffer[]): Buffer {
  return Buffer.concat(files.flatMap((file) => [Buffer.from([0x0a]), varint(file.length), file]));
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; rest > 0 || bytes.length === 0; rest = Math.floor(rest / 128))
    bytes.push((rest % 128) + (rest >= 128 ? 128 : 0));
  return Buffer.from(bytes);
}

for (const service of ["", ...SERVICES]) {
  test(`the health check says that ${service === "" ? "the server" : service} is serving`, async () => {
    const [answer] = await client.call<{ status: string }>("grpc.health.v1.Health/Check", { service });
    assert.equal(answer!.status, "SERVING");
  });
}

test("the health check of a service that does not exist is NOT_FOUND", async () => {
  await assert.rejects(
    client.call("grpc.health.v1.Health/Check", { service: "veilface.v1.Nothing" }),
    (error: CallRefused) => error.code === 5,
  );
});

for (const rpc of REFLECTION) {
  test(`${rpc} lists every service of the contract, the health check, and reflection in both versions`, async () => {
    const [answer] = await client.call<ReflectionAnswer>(rpc, { list_services: "*" });
    const names = answer!.list_services_response!.service.map((service) => service.name);
    assert.deepEqual(names.sort(), [...SERVICES, ...STANDARD].sort());
  });

  test(`${rpc} gives the contract with every rpc of the published descriptor set, in the same shape`, async () => {
    assert.deepEqual(shapeOf(await reflected(rpc, SERVICES)), shapeOf(contract));
  });

  test(`${rpc} describes the health check and reflection as their standards do`, async () => {
    const standard = await reflected(rpc, STANDARD);
    const known = fromJSON(WELL_KNOWN_PROTOCOLS, { keepCase: true });
    const expected = [...methodsOf(known)].filter(([name]) => name.startsWith("grpc.")).map(([, method]) => method);
    assert.deepEqual([...methodsOf(standard).keys()].sort(), expected.map(({ path }) => path.slice(1)).sort());
    for (const { path, requestType, responseType } of expected) {
      const described = methodsOf(standard).get(path.slice(1))!;
      assert.deepEqual(
        fieldsOf(described.requestType).filter((field) => fieldsOf(requestType).includes(field)),
        fieldsOf(requestType),
      );
      assert.deepEqual(
        fieldsOf(described.responseType).filter((field) => fieldsOf(responseType).includes(field)),
        fieldsOf(responseType),
      );
    }
  });
}

/** What a client learns of some services by reflection alone: their files, and all that those import. */
async function reflected(rpc: string, services: readonly string[]): Promise<PackageDefinition> {
  const files = new Map<string, Buffer>();
  const wanted = services.map((service): object => ({ file_containing_symbol: service }));
  const asked = new Set<string>();
  while (wanted.length > 0) {
    const answers = await client.call<ReflectionAnswer>(rpc, ...wanted.splice(0));
    const found = answers.flatMap((answer) => answer.file_descriptor_response!.file_descriptor_proto);
    for (const file of found) files.set(file.toString("base64"), file);
    const names = new Set(found.flatMap(dependenciesOf)).difference(asked);
    for (const name of names) wanted.push({ file_by_filename: name });
    for (const name of names) asked.add(name);
  }
  return loadFileDescriptorSetFromBuffer(descriptorSetOf([...files.values()]));
}

function shapeOf(definition: PackageDefinition): unknown[] {
  return [...methodsOf(definition)]
    .map(([name, method]) => [name, method.requestStream, method.responseStream, method.requestType.format])
    .sort();
}

/** Name, number, type and label of every field of a message. */
function fieldsOf({ type }: { readonly type: object }): string[] {
  const { field } = type as { readonly field: readonly Record<string, unknown>[] };
  return field.map(({ name, number, type: kind, label }) => JSON.stringify([name, number, kind, label])).sort();
}

/** The names of .proto files that a serialised descriptor mentions. */
function dependenciesOf(file: Buffer): string[] {
  return [...file.toString("latin1").matchAll(/(?:veilface\/v1|google\/protobuf)\/[a-z_]+\.proto/g)].map(
    ([name]) => name,
  );
}

test("the contract says of every rpc whether it may be repeated", () => {
  const folder = fileURLToPath(new URL("../../proto/veilface/v1/", import.meta.url));
  for (const service of ["context", "gallery", "matching", "server"]) {
    const source = readFileSync(`${folder}${service}_service.proto`, "utf8");
    assert.equal(
      source.match(/option idempotency_level = (NO_SIDE_EFFECTS|IDEMPOTENT);/g)?.length,
      source.match(/^ {2}rpc /gm)?.length,
    );
  }
});

test("a server started with --no-reflection serves, but does not tell its contract", async () => {
  await using quiet = await ServerProcess.start(["--no-reflection"]);
  using other = new IndependentClient(quiet.address);
  for (const rpc of REFLECTION)
    await assert.rejects(other.call(rpc, { list_services: "*" }), (error: CallRefused) => error.code === 12);
  assert.equal((await other.call("ContextService/ListContexts", {})).length, 1);
});

for (const { set, served } of [
  { set: "true", served: true },
  { set: "", served: true },
  { set: "false", served: false },
]) {
  test(`VEILFACE_REFLECTION="${set}" ${served ? "serves" : "does not serve"} reflection`, async () => {
    process.env["VEILFACE_REFLECTION"] = set;
    await using other = await ServerProcess.start();
    delete process.env["VEILFACE_REFLECTION"];
    using asking = new IndependentClient(other.address);
    for (const rpc of REFLECTION) {
      const answer = asking.call(rpc, { list_services: "*" });
      if (served) assert.equal((await answer).length, 1);
      else await assert.rejects(answer, (error: CallRefused) => error.code === 12);
    }
  });
}
