import { PARAMETER_SET_NAMES } from "@veilface/fhe";
import type { PackedScheme, PairwiseScheme, StoredContext } from "../../gallery-store.ts";
import { JsonRow } from "./json-row.ts";
import { encodeJson } from "./schema.ts";

export function encodeContext({ scheme, createTime }: Omit<StoredContext, "contextId">): Buffer {
  return encodeJson({ ...schemeRow(scheme), createTime: createTime.toISOString() });
}

/** Throws ServerError STORED_CORRUPT. */
export function decodeContext(contextId: string, bytes: Buffer): StoredContext {
  const row = JsonRow.parse(bytes, `context ${contextId}`);
  // Rows of the schema versions before the pairwise scheme lack `kind`.
  const kind = row.has("kind") ? row.choice("kind", ["packed", "pairwise"]) : "packed";
  return {
    contextId,
    scheme: kind === "packed" ? packedIn(row) : pairwiseIn(row),
    createTime: row.time("createTime"),
  };
}

function schemeRow(scheme: StoredContext["scheme"]): object {
  if (scheme.kind === "packed")
    return { kind: "packed", parameterSet: scheme.parameterSet, keyId: Buffer.from(scheme.keyId).toString("hex") };
  return { ...scheme, parameters: Buffer.from(scheme.parameters).toString("base64") };
}

function packedIn(row: JsonRow): PackedScheme {
  const parameterSet = row.choice("parameterSet", PARAMETER_SET_NAMES);
  return { kind: "packed", parameterSet, keyId: Uint8Array.from(Buffer.from(row.text("keyId"), "hex")) };
}

function pairwiseIn(row: JsonRow): PairwiseScheme {
  return {
    kind: "pairwise",
    parameters: Uint8Array.from(Buffer.from(row.text("parameters"), "base64")),
    scale: row.number("scale"),
    degree: row.number("degree"),
    modulusBits: row.numbers("modulusBits"),
    rotationSteps: row.numbers("rotationSteps"),
    maxDimension: row.number("maxDimension"),
    maxDistance: row.number("maxDistance"),
    ...(row.has("expectedError") && { expectedError: row.number("expectedError") }),
  };
}
