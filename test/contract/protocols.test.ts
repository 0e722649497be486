import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { loadFileDescriptorSetFromBuffer } from "@grpc/proto-loader";
import { CallRefused, IndependentClient, contract, methodsOf } from "../support/independent-client.ts";
import { startContractServer } from "../support/contract-suite.ts";
import { ServerProcess } from "../support/server-process.ts";

interface ReflectionAnswer {
  readonly list_services_response: { readonly service: readonly { readonly name: string }[] } | null;
  readonly file_descriptor_response: { readonly file_descriptor_proto: readonly Buffer[] } | null;
}

const { client } = await startContractServer();
const SERVICES = ["veilface.v1.ContextService", "veilface.v1.GalleryService", "veilface.v1.MatchingService"];
const REFLECTION = ["v1", "v1alpha"].map((version) => `grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`);

/** The first version of the reflection protocol that a server speaks. */
async function reflect(...requests: object[]): Promise<ReflectionAnswer[]> {
  for (const rpc of REFLECTION) {
    try {
      return await client.call<ReflectionAnswer>(rpc, ...requests);
    } catch (error) {
      if (!(error instanceof CallRefused) || error.code !== 12) throw error;
    }
  }
  return assert.fail("the server speaks neither version of the reflection protocol");
}

/** A FileDescriptorSet of serialised files: each is field 1, length-delimited. */
function descriptorSetOf(files: readonly Buffer[]): Buffer {
  return Buffer.concat(files.flatMap((file) => [Buffer.from([0x0a]), varint(file.length), file]));
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; rest > 0 || bytes.length === 0; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + (rest >= 128 ? 128 : 0));
  return Buffer.from(bytes);
}

for (const service of ["", ...SERVICES]) {
  test(`the health check says that ${service === "" ? "the server" : service} is serving`, async () => {
    const [answer] = await client.call<{ status: string }>("grpc.health.v1.Health/Check", { service });
    assert.equal(answer!.status, "SERVING");
  });
}

test("the health check of a service that does not exist is NOT_FOUND", async () => {
  await assert.rejects(client.call("grpc.health.v1.Health/Check", { service: "veilface.v1.Nothing" }), (error: CallRefused) => error.code === 5);
});

test("reflection lists every service of the contract", async () => {
  const [answer] = await reflect({ list_services: "*" });
  const names = answer!.list_services_response!.service.map((service) => service.name);
  for (const service of SERVICES) assert.ok(names.includes(service), `${service} is not among ${names.join(", ")}`);
});

test("reflection gives the contract with every rpc of the published descriptor set, in the same shape", async () => {
  const files = new Map<string, Buffer>();
  const wanted = SERVICES.map((service): object => ({ file_containing_symbol: service }));
  const asked = new Set<string>();
  while (wanted.length > 0) {
    const answers = await reflect(...wanted.splice(0));
    const found = answers.flatMap((answer) => answer.file_descriptor_response!.file_descriptor_proto);
    for (const file of found) files.set(file.toString("base64"), file);
    const names = new Set(found.flatMap(dependenciesOf)).difference(asked);
    for (const name of names) wanted.push({ file_by_filename: name });
    for (const name of names) asked.add(name);
  }
  const shape = (definition: typeof contract) =>
    [...methodsOf(definition)].map(([name, method]) => [name, method.requestStream, method.responseStream, method.requestType.format]).sort();
  assert.deepEqual(shape(loadFileDescriptorSetFromBuffer(descriptorSetOf([...files.values()]))), shape(contract));
});

/** The names of .proto files that a serialised descriptor mentions. */
function dependenciesOf(file: Buffer): string[] {
  return [...file.toString("latin1").matchAll(/(?:veilface\/v1|google\/protobuf)\/[a-z_]+\.proto/g)].map(([name]) => name);
}

test("the contract says of every rpc whether it may be repeated", () => {
  const folder = fileURLToPath(new URL("../../proto/veilface/v1/", import.meta.url));
  for (const service of ["context", "gallery", "matching"]) {
    const source = readFileSync(`${folder}${service}_service.proto`, "utf8");
    assert.equal(source.match(/option idempotency_level = (NO_SIDE_EFFECTS|IDEMPOTENT);/g)?.length, source.match(/^ {2}rpc /gm)?.length);
  }
});

test("a server started with --no-reflection serves, but does not tell its contract", async () => {
  await using quiet = await ServerProcess.start(["--no-reflection"]);
  using other = new IndependentClient(quiet.address);
  for (const rpc of REFLECTION) await assert.rejects(other.call(rpc, { list_services: "*" }), (error: CallRefused) => error.code === 12);
  assert.equal((await other.call("ContextService/ListContexts", {})).length, 1);
});
