import { MAX_PAIRWISE_CIPHERTEXT_BYTES, areSameCiphertext } from "@veilface/fhe";
import type { PairwiseOperation } from "@veilface/fhe";
import { CIPHERTEXT_ENCODINGS, CONTEXT_ID_PATTERN, PAIRWISE_OPERATIONS, recognizeTenseal } from "@veilface/proto";
import type {
  CKKSVectorProto,
  Ciphertext,
  CiphertextEncoding,
  Context,
  PairwiseOperation as WireOperation,
} from "@veilface/proto";
import { ClientError } from "../errors.ts";
import { checkWireCiphertext, invalidReply, toWireCiphertext } from "../remote/wire.ts";
import type { ServedContext } from "./prime-dropping.ts";
import { guardSecretKey } from "./secret-key-guard.ts";
import { tensealVector } from "./tenseal-files.ts";

/**
 * How a ciphertext is laid out: TenSEAL's CKKSVectorProto, or SEAL's own serialisation. Names of
 * veilface.v1.CiphertextEncoding without the prefix.
 */
export type PairwiseEncoding = "TENSEAL_CKKS_VECTOR" | "SEAL";

/** A CKKS ciphertext: a vector in its first slots, or a distance in slot 0. */
export interface PairwiseCiphertext {
  /** How `bytes` are laid out. */
  readonly encoding: PairwiseEncoding;
  /** At most 1,900,000, once primes are dropped that its context has not either; TenSEAL's may be base64 text. */
  readonly bytes: Uint8Array;
  /** What messages call it, such as the name of its file. */
  readonly name?: string;
}

/** A context of the pairwise scheme, as the server describes it. */
export interface PairwiseContext {
  /** 64 lowercase hexadecimal digits: the SHA-256 of parameters, scale and keys. The same keys have the same id. */
  readonly contextId: string;
  /** N, a power of two in [1024, 32768]: a ciphertext has N/2 slots. */
  readonly degree: number;
  /** Sizes of the primes in bits; the last is the one that SEAL reserves. */
  readonly modulusBits: readonly number[];
  /** By what fresh ciphertexts multiply components before rounding, > 0. */
  readonly scale: number;
  /** The rotations that the context has keys for, of those that the server uses, ascending. */
  readonly rotationSteps: readonly number[];
  /** The most components that a vector may have, in [1, N/2]. */
  readonly maxDimension: number;
  /** The largest absolute value of a distance; a larger one decrypts to something else. */
  readonly maxDistance: number;
  /**
   * About 19 of 20 squared distances of unit vectors with `maxDimension` components are off by less; fewer components,
   * and inner products, by less. 0 where the server does not say it.
   */
  readonly expectedError: number;
  /** When it was first created on this server, by the server's clock. */
  readonly createTime: Date;
}

/** A vector that was looked at, and may be sent. */
export interface OpenVector {
  /** How `bytes` are laid out. */
  readonly encoding: PairwiseEncoding;
  /** What is sent: of a TenSEAL vector that came as base64 text, the bytes it stands for. */
  readonly bytes: Uint8Array;
  /** SEAL's ciphertext in `bytes`; all of them for SEAL's own serialisation. */
  readonly ciphertext: Uint8Array;
  /** What TenSEAL has beside the ciphertext; undefined for SEAL's own serialisation. */
  readonly tenseal: Pick<CKKSVectorProto, "sizes" | "scale"> | undefined;
}

/** How many components a vector says it has. */
export function dimensionOf({ tenseal }: OpenVector): number | undefined {
  return tenseal?.sizes[0];
}

const VECTOR_NAME = "a vector";

const ENCODINGS: readonly PairwiseEncoding[] = ["TENSEAL_CKKS_VECTOR", "SEAL"];

/** Throws ClientError USAGE for a name that JavaScript passed and that is none. */
export function toWireEncoding(encoding: PairwiseEncoding): CiphertextEncoding {
  if (ENCODINGS.includes(encoding)) return CIPHERTEXT_ENCODINGS.toWire(encoding);
  throw unknownName("encoding", encoding, ENCODINGS);
}

/** Throws ClientError USAGE for a name that JavaScript passed and that is none. */
export function toWireOperation(operation: PairwiseOperation): WireOperation {
  const { names } = PAIRWISE_OPERATIONS;
  if (names.includes(operation)) return PAIRWISE_OPERATIONS.toWire(operation);
  throw unknownName("operation", operation, names);
}

function unknownName(what: string, name: string, known: readonly string[]): ClientError {
  return new ClientError("USAGE", `${what} "${name}" is unknown: expected ${known.join(" or ")}`);
}

/** A vector from outside. Throws ClientError TENSEAL_INVALID or SECRET_KEY_REFUSED (see tenseal-files.ts). */
export function openVector({ encoding, bytes, name = VECTOR_NAME }: PairwiseCiphertext): OpenVector {
  if (encoding === "SEAL") {
    guardSecretKey(name, bytes);
    return { encoding, bytes, ciphertext: bytes, tenseal: undefined };
  }
  const vector = tensealVector(bytes, name);
  return {
    encoding,
    bytes: vector.bytes,
    ciphertext: vector.ciphertext,
    tenseal: { sizes: [vector.dimension], scale: vector.scale },
  };
}

/** A vector as a message. Throws ClientError USAGE for more bytes than a ciphertext may have. `name`: of its file. */
export function toWireVector(contextId: string, { encoding, bytes }: OpenVector, name = VECTOR_NAME): Ciphertext {
  if (bytes.length <= MAX_PAIRWISE_CIPHERTEXT_BYTES)
    return toWireCiphertext(contextId, bytes, toWireEncoding(encoding));
  throw new ClientError(
    "USAGE",
    `${name} has ${bytes.length} bytes: expected at most ${MAX_PAIRWISE_CIPHERTEXT_BYTES}; a fresh ciphertext of a usable context has fewer`,
  );
}

/**
 * A reply's ciphertext. Throws ClientError REPLY_INVALID unless it is of our context, whole and in the encoding asked
 * for.
 */
export function fromWireDistance(
  contextId: string,
  encoding: PairwiseEncoding,
  wire: Ciphertext | undefined,
): PairwiseCiphertext {
  const { encoding: found, data } = checkWireCiphertext(contextId, wire);
  if (found !== toWireEncoding(encoding)) throw invalidReply("a ciphertext in another encoding than was asked for");
  if (encoding === "TENSEAL_CKKS_VECTOR" && recognizeTenseal(data).kind !== "vector")
    throw invalidReply("a TenSEAL vector that is none");
  return { encoding, bytes: data };
}

/** Whether two vectors are one and the same ciphertext, however each is written. */
export function areSameVectors(first: Ciphertext, second: Ciphertext): boolean {
  const [x, y] = [first, second].map(({ data }) => {
    const found = recognizeTenseal(data);
    return found.kind === "vector" ? found.message.ciphertexts[0] : data;
  });
  return x !== undefined && y !== undefined && areSameCiphertext(x, y);
}

/**
 * What vectors have to know of their context. Throws ClientError USAGE for one of the packed scheme, REPLY_INVALID for
 * an incomplete one.
 */
export function toServedContext(wire: Context | undefined): ServedContext {
  const context = fromWireContext(wire);
  if (context === undefined || wire?.scheme?.$case !== "pairwise") {
    throw new ClientError(
      "USAGE",
      `context ${wire?.contextId ?? ""} is of the packed scheme: expected one of the pairwise scheme`,
    );
  }
  const { contextId, degree, modulusBits } = context;
  return {
    contextId,
    degree,
    dataPrimes: modulusBits.length - 1,
    encryptionParameters: wire.scheme.value.encryptionParameters,
  };
}

/**
 * A context of the pairwise scheme; undefined for one of the packed scheme. Throws ClientError REPLY_INVALID for one
 * that lacks a field or has one out of range.
 */
export function fromWireContext(wire: Context | undefined): PairwiseContext | undefined {
  if (wire?.scheme === undefined || wire.createTime === undefined) throw invalidReply("an incomplete context");
  if (wire.scheme.$case !== "pairwise") return undefined;
  const { contextId, createTime } = wire;
  const {
    polyModulusDegree: degree,
    coeffModulusBits: modulusBits,
    scale,
    rotationSteps,
    maxDimension,
    maxDistance,
    expectedError,
  } = wire.scheme.value;
  const inRange =
    CONTEXT_ID_PATTERN.test(contextId) &&
    degree >= 1 &&
    scale > 0 &&
    maxDimension >= 1 &&
    maxDimension <= degree / 2 &&
    maxDistance > 0 &&
    expectedError >= 0;
  if (!inRange) throw invalidReply("a context with a field out of range");
  return { contextId, degree, modulusBits, scale, rotationSteps, maxDimension, maxDistance, expectedError, createTime };
}
