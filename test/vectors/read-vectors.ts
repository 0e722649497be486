// The test vectors as tests read them.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { PackedVector } from "../../scripts/vectors/packed-vector.ts";

/** The files with a comparison from end to end. */
export const PACKED_VECTORS = ["packed-q60-cosine.json", "packed-q30-euclidean.json"] as const;

export function readVector(name: string): unknown {
  return JSON.parse(readFileSync(join(import.meta.dirname, name), "utf8"));
}

export function readPackedVector(name: (typeof PACKED_VECTORS)[number]): PackedVector {
  return readVector(name) as PackedVector;
}

export function bytesOf({ packedResidues }: { readonly packedResidues: string }): Buffer {
  return Buffer.from(packedResidues, "base64");
}

/** The 4096 coefficients of -1, 0 and 1. */
export function secretOf({ secretKey }: PackedVector): number[] {
  return Array.from(secretKey, (sign) => "-0+".indexOf(sign) - 1);
}
