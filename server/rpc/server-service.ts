import { readFile } from "node:fs/promises";
import { findPackageJSON } from "node:module";
import { MAX_PAIRWISE_CIPHERTEXT_BYTES } from "@veilface/fhe";
import { MAX_KEY_BYTES, MAX_MESSAGE_BYTES, PARAMETER_SETS } from "@veilface/proto";
import type { ServerInfo, ServerServiceImplementation } from "@veilface/proto";
import type { ServerConfig } from "../config.ts";

/** The rpcs of ServerService. */
export function serverService(info: ServerInfo): ServerServiceImplementation {
  return {
    async getServerInfo() {
      return Promise.resolve({ serverInfo: info });
    },
  };
}

/** What a server of that configuration says of itself. */
export async function serverInfo({ maxCalls, maxDataBytes }: ServerConfig): Promise<ServerInfo> {
  return {
    version: await ownVersion(),
    schemes: ["packed", "pairwise"],
    parameterSets: PARAMETER_SETS.names.map((name) => PARAMETER_SETS.toWire(name)),
    limits: {
      maxMessageBytes: MAX_MESSAGE_BYTES,
      maxKeyBytes: MAX_KEY_BYTES,
      maxPairwiseCiphertextBytes: MAX_PAIRWISE_CIPHERTEXT_BYTES,
      maxCalls,
      maxDataBytes: maxDataBytes ?? 0,
    },
  };
}

async function ownVersion(): Promise<string> {
  const path = findPackageJSON(import.meta.url);
  const manifest: unknown = path === undefined ? undefined : JSON.parse(await readFile(path, "utf8"));
  const isNamed = typeof manifest === "object" && manifest !== null && "version" in manifest;
  return isNamed ? String(manifest.version) : "unknown";
}
