import { KEY_ID_BYTES, MAX_PAIRWISE_CIPHERTEXT_BYTES, PARAMETER_SET_NAMES, USUAL_ACCEPTED_ERROR } from "@veilface/fhe";
import type { CiphertextEncoding, Metric, PairwiseOperation, ParameterSetName } from "@veilface/fhe";
import * as wire from "@veilface/proto";
import { ServerError } from "./errors.ts";
import type { ServerErrorReason } from "./errors.ts";
import type { PairwiseEncoding, SealedBytes } from "./sealed-bytes.ts";
import type { ModelSpace } from "./store/gallery-store.ts";

const ID = /^[a-z0-9-]{1,64}$/;
const CONTEXT_ID = /^[0-9a-f]{64}$/;
// The slots of the largest ring.
const MAX_SLOTS = 16384;
const MIN_NORM_BOUND = 1e-6;
const MAX_NORM_BOUND = 1e6;
const MAX_ACCEPTED_ERROR = 1e6;

const METRICS: ReadonlyMap<wire.Metric, Metric> = new Map([
  [wire.Metric.METRIC_COSINE, "cosine"],
  [wire.Metric.METRIC_EUCLIDEAN, "euclidean"],
]);

const ENCODINGS: ReadonlyMap<wire.CiphertextEncoding, CiphertextEncoding | PairwiseEncoding> = new Map([
  [wire.CiphertextEncoding.CIPHERTEXT_ENCODING_SEAL, "SEAL"],
  [wire.CiphertextEncoding.CIPHERTEXT_ENCODING_PACKED_RESIDUES, "PACKED_RESIDUES"],
  [wire.CiphertextEncoding.CIPHERTEXT_ENCODING_TENSEAL_CKKS_VECTOR, "TENSEAL_CKKS_VECTOR"],
]);

const OPERATIONS: ReadonlyMap<wire.PairwiseOperation, PairwiseOperation> = new Map([
  [wire.PairwiseOperation.PAIRWISE_OPERATION_SQUARED_DISTANCE, "squared_distance"],
  [wire.PairwiseOperation.PAIRWISE_OPERATION_INNER_PRODUCT, "inner_product"],
]);

/** What a scheme's ciphertexts may look like. */
interface CiphertextForm<Encoding> {
  readonly encodings: readonly Encoding[];
  readonly maxBytes: number;
}

const PACKED: CiphertextForm<CiphertextEncoding> = { encodings: ["SEAL", "PACKED_RESIDUES"], maxBytes: 1 << 20 };
const PAIRWISE: CiphertextForm<PairwiseEncoding> = { encodings: ["SEAL", "TENSEAL_CKKS_VECTOR"], maxBytes: MAX_PAIRWISE_CIPHERTEXT_BYTES };

const PARAMETER_SETS: ReadonlyMap<wire.ParameterSet, ParameterSetName> = new Map([
  [wire.ParameterSet.PARAMETER_SET_PACKED_N4096_Q60, "PACKED_N4096_Q60"],
  [wire.ParameterSet.PARAMETER_SET_PACKED_N4096_Q30, "PACKED_N4096_Q30"],
]);

/** A refusal that names one field of the request. */
export function fieldInvalid(field: string, description: string, reason: ServerErrorReason = "FIELD_INVALID"): ServerError {
  return new ServerError(reason, `${field} ${description}`, { violations: [{ field, description }] });
}

/** An id chosen by the client. */
export function resourceId(field: string, value: string): string {
  if (!ID.test(value)) throw fieldInvalid(field, 'must be 1 to 64 characters of a-z, 0-9 and "-"');
  return value;
}

/** A context's id. */
export function contextId(field: string, value: string): string {
  if (!CONTEXT_ID.test(value)) throw fieldInvalid(field, "must be the 64 lowercase hexadecimal digits of a context id");
  return value;
}

/** A message that must be there. */
export function required<T>(field: string, value: T | undefined): T {
  if (value === undefined) throw fieldInvalid(field, "is required");
  return value;
}

/** A message that may only be there once. */
export function absent(field: string, value: unknown): void {
  if (value !== undefined) throw fieldInvalid(field, "belongs to the first message of the stream only");
}

/** A page size: 0 means the default. */
export function pageSize(value: number, most: number, usual: number): number {
  if (value < 0 || value > most) throw fieldInvalid("page_size", `must be in [1, ${most}], or 0 for ${usual}`);
  return value === 0 ? usual : value;
}

/** A page token that is the last id of the page before; empty for the first page. */
export function pageToken(value: string): string {
  if (value !== "" && !ID.test(value)) throw fieldInvalid("page_token", "must be a token that the server gave, or empty");
  return value;
}

/** A revision. */
export function revision(field: string, value: number): number {
  if (!Number.isSafeInteger(value) || value < 0) throw fieldInvalid(field, "must be a revision that the server gave, or 0");
  return value;
}

/** A page token that holds a revision. */
export function revisionToken(value: string): number {
  const token = Number(value);
  if (!/^\d+$/.test(value) || !Number.isSafeInteger(token)) throw fieldInvalid("page_token", "must be a token that the server gave, or empty");
  return token;
}

/** `mostDimension`: where a gallery is created, what its scheme allows. */
export function embeddingSpace(field: string, value: wire.EmbeddingSpace | undefined, mostDimension = MAX_SLOTS): ModelSpace {
  const space = required(field, value);
  const metric = METRICS.get(space.metric);
  if (space.dimension < 1 || space.dimension > mostDimension) throw fieldInvalid(`${field}.dimension`, `must be in [1, ${mostDimension}]`);
  if (metric === undefined) throw fieldInvalid(`${field}.metric`, "must be METRIC_COSINE or METRIC_EUCLIDEAN");
  const bound = checkedNormBound(`${field}.norm_bound`, metric, space.normBound);
  return { dimension: space.dimension, metric, normBound: bound, modelId: resourceId(`${field}.model_id`, space.modelId) };
}

function checkedNormBound(field: string, metric: Metric, value: number): number {
  if (metric === "cosine" && value !== 1) throw fieldInvalid(field, "must be 1 for METRIC_COSINE");
  return normBound(field, value);
}

/** The largest norm that a vector may have. */
export function normBound(field: string, value: number): number {
  if (!(value >= MIN_NORM_BOUND && value <= MAX_NORM_BOUND)) throw fieldInvalid(field, "must be in [1e-6, 1e6]");
  return value;
}

/** The largest expected error that the caller of CreateContext accepts: 0 means the usual one. */
export function pairwiseAcceptedError(field: string, value: number): number {
  if (value < 0 || value > MAX_ACCEPTED_ERROR || Number.isNaN(value)) {
    throw fieldInvalid(field, `must be in (0, 1e6], or 0 for ${USUAL_ACCEPTED_ERROR}`);
  }
  return value === 0 ? USUAL_ACCEPTED_ERROR : value;
}

export function pairwiseOperation(field: string, value: wire.PairwiseOperation): PairwiseOperation {
  const operation = OPERATIONS.get(value);
  if (operation === undefined) throw fieldInvalid(field, "must be PAIRWISE_OPERATION_SQUARED_DISTANCE or PAIRWISE_OPERATION_INNER_PRODUCT");
  return operation;
}

/** Refuses a space that is not the gallery's, naming the field that differs. */
export function sameSpace(field: string, actual: ModelSpace, expected: ModelSpace): void {
  const names = { dimension: "dimension", metric: "metric", modelId: "model_id", normBound: "norm_bound" } as const;
  for (const [key, name] of Object.entries(names) as [keyof typeof names, string][]) {
    if (actual[key] === expected[key]) continue;
    throw fieldInvalid(`${field}.${name}`, `is ${actual[key]}, but the gallery has ${expected[key]}`, "SPACE_MISMATCH");
  }
}

export function packedScheme(field: string, value: wire.PackedScheme): { parameterSet: ParameterSetName; keyId: Uint8Array } {
  const parameterSet = PARAMETER_SETS.get(value.parameterSet);
  if (parameterSet === undefined) throw fieldInvalid(`${field}.parameter_set`, `must be one of ${PARAMETER_SET_NAMES.map((name) => `PARAMETER_SET_${name}`).join(", ")}`);
  if (value.keyId.length !== KEY_ID_BYTES) throw fieldInvalid(`${field}.key_id`, `must have exactly ${KEY_ID_BYTES} bytes`);
  return { parameterSet, keyId: Uint8Array.from(value.keyId) };
}

/** How a scheme's ciphertexts are checked: {@link ciphertext} or {@link pairwiseCiphertext}. */
export type CheckCiphertext<Encoding> = (field: string, value: wire.Ciphertext | undefined, context: string) => SealedBytes<Encoding>;

/** Checks what a ciphertext of the packed scheme says of itself. Throws CONTEXT_MISMATCH, naming neither context's content. */
export function ciphertext(field: string, value: wire.Ciphertext | undefined, context: string): SealedBytes {
  return checkedCiphertext(field, value, context, PACKED);
}

/** As {@link ciphertext}, of the pairwise scheme. */
export function pairwiseCiphertext(field: string, value: wire.Ciphertext | undefined, context: string): SealedBytes<PairwiseEncoding> {
  return checkedCiphertext(field, value, context, PAIRWISE);
}

function checkedCiphertext<Encoding extends string>(field: string, value: wire.Ciphertext | undefined, context: string, form: CiphertextForm<Encoding>): SealedBytes<Encoding> {
  const { contextId: actual, encoding, data, sha256 } = required(field, value);
  if (actual !== context) {
    const description = `belongs to context ${shortId(actual)}, but ${shortId(context)} is asked for: encrypt under its key`;
    throw new ServerError("CONTEXT_MISMATCH", `${field} ${description}`, { violations: [{ field: `${field}.context_id`, description }] });
  }
  const known = knownEncoding(`${field}.encoding`, encoding, form);
  if (data.length > form.maxBytes) throw fieldInvalid(`${field}.data`, `has ${data.length} bytes: expected at most ${form.maxBytes}`, "CIPHERTEXT_TOO_LARGE");
  if (sha256.length !== 32) throw fieldInvalid(`${field}.sha256`, "must have 32 bytes");
  return { field, encoding: known, data, sha256 };
}

function knownEncoding<Encoding extends string>(field: string, value: wire.CiphertextEncoding, { encodings }: CiphertextForm<Encoding>): Encoding {
  const known = ENCODINGS.get(value);
  const expected = `must be ${encodings.map((encoding) => `CIPHERTEXT_ENCODING_${encoding}`).join(" or ")}`;
  if (known === undefined) throw fieldInvalid(field, expected);
  const found = encodings.find((encoding) => encoding === known);
  if (found === undefined) throw fieldInvalid(field, `${expected} in the scheme of the context`, "SCHEME_MISMATCH");
  return found;
}

function shortId(id: string): string {
  return CONTEXT_ID.test(id) ? `${id.slice(0, 12)}…` : "(not a context id)";
}

/** The encoding of replies in the packed scheme: packed residues unless the client asks otherwise. */
export function replyEncoding(field: string, value: wire.CiphertextEncoding): CiphertextEncoding {
  return value === wire.CiphertextEncoding.CIPHERTEXT_ENCODING_UNSPECIFIED ? "PACKED_RESIDUES" : knownEncoding(field, value, PACKED);
}

/** The encoding that a client of the pairwise scheme asks replies to have; undefined for that of what it sent. */
export function pairwiseReplyEncoding(field: string, value: wire.CiphertextEncoding): PairwiseEncoding | undefined {
  return value === wire.CiphertextEncoding.CIPHERTEXT_ENCODING_UNSPECIFIED ? undefined : knownEncoding(field, value, PAIRWISE);
}
