import { KEY_ID_BYTES, MAX_PAIRWISE_CIPHERTEXT_BYTES, PARAMETER_SET_NAMES, USUAL_ACCEPTED_ERROR } from "@veilface/fhe";
import type { CiphertextEncoding, Metric, PairwiseOperation, ParameterSetName } from "@veilface/fhe";
import * as wire from "@veilface/proto";
import { ServerError, fieldInvalid } from "../errors.ts";
import { readAll } from "./read-all.ts";
import type { PairwiseEncoding, CiphertextEnvelope } from "../compute/envelope.ts";
import type { ModelSpace } from "../store/gallery-store.ts";

const ID = /^[a-z0-9-]{1,64}$/;
const LABEL_KEY = /^[a-z0-9._-]{1,64}$/;
const MOST_LABELS = 64;
const MAX_LABEL_CHARACTERS = 256;
/** Bytes of a gallery's uid. */
export const UID_BYTES = 16;
const CONTEXT_ID = /^[0-9a-f]{64}$/;
/** The slots of the largest ring. */
export const MAX_SLOTS = 16384;
// The store numbers changes in 48 bits, and looks for what comes after a revision.
const LAST_REVISION = 2 ** 48 - 2;
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
  [wire.PairwiseOperation.PAIRWISE_OPERATION_SQUARED_DISTANCE, "SQUARED_DISTANCE"],
  [wire.PairwiseOperation.PAIRWISE_OPERATION_INNER_PRODUCT, "INNER_PRODUCT"],
]);

/** What a scheme's ciphertexts may look like. */
interface CiphertextForm<Encoding> {
  readonly encodings: readonly Encoding[];
  readonly maxBytes: number;
}

const PACKED: CiphertextForm<CiphertextEncoding> = { encodings: ["SEAL", "PACKED_RESIDUES"], maxBytes: 1 << 20 };
const PAIRWISE: CiphertextForm<PairwiseEncoding> = {
  encodings: ["SEAL", "TENSEAL_CKKS_VECTOR"],
  maxBytes: MAX_PAIRWISE_CIPHERTEXT_BYTES,
};

const PARAMETER_SETS: ReadonlyMap<wire.ParameterSet, ParameterSetName> = new Map([
  [wire.ParameterSet.PARAMETER_SET_PACKED_N4096_Q60, "PACKED_N4096_Q60"],
  [wire.ParameterSet.PARAMETER_SET_PACKED_N4096_Q30, "PACKED_N4096_Q30"],
]);

/** An id chosen by the client. */
export function resourceId(field: string, value: string): string {
  if (!ID.test(value)) throw fieldInvalid(field, 'must be 1 to 64 characters of a-z, 0-9 and "-"');
  return value;
}

/** A gallery's uid, in bytes of its own. */
export function uid(field: string, value: Uint8Array): Uint8Array {
  if (value.length !== UID_BYTES) throw fieldInvalid(field, `must have exactly ${UID_BYTES} random bytes, or none`);
  return Uint8Array.from(value);
}

/** A gallery's labels. */
export function labels(field: string, value: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const entries = Object.entries(value);
  const isFit = entries.every(([key, text]) => LABEL_KEY.test(key) && text.length <= MAX_LABEL_CHARACTERS);
  if (isFit && entries.length <= MOST_LABELS) return { ...value };
  const expected = `keys of 1 to 64 of a-z, 0-9, "-", "_" and ".", values of at most ${MAX_LABEL_CHARACTERS} characters`;
  throw fieldInvalid(field, `must be at most ${MOST_LABELS} labels, with ${expected}`);
}

/** Whether it may be a context's id. */
export function isContextId(value: string): boolean {
  return CONTEXT_ID.test(value);
}

/** A context's id. */
export function contextId(field: string, value: string): string {
  if (!isContextId(value)) throw fieldInvalid(field, "must be the 64 lowercase hexadecimal digits of a context id");
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
  if (value !== "" && !ID.test(value))
    throw fieldInvalid("page_token", "must be a token that the server gave, or empty");
  return value;
}

/** A revision; one that no gallery can reach is as good as the last that one can. */
export function revision(field: string, value: number): number {
  if (!Number.isSafeInteger(value) || value < 0)
    throw fieldInvalid(field, "must be a revision that the server gave, or 0");
  return Math.min(value, LAST_REVISION);
}

/** A page token that holds a revision. */
export function revisionToken(value: string): number {
  const token = Number(value);
  if (/^\d+$/.test(value) && token <= LAST_REVISION) return token;
  throw fieldInvalid("page_token", "must be a token that the server gave, or empty");
}

/** `mostDimension`: where a gallery is created, what its scheme allows. */
export function embeddingSpace(
  field: string,
  value: wire.EmbeddingSpace | undefined,
  mostDimension = MAX_SLOTS,
): ModelSpace {
  const space = required(field, value);
  return readAll<ModelSpace>({
    dimension: () => dimensionOf(`${field}.dimension`, space.dimension, mostDimension),
    metric: () => metricOf(`${field}.metric`, space.metric),
    normBound: () => checkedNormBound(`${field}.norm_bound`, METRICS.get(space.metric), space.normBound),
    modelId: () => resourceId(`${field}.model_id`, space.modelId),
    modelVersion: () => modelVersion(`${field}.model_version`, space.modelVersion),
  });
}

function modelVersion(field: string, value: string): string {
  if (!/^[\w.+-]{0,64}$/.test(value))
    throw fieldInvalid(field, 'must be at most 64 of letters, digits, ".", "_", "+" and "-"');
  return value;
}

function dimensionOf(field: string, value: number, most: number): number {
  if (value < 1 || value > most) throw fieldInvalid(field, `must be in [1, ${most}]`);
  return value;
}

function metricOf(field: string, value: wire.Metric): Metric {
  const metric = METRICS.get(value);
  if (metric === undefined) throw fieldInvalid(field, "must be METRIC_COSINE or METRIC_EUCLIDEAN");
  return metric;
}

function checkedNormBound(field: string, metric: Metric | undefined, value: number): number {
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
  if (operation === undefined)
    throw fieldInvalid(field, "must be PAIRWISE_OPERATION_SQUARED_DISTANCE or PAIRWISE_OPERATION_INNER_PRODUCT");
  return operation;
}

/** Refuses a space that is not the gallery's, naming the fields that differ. */
export function sameSpace(field: string, actual: ModelSpace, expected: ModelSpace): void {
  const same = (key: keyof ModelSpace, name: string) => (): void => {
    if (actual[key] === expected[key]) return;
    throw fieldInvalid(`${field}.${name}`, `is ${actual[key]}, but the gallery has ${expected[key]}`, "SPACE_MISMATCH");
  };
  readAll({
    dimension: same("dimension", "dimension"),
    metric: same("metric", "metric"),
    modelId: same("modelId", "model_id"),
    modelVersion: same("modelVersion", "model_version"),
    normBound: same("normBound", "norm_bound"),
  });
}

export function packedScheme(
  field: string,
  value: wire.PackedScheme,
): { parameterSet: ParameterSetName; keyId: Uint8Array } {
  return readAll({
    parameterSet: () => parameterSetOf(`${field}.parameter_set`, value.parameterSet),
    keyId: () => keyIdOf(`${field}.key_id`, value.keyId),
  });
}

function parameterSetOf(field: string, value: wire.ParameterSet): ParameterSetName {
  const name = PARAMETER_SETS.get(value);
  if (name !== undefined) return name;
  throw fieldInvalid(
    field,
    `must be one of ${PARAMETER_SET_NAMES.map((known) => `PARAMETER_SET_${known}`).join(", ")}`,
  );
}

function keyIdOf(field: string, value: Uint8Array): Uint8Array {
  if (value.length !== KEY_ID_BYTES) throw fieldInvalid(field, `must have exactly ${KEY_ID_BYTES} bytes`);
  return Uint8Array.from(value);
}

/**
 * Checks what a ciphertext of the packed scheme says of itself. Throws CONTEXT_MISMATCH, naming neither context's
 * content.
 */
export function ciphertext(field: string, value: wire.Ciphertext | undefined, context: string): CiphertextEnvelope {
  return checkedCiphertext(value, { field, context }, PACKED);
}

/** As {@link ciphertext}, of the pairwise scheme. */
export function pairwiseCiphertext(
  field: string,
  value: wire.Ciphertext | undefined,
  context: string,
): CiphertextEnvelope<PairwiseEncoding> {
  return checkedCiphertext(value, { field, context }, PAIRWISE);
}

function checkedCiphertext<Encoding extends string>(
  value: wire.Ciphertext | undefined,
  { field, context }: { readonly field: string; readonly context: string },
  form: CiphertextForm<Encoding>,
): CiphertextEnvelope<Encoding> {
  const { contextId: actual, encoding, data, sha256 } = required(field, value);
  const read = readAll({
    context: () => {
      sameContext(field, actual, context);
    },
    encoding: () => knownEncoding(`${field}.encoding`, encoding, form),
    data: () => {
      atMost(`${field}.data`, data, form.maxBytes);
    },
    sha256: () => {
      digest(`${field}.sha256`, sha256);
    },
  });
  return { field, encoding: read.encoding, data, sha256 };
}

function sameContext(field: string, actual: string, context: string): void {
  if (actual === context) return;
  const description = `belongs to context ${shortId(actual)}, but ${shortId(context)} is asked for: encrypt under its key`;
  throw new ServerError("CONTEXT_MISMATCH", `${field} ${description}`, {
    violations: [{ field: `${field}.context_id`, description }],
  });
}

function atMost(field: string, { length }: Uint8Array, most: number): void {
  if (length > most) throw fieldInvalid(field, `has ${length} bytes: expected at most ${most}`, "CIPHERTEXT_TOO_LARGE");
}

function digest(field: string, { length }: Uint8Array): void {
  if (length !== 32) throw fieldInvalid(field, "must have 32 bytes");
}

function knownEncoding<Encoding extends string>(
  field: string,
  value: wire.CiphertextEncoding,
  { encodings }: CiphertextForm<Encoding>,
): Encoding {
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

/** Refuses an encoding of replies that no scheme has. */
export function anyReplyEncoding(field: string, value: wire.CiphertextEncoding): void {
  const isKnown = value === wire.CiphertextEncoding.CIPHERTEXT_ENCODING_UNSPECIFIED || ENCODINGS.has(value);
  if (!isKnown) throw fieldInvalid(field, "must be a CIPHERTEXT_ENCODING of the contract, or unspecified");
}

/** The encoding of replies in the packed scheme: packed residues unless the client asks otherwise. */
export function replyEncoding(field: string, value: wire.CiphertextEncoding): CiphertextEncoding {
  return value === wire.CiphertextEncoding.CIPHERTEXT_ENCODING_UNSPECIFIED
    ? "PACKED_RESIDUES"
    : knownEncoding(field, value, PACKED);
}

/** The encoding that a client of the pairwise scheme asks replies to have; undefined for that of what it sent. */
export function pairwiseReplyEncoding(field: string, value: wire.CiphertextEncoding): PairwiseEncoding | undefined {
  return value === wire.CiphertextEncoding.CIPHERTEXT_ENCODING_UNSPECIFIED
    ? undefined
    : knownEncoding(field, value, PAIRWISE);
}
