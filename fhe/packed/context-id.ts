import { createHash } from "node:crypto";
import { FheError } from "../errors.ts";
import type { ParameterSetName } from "../parameter-sets.ts";

/** Bytes of a packed context's key id. */
export const KEY_ID_BYTES = 32;

/**
 * The id of a packed context: SHA-256, as 64 lowercase hexadecimal digits, over the ASCII text
 * "veilface.v1 packed <PARAMETER SET> <KEY ID IN HEX>\n". Throws FheError PARAMETERS_INVALID unless the key id has 32
 * bytes.
 */
export function packedContextId(parameterSet: ParameterSetName, keyId: Uint8Array): string {
  if (keyId.length !== KEY_ID_BYTES) {
    throw new FheError("PARAMETERS_INVALID", `key id has ${keyId.length} bytes: expected ${KEY_ID_BYTES} random bytes`);
  }
  return createHash("sha256")
    .update(`veilface.v1 packed ${parameterSet} ${Buffer.from(keyId).toString("hex")}\n`)
    .digest("hex");
}
