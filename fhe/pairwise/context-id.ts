import { createHash } from "node:crypto";
import type { CheckedKeys } from "./keys.ts";
import type { PairwiseParameters } from "./parameters.ts";

/**
 * The id of a pairwise context: SHA-256, as 64 lowercase hexadecimal digits, over the ASCII text
 * "veilface.v1 pairwise <PARAMETERS> <SCALE> <RELIN KEYS> <GALOIS KEYS>\n": the scale as the 16 lowercase hexadecimal
 * digits of its double (big-endian), the others as the SHA-256 of SEAL's uncompressed bytes.
 */
export function pairwiseContextId(
  { encoded, scale }: PairwiseParameters,
  relinKeys: CheckedKeys,
  galoisKeys: CheckedKeys,
): string {
  const scaleBytes = Buffer.alloc(8);
  scaleBytes.writeDoubleBE(scale);
  const parameters = createHash("sha256").update(encoded).digest("hex");
  return createHash("sha256")
    .update(
      `veilface.v1 pairwise ${parameters} ${scaleBytes.toString("hex")} ${relinKeys.sha256} ${galoisKeys.sha256}\n`,
    )
    .digest("hex");
}
