import { readFile } from "node:fs/promises";
import { findPackageJSON } from "node:module";
import { MAX_PAIRWISE_CIPHERTEXT_BYTES, PARAMETER_SET_NAMES } from "@veilface/fhe";
import type { ServerInfo, ServerServiceImplementation } from "@veilface/proto";
import type { ServerConfig } from "../config.ts";
import { MAX_UPLOAD_BYTES } from "../requests/key-upload.ts";
import { PARAMETER_SETS } from "./to-wire.ts";

/** What gRPC receives unless it is told otherwise. */
const MAX_MESSAGE_BYTES = 4 * 2 ** 20;

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
    parameterSets: PARAMETER_SET_NAMES.map((name) => PARAMETER_SETS[name]),
    limits: {
      maxMessageBytes: MAX_MESSAGE_BYTES,
      maxKeyBytes: MAX_UPLOAD_BYTES,
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
