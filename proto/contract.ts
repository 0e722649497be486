// The facts of veilface.v1 that both sides need and that a .proto file can only say in words. What the cryptography
// decides (ring degree, bytes of a ciphertext) is @veilface/fhe's.
import { CiphertextEncoding } from "./gen/veilface/v1/ciphertext.ts";
import { ParameterSet } from "./gen/veilface/v1/context.ts";
import { ErrorReason, errorReasonFromJSON } from "./gen/veilface/v1/error_reason.ts";
import { PairwiseOperation } from "./gen/veilface/v1/matching_service.ts";
import { Metric } from "./gen/veilface/v1/template.ts";

/** The most characters of an id. */
export const MAX_ID_CHARACTERS = 64;
/** An id that the client chooses: of a gallery, a subject, a template, a model. */
export const ID_PATTERN = /^[a-z0-9-]{1,64}$/;
/** The same for people, to be read after "expected" or "must be". */
export const ID_IN_WORDS = '1 to 64 characters of a-z, 0-9 and "-"';
/** A context's id. */
export const CONTEXT_ID_PATTERN = /^[0-9a-f]{64}$/;
/** The version of a model's weights; empty where none is known. */
export const MODEL_VERSION_PATTERN = /^[\w.+-]{0,64}$/;
/** Bytes of a gallery's uid. */
export const UID_BYTES = 16;
/** Bytes of the digest that every ciphertext and key object comes with. */
export const SHA256_BYTES = 32;

/** A gallery's labels: how many there may be, what keys are, the most characters of a value. */
export const LABELS = { most: 64, keyPattern: /^[a-z0-9._-]{1,64}$/, maxValueCharacters: 256 } as const;

/** The most components of a plain embedding in the packed scheme. */
export const MAX_PACKED_DIMENSION = 2048;
/** R, the largest Euclidean norm of vectors, is in this range. */
export const MIN_NORM_BOUND = 1e-6;
/** The other end. */
export const MAX_NORM_BOUND = 1e6;
/** The largest `accepted_error` of a pairwise context. */
export const MAX_ACCEPTED_ERROR = 1e6;
/** The most `expected_templates` of a gallery. */
export const MAX_EXPECTED_TEMPLATES = 1e9;

/** How long the pages of a list are. */
export interface PageSizes {
  /** The most that can be asked for. */
  readonly most: number;
  /** What 0 means. */
  readonly usual: number;
}

/** Of ListContexts. */
export const CONTEXT_PAGES: PageSizes = { most: 1000, usual: 100 };
/** Of ListGalleries. */
export const GALLERY_PAGES: PageSizes = { most: 1000, usual: 100 };
/** Of ListTemplates, ListSubjects and ListTemplateChanges. */
export const ROSTER_PAGES: PageSizes = { most: 10_000, usual: 1000 };
/** The most probes of one search. */
export const MAX_PROBES_PER_SEARCH = 8;
/** The most template ids of a DeleteTemplates call, the most subject ids, and the most of `max_templates`. */
export const MAX_DELETED_PER_CALL = 10_000;

/** The most bytes of one message that a server receives: what gRPC takes unless it is told otherwise. */
export const MAX_MESSAGE_BYTES = 4 * 2 ** 20;
/** Ciphertexts in a message of a stream: of two components they have 61,440 bytes at most, and it stays below 1 MiB. */
export const PIECES_PER_MESSAGE = 16;
/** The most key material of one context, in sum. */
export const MAX_KEY_BYTES = 64 * 2 ** 20;
/** The most bytes of a KeyChunk. */
export const MAX_KEY_CHUNK_BYTES = 2 ** 20;

/** The `domain` of every google.rpc.ErrorInfo. */
export const ERROR_DOMAIN = "veilface.dev";

/** An enum's values by the names that code has for them. */
export interface EnumTable<Name extends string, Value> {
  /** Every name but the unspecified value's. */
  readonly names: readonly Name[];
  /** A name's value. */
  toWire(name: Name): Value;
  /** A value's name; undefined for one that this version does not know, and for the unspecified one. */
  fromWire(value: number): Name | undefined;
}

/** How embeddings are compared. */
export const METRICS = enumTable({ cosine: Metric.METRIC_COSINE, euclidean: Metric.METRIC_EUCLIDEAN });

/** The packed scheme's parameter sets, as context ids name them. */
export const PARAMETER_SETS = enumTable({
  PACKED_N4096_Q60: ParameterSet.PARAMETER_SET_PACKED_N4096_Q60,
  PACKED_N4096_Q30: ParameterSet.PARAMETER_SET_PACKED_N4096_Q30,
});

/** How ciphertexts are laid out. */
export const CIPHERTEXT_ENCODINGS = enumTable({
  SEAL: CiphertextEncoding.CIPHERTEXT_ENCODING_SEAL,
  PACKED_RESIDUES: CiphertextEncoding.CIPHERTEXT_ENCODING_PACKED_RESIDUES,
  TENSEAL_CKKS_VECTOR: CiphertextEncoding.CIPHERTEXT_ENCODING_TENSEAL_CKKS_VECTOR,
});

/** What is computed from two vectors. */
export const PAIRWISE_OPERATIONS = enumTable({
  SQUARED_DISTANCE: PairwiseOperation.PAIRWISE_OPERATION_SQUARED_DISTANCE,
  INNER_PRODUCT: PairwiseOperation.PAIRWISE_OPERATION_INNER_PRODUCT,
});

const REASON_PREFIX = "ERROR_REASON_";

/** A reason as ErrorInfo has it, without the enum's prefix; "UNKNOWN" for one that this version does not know. */
export function errorReasonName(reason: ErrorReason): string {
  const [name] = Object.entries(ErrorReason).find(([, value]) => value === reason) ?? [];
  return name?.startsWith(REASON_PREFIX) === true ? name.slice(REASON_PREFIX.length) : "UNKNOWN";
}

/** The reason of that name. */
export function errorReasonOf(name: string): ErrorReason {
  return errorReasonFromJSON(REASON_PREFIX + name);
}

function enumTable<Table extends Readonly<Record<string, number>>>(
  table: Table,
): EnumTable<Extract<keyof Table, string>, Table[keyof Table]> {
  const names: Extract<keyof Table, string>[] = [];
  for (const name in table) names.push(name);
  return {
    names,
    toWire: (name) => table[name],
    fromWire: (value) => names.find((name) => table[name] === value),
  };
}
