import { readFile, stat } from "node:fs/promises";
import { fromBase64Text } from "@veilface/fhe";
import { TenSEALContextProto, describeTenseal, isWholeSealObject, recogniseTenseal } from "@veilface/proto";
import type { TensealMessage } from "@veilface/proto";
import { ClientError, errorCode } from "../errors.ts";
import { guardSecretKey, secretKeyRefused } from "./secret-key-guard.ts";

/** The bytes of a file of TenSEAL's, and whether it held them as base64 text. */
export interface TensealFile {
  readonly bytes: Uint8Array;
  readonly base64: boolean;
}

/** An encrypted vector. */
export interface TensealVector {
  /** CKKSVectorProto. */
  readonly bytes: Uint8Array;
  /** Components, >= 1. */
  readonly dimension: number;
}

/** The most key material that a server takes. */
export const MAX_KEY_BYTES = 67_108_864;
// As base64 text with line breaks, of which MIME has two characters in 76.
const MAX_FILE_BYTES = Math.ceil((MAX_KEY_BYTES * 4 * 78) / (3 * 76)) + 4;

const CONTEXT_EXPECTED = "expected a public context: what context.serialize() gives after make_context_public()";
const VECTOR_EXPECTED = "expected an encrypted CKKS vector: what ts.ckks_vector(context, values).serialize() gives";

/** Reads a file, raw or base64 text. Throws ClientError USAGE where it cannot be read, TENSEAL_INVALID where it is larger than 64 MiB. */
export async function readTensealFile(path: string): Promise<TensealFile> {
  try {
    const { size } = await stat(path);
    if (size > MAX_FILE_BYTES) throw tooLarge(path, size);
    return decodeTensealBytes(await readFile(path), path);
  } catch (cause) {
    if (cause instanceof ClientError) throw cause;
    throw new ClientError("USAGE", `${path} cannot be read: ${errorCode(cause)}`, { cause });
  }
}

/** Undoes base64 where bytes are text of it, with or without line breaks. What TenSEAL writes is never such text by itself. */
export function decodeTensealBytes(bytes: Uint8Array, name = "the data"): TensealFile {
  const decoded = fromBase64Text(bytes);
  const raw = decoded ?? bytes;
  if (raw.length > MAX_KEY_BYTES) throw tooLarge(name, raw.length);
  return { bytes: raw, base64: decoded !== undefined };
}

/**
 * What is sent of a public TenSEAL context: a TenSEALContextProto without the public key, with which the server could encrypt distances
 * of its choice. `name`: of the file, for messages. Throws ClientError SECRET_KEY_REFUSED for a context with its secret key, TENSEAL_INVALID
 * for anything else than a public context with relinearization and Galois keys.
 */
export function publicTensealContext(data: Uint8Array, name = "the data"): Uint8Array {
  const found = recognise(decodeTensealBytes(data, name).bytes, name);
  if (found.kind !== "context") throw invalid(name, `is ${describeTenseal(found)}: ${CONTEXT_EXPECTED}`);
  const { encryptionParameters, publicContext, encryptionType } = found.message;
  if (publicContext === undefined) throw invalid(name, `is a TenSEAL context without its public part: ${CONTEXT_EXPECTED}`);
  const { publicKey, scale, relinKeys, galoisKeys, autoFlags } = publicContext;
  guardSecretKey(name, encryptionParameters, publicKey, relinKeys, galoisKeys);
  if (!(scale > 0 && Number.isFinite(scale))) throw invalid(name, "is a TenSEAL context without a scale: set context.global_scale and serialize it again");
  if (relinKeys.length === 0 || galoisKeys.length === 0) {
    throw invalid(name, "is a TenSEAL context without its relinearization or Galois keys: call generate_relin_keys() and generate_galois_keys() before make_context_public(), and serialize it again");
  }
  requireWhole(name, { "encryption parameters": encryptionParameters, "relinearization keys": relinKeys, "Galois keys": galoisKeys });
  const sent = { publicKey: new Uint8Array(), scale, relinKeys, galoisKeys, autoFlags };
  return TenSEALContextProto.encode({ encryptionParameters, publicContext: sent, privateContext: undefined, encryptionType }).finish();
}

/**
 * An encrypted vector. `name`: of the file, for messages. Throws ClientError TENSEAL_INVALID for anything else than a CKKS vector in one
 * ciphertext, SECRET_KEY_REFUSED for a context with its secret key.
 */
export function tensealVector(data: Uint8Array, name = "the data"): TensealVector {
  const { bytes } = decodeTensealBytes(data, name);
  const found = recognise(bytes, name);
  if (found.kind !== "vector") throw invalid(name, `is ${describeTenseal(found)}: ${VECTOR_EXPECTED}`);
  const { sizes, ciphertexts, scale } = found.message;
  const [dimension] = sizes;
  const [ciphertext] = ciphertexts;
  if (ciphertexts.length !== 1 || ciphertext === undefined) throw invalid(name, `is a vector in ${ciphertexts.length} ciphertexts: expected one, of at most as many components as the context has slots`);
  if (sizes.length !== 1 || dimension === undefined || dimension < 1 || !(scale > 0 && Number.isFinite(scale))) throw invalid(name, `is a vector without its size or scale: ${VECTOR_EXPECTED}`);
  guardSecretKey(name, ciphertext);
  requireWhole(name, { ciphertext });
  return { bytes, dimension };
}

function recognise(bytes: Uint8Array, name: string): TensealMessage {
  guardSecretKey(name, bytes);
  const found = recogniseTenseal(bytes);
  if (found.kind === "context" && found.message.privateContext !== undefined) throw secretKeyRefused(name, "call context.make_context_public() and serialize again");
  return found;
}

function requireWhole(name: string, objects: Readonly<Record<string, Uint8Array>>): void {
  for (const [what, bytes] of Object.entries(objects)) {
    if (!isWholeSealObject(bytes)) throw invalid(name, `is damaged: there is no whole SEAL object for its ${what}; write it again`);
  }
}

function tooLarge(name: string, bytes: number): ClientError {
  return invalid(name, `has ${bytes} bytes: expected at most ${MAX_KEY_BYTES}, the most that a server takes`);
}

function invalid(name: string, what: string): ClientError {
  return new ClientError("TENSEAL_INVALID", `${name} ${what}`);
}
