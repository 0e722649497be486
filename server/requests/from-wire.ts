import {
  KEY_ID_BYTES,
  MAX_PACKED_CIPHERTEXT_BYTES,
  MAX_PAIRWISE_CIPHERTEXT_BYTES,
  MAX_PAIRWISE_DIMENSION,
  USUAL_ACCEPTED_ERROR,
} from "@veilface/fhe";
import type { CiphertextEncoding, Metric, PairwiseOperation, ParameterSetName } from "@veilface/fhe";
import {
  CIPHERTEXT_ENCODINGS,
  CONTEXT_ID_PATTERN,
  ID_IN_WORDS,
  ID_PATTERN,
  LABELS,
  MAX_ACCEPTED_ERROR,
  MAX_NORM_BOUND,
  METRICS,
  MIN_NORM_BOUND,
  MODEL_VERSION_PATTERN,
  PAIRWISE_OPERATIONS,
  PARAMETER_SETS,
  SHA256_BYTES,
  UID_BYTES,
} from "@veilface/proto";
import * as wire from "@veilface/proto";
import { ServerError, fieldInvalid } from "../errors.ts";
import { readAll } from "./read-all.ts";
import type { PairwiseEncoding, CiphertextEnvelope } from "../compute/envelope.ts";
import type { ModelSpace } from "../store/gallery-store.ts";

// The store numbers changes in 48 bits, and looks for what comes after a revision.
const LAST_REVISION = 2 ** 48 - 2;

/** What a scheme's ciphertexts may look like. */
interface CiphertextForm<Encoding> {
  readonly encodings: readonly Encoding[];
  readonly maxBytes: number;
}

const PACKED: CiphertextForm<CiphertextEncoding> = {
  encodings: ["SEAL", "PACKED_RESIDUES"],
  maxBytes: MAX_PACKED_CIPHERTEXT_BYTES,
};
const PAIRWISE: CiphertextForm<PairwiseEncoding> = {
  encodings: ["SEAL", "TENSEAL_CKKS_VECTOR"],
  maxBytes: MAX_PAIRWISE_CIPHERTEXT_BYTES,
};

/** An id chosen by the client. */
export function resourceId(field: string, value: string): string {
  if (!ID_PATTERN.test(value)) throw fieldInvalid(field, `must be ${ID_IN_WORDS}`);
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
  const isFit = entries.every(([key, text]) => LABELS.keyPattern.test(key) && text.length <= LABELS.maxValueCharacters);
  if (isFit && entries.length <= LABELS.most) return { ...value };
  const expected = `keys of 1 to 64 of a-z, 0-9, "-", "_" and ".", values of at most ${LABELS.maxValueCharacters} characters`;
  throw fieldInvalid(field, `must be at most ${LABELS.most} labels, with ${expected}`);
}

/** Whether it may be a context's id. */
export function isContextId(value: string): boolean {
  return CONTEXT_ID_PATTERN.test(value);
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

/** A revision; one that no gallery can reach is as good as the last that one can. */
export function revision(field: string, value: number): number {
  if (!Number.isSafeInteger(value) || value < 0)
    throw fieldInvalid(field, "must be a revision that the server gave, or 0");
  return Math.min(value, LAST_REVISION);
}

/** `mostDimension`: where a gallery is created, what its scheme allows. */
export function embeddingSpace(
  field: string,
  value: wire.EmbeddingSpace | undefined,
  mostDimension = MAX_PAIRWISE_DIMENSION,
): ModelSpace {
  const space = required(field, value);
  return readAll<ModelSpace>({
    dimension: () => dimensionOf(`${field}.dimension`, space.dimension, mostDimension),
    metric: () => metricOf(`${field}.metric`, space.metric),
    normBound: () => checkedNormBound(`${field}.norm_bound`, METRICS.fromWire(space.metric), space.normBound),
    modelId: () => resourceId(`${field}.model_id`, space.modelId),
    modelVersion: () => modelVersion(`${field}.model_version`, space.modelVersion),
  });
}

function modelVersion(field: string, value: string): string {
  if (!MODEL_VERSION_PATTERN.test(value))
    throw fieldInvalid(field, 'must be at most 64 of letters, digits, ".", "_", "+" and "-"');
  return value;
}

function dimensionOf(field: string, value: number, most: number): number {
  if (value < 1 || value > most) throw fieldInvalid(field, `must be in [1, ${most}]`);
  return value;
}

function metricOf(field: string, value: wire.Metric): Metric {
  const metric = METRICS.fromWire(value);
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
  const operation = PAIRWISE_OPERATIONS.fromWire(value);
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
  const name = PARAMETER_SETS.fromWire(value);
  if (name !== undefined) return name;
  throw fieldInvalid(
    field,
    `must be one of ${PARAMETER_SETS.names.map((known) => `PARAMETER_SET_${known}`).join(", ")}`,
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
  if (length !== SHA256_BYTES) throw fieldInvalid(field, `must have ${SHA256_BYTES} bytes`);
}

function knownEncoding<Encoding extends string>(
  field: string,
  value: wire.CiphertextEncoding,
  { encodings }: CiphertextForm<Encoding>,
): Encoding {
  const known = CIPHERTEXT_ENCODINGS.fromWire(value);
  const expected = `must be ${encodings.map((encoding) => `CIPHERTEXT_ENCODING_${encoding}`).join(" or ")}`;
  if (known === undefined) throw fieldInvalid(field, expected);
  const found = encodings.find((encoding) => encoding === known);
  if (found === undefined) throw fieldInvalid(field, `${expected} in the scheme of the context`, "SCHEME_MISMATCH");
  return found;
}

function shortId(id: string): string {
  return CONTEXT_ID_PATTERN.test(id) ? `${id.slice(0, 12)}…` : "(not a context id)";
}

/** Refuses an encoding of replies that no scheme has. */
export function anyReplyEncoding(field: string, value: wire.CiphertextEncoding): void {
  const isKnown =
    value === wire.CiphertextEncoding.CIPHERTEXT_ENCODING_UNSPECIFIED ||
    CIPHERTEXT_ENCODINGS.fromWire(value) !== undefined;
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
