import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { REFLECTION_VERSIONS, standardServicesDescriptorSet } from "@veilface/proto";
import type { Server } from "nice-grpc";
import { ServerReflection, ServerReflectionService } from "nice-grpc-server-reflection";
import { decoder } from "./readable-requests.ts";

/**
 * Adds reflection in both versions of its protocol, over the contract, the health check and itself. `services`: the
 * other full names.
 */
export async function addReflection(server: Server, services: readonly string[]): Promise<void> {
  const own = REFLECTION_VERSIONS.map((version) => `grpc.reflection.${version}.ServerReflection`);
  const contract = await readFile(fileURLToPath(import.meta.resolve("@veilface/proto/descriptor-set")));
  // Two serialized messages one after the other are one with the repeated fields of both.
  const descriptors = Buffer.concat([contract, standardServicesDescriptorSet()]);
  const implementation = ServerReflection(descriptors, [...services, ...own]);
  for (const service of own) server.add(definitionOf(service), implementation);
}

// The versions differ by their package's name only, which is in the path and nowhere in the messages.
function definitionOf(service: string): typeof ServerReflectionService {
  const { serverReflectionInfo: method } = ServerReflectionService;
  const path = `/${service}/ServerReflectionInfo`;
  const requestDeserialize = decoder(path.slice(1), method.requestDeserialize);
  // In the place of a request that cannot be decoded comes an UnreadableRequest, which the wall refuses.
  return { serverReflectionInfo: { ...method, path, requestDeserialize } as typeof method };
}
