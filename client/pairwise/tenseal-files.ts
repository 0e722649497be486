import { createReadStream } from "node:fs";
import { fromBase64Text } from "@veilface/fhe";
import {
  MAX_KEY_BYTES,
  TenSEALContextProto,
  describeTenseal,
  isWholeSealObject,
  recognizeTenseal,
} from "@veilface/proto";
import type { TensealMessage } from "@veilface/proto";
import { ClientError } from "../errors.ts";
import { readInput, systemErrorText } from "../input-file.ts";
import { readSealParameters } from "./seal-parameters.ts";
import { guardSecretKey } from "./secret-key-guard.ts";
import { CKKS_VECTOR_ADVICE, CONTEXT_EXPECTED, KEYS_ADVICE, TRIM_ADVICE, VECTOR_EXPECTED } from "./tenseal-advice.ts";
import { tensealInvalid as invalid } from "./tenseal-refusal.ts";

/** The bytes of a file of TenSEAL's, and whether it held them as base64 text. */
export interface TensealFile {
  /** Raw, at most 64 MiB. */
  readonly bytes: Uint8Array;
  /** Whether the file had them as base64 text. */
  readonly base64: boolean;
}

/** An encrypted vector. */
interface TensealVector {
  /** CKKSVectorProto. */
  readonly bytes: Uint8Array;
  /** Components, >= 1. */
  readonly dimension: number;
  /** Its one SEAL Ciphertext. */
  readonly ciphertext: Uint8Array;
  /** What TenSEAL takes for its scale. */
  readonly scale: number;
}

// As base64 text with line breaks, of which MIME has two characters in 76.
const MAX_FILE_BYTES = Math.ceil((MAX_KEY_BYTES * 4 * 78) / (3 * 76)) + 4;

/**
 * Reads a file, raw or base64 text. Throws ClientError USAGE where it cannot be read, TENSEAL_INVALID where it is
 * larger than 64 MiB.
 */
export async function readTensealFile(path: string): Promise<TensealFile> {
  try {
    const bytes = await readInput(path, { maxBytes: MAX_FILE_BYTES, tooLarge: (size) => tooLarge(path, size) });
    return decodeTensealBytes(bytes, path);
  } catch (cause) {
    if (cause instanceof ClientError) throw cause;
    throw unreadable(path, cause);
  }
}

function unreadable(path: string, cause: unknown): ClientError {
  return new ClientError("USAGE", `${path} cannot be read: ${systemErrorText(cause)}`, { cause });
}

/** A file of any size as a stream. Throws ClientError USAGE where it cannot be read. */
export async function* streamTensealFile(path: string): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    // Node declares no type of a stream's chunks; without an encoding they are buffers.
    yield* createReadStream(path) as AsyncIterable<Buffer>;
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

/** A context that comes as a stream. Throws ClientError TENSEAL_INVALID above 64 MiB. */
export async function collectContext(source: AsyncIterable<Uint8Array>, name: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of source) {
    bytes += chunk.length;
    if (bytes > MAX_FILE_BYTES) throw tooLarge(name, `more than ${MAX_FILE_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/**
 * Undoes base64 where bytes are text of it, with or without line breaks. What TenSEAL writes is never such text by
 * itself.
 */
export function decodeTensealBytes(bytes: Uint8Array, name = "the data"): TensealFile {
  const decoded = fromBase64Text(bytes);
  const raw = decoded ?? bytes;
  if (raw.length > MAX_KEY_BYTES) throw tooLarge(name, `${raw.length} bytes`);
  return { bytes: raw, base64: decoded !== undefined };
}

/**
 * What is sent of a public TenSEAL context: a TenSEALContextProto without the public key, with which the server could
 * encrypt distances of its choice. `name`: of the file, for messages. Throws ClientError SECRET_KEY_REFUSED for a
 * context with its secret key, TENSEAL_INVALID for anything else than a public CKKS context with relinearization and
 * Galois keys.
 */
export function publicTensealContext(data: Uint8Array, name = "the data"): Uint8Array {
  const found = recognize(decodeTensealBytes(data, name).bytes, name);
  if (found.kind !== "context") throw invalid(name, `is ${describeTenseal(found)}: ${CONTEXT_EXPECTED}`);
  const { encryptionParameters, publicContext, encryptionType } = found.message;
  if (publicContext === undefined)
    throw invalid(name, `is a TenSEAL context without its public part: ${CONTEXT_EXPECTED}`);
  const { scale, relinKeys, galoisKeys, autoFlags } = publicContext;
  // A BFV context has no scale and no Galois keys either, and making these would not help.
  readSealParameters(encryptionParameters, name);
  if (!(scale > 0 && Number.isFinite(scale)))
    throw invalid(name, "is a TenSEAL context without a scale: set context.global_scale and serialize it again");
  if (relinKeys.length === 0) throw invalid(name, `is a TenSEAL context without relinearization keys: ${KEYS_ADVICE}`);
  if (galoisKeys.length === 0) throw invalid(name, `is a TenSEAL context without Galois keys: ${KEYS_ADVICE}`);
  requireWhole(name, { "relinearization keys": relinKeys, "Galois keys": galoisKeys });
  const sent = { publicKey: new Uint8Array(), scale, relinKeys, galoisKeys, autoFlags };
  return TenSEALContextProto.encode({
    encryptionParameters,
    publicContext: sent,
    privateContext: undefined,
    encryptionType,
  }).finish();
}

/**
 * An encrypted vector. `name`: of the file, for messages. Throws ClientError TENSEAL_INVALID for anything else than a
 * CKKS vector in one ciphertext, SECRET_KEY_REFUSED for a context with its secret key.
 */
export function tensealVector(data: Uint8Array, name = "the data"): TensealVector {
  const { bytes } = decodeTensealBytes(data, name);
  const found = recognize(bytes, name);
  if (found.kind !== "vector") throw invalid(name, `is ${describeTenseal(found)}: ${VECTOR_EXPECTED}`);
  const { sizes, ciphertexts, scale } = found.message;
  const [dimension] = sizes;
  const [ciphertext] = ciphertexts;
  if (scale === 0)
    throw invalid(
      name,
      `is a vector without a scale, as ts.bfv_vector makes it, and veilface compares CKKS vectors: ${CKKS_VECTOR_ADVICE}`,
    );
  if (ciphertexts.length !== 1 || ciphertext === undefined)
    throw invalid(
      name,
      `is a vector in ${ciphertexts.length} ciphertexts: expected one, of at most as many components as the context has slots`,
    );
  if (sizes.length !== 1 || dimension === undefined || dimension < 1 || !(scale > 0 && Number.isFinite(scale)))
    throw invalid(name, `is a vector without its size or scale: ${VECTOR_EXPECTED}`);
  requireWhole(name, { ciphertext });
  return { bytes, dimension, ciphertext, scale };
}

function recognize(bytes: Uint8Array, name: string): TensealMessage {
  guardSecretKey(name, bytes);
  return recognizeTenseal(bytes);
}

function requireWhole(name: string, objects: Readonly<Record<string, Uint8Array>>): void {
  for (const [what, bytes] of Object.entries(objects)) {
    if (!isWholeSealObject(bytes))
      throw invalid(name, `is damaged: there is no whole SEAL object for its ${what}; write it again`);
  }
}

function tooLarge(name: string, size: string): ClientError {
  return invalid(
    name,
    `has ${size}: expected at most ${MAX_KEY_BYTES} bytes, the most that a server takes for a context; ${TRIM_ADVICE}`,
  );
}
