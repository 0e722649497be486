// The contract as it is published, without generated code.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { loadFileDescriptorSetFromBuffer } from "@grpc/proto-loader";
import type { PackageDefinition } from "@grpc/proto-loader";

/** Field names as in the .proto, enums as strings, int64 as numbers, bytes as Buffers. */
export const CONVERSION = { keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true } as const;

export const contract: PackageDefinition = loadFileDescriptorSetFromBuffer(
  readFileSync(fileURLToPath(import.meta.resolve("@veilface/proto/descriptor-set"))),
  CONVERSION,
);
