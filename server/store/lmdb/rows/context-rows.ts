import type { PackedScheme, PairwiseScheme, StoredContext } from "../../gallery-store.ts";
import { decodeJson, encodeJson } from "./schema.ts";

/** Rows of the schema versions before the pairwise scheme lack `kind`. */
interface PackedRow {
  readonly kind?: "packed";
  readonly parameterSet: PackedScheme["parameterSet"];
  readonly keyId: string;
}
type PairwiseRow = Omit<PairwiseScheme, "parameters"> & { readonly parameters: string };
type ContextRow = (PackedRow | PairwiseRow) & { readonly createTime: string };

export function encodeContext({ scheme, createTime }: Omit<StoredContext, "contextId">): Buffer {
  const row: ContextRow = { ...schemeRow(scheme), createTime: createTime.toISOString() };
  return encodeJson(row);
}

export function decodeContext(contextId: string, bytes: Buffer): StoredContext {
  const { createTime, ...row } = decodeJson(bytes) as ContextRow;
  return { contextId, scheme: schemeOf(row), createTime: new Date(createTime) };
}

function schemeRow(scheme: StoredContext["scheme"]): PackedRow | PairwiseRow {
  if (scheme.kind === "packed")
    return { kind: "packed", parameterSet: scheme.parameterSet, keyId: Buffer.from(scheme.keyId).toString("hex") };
  return { ...scheme, parameters: Buffer.from(scheme.parameters).toString("base64") };
}

function schemeOf(row: PackedRow | PairwiseRow): StoredContext["scheme"] {
  if (row.kind === "pairwise") return { ...row, parameters: Uint8Array.from(Buffer.from(row.parameters, "base64")) };
  return { kind: "packed", parameterSet: row.parameterSet, keyId: Uint8Array.from(Buffer.from(row.keyId, "hex")) };
}
