import { createCipheriv, createDecipheriv, createHash, randomBytes, scrypt } from "node:crypto";
import { promisify } from "node:util";
import type { ScryptOptions } from "node:crypto";
import { KEY_ID_BYTES, PARAMETER_SET_NAMES } from "@veilface/fhe";
import { ClientError } from "../errors.ts";
import type { SecretKeyMaterial } from "./key-holder.ts";

/** scrypt's cost (RFC 7914): 128 * N * r bytes of memory. */
interface ScryptCost {
  /** A power of two. */
  readonly N: number;
  readonly r: number;
  readonly p: number;
}

/** 128 MiB and about 0.4 s of one core for each guess at a passphrase. */
const DEFAULT_SCRYPT_COST: ScryptCost = { N: 2 ** 17, r: 8, p: 1 };

// Read from a file that may be hostile: at most 512 MiB, and at most 16 times the default's work.
const MAX_SCRYPT_MEMORY_BYTES = 2 ** 29;
const MAX_SCRYPT_WORK = 16 * 2 ** 20;
const MAX_HEADER_BYTES = 1024;
/** A SEAL secret key of three primes has 98,392 bytes. */
export const MAX_KEY_FILE_BYTES = 200_000;

const FORMAT = "veilface-key";
const VERSION = 1;
const SALT_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const CHECKSUM_BYTES = 32;

interface Header {
  readonly parameterSet: SecretKeyMaterial["parameterSet"];
  readonly keyId: Buffer;
  readonly cost: ScryptCost;
  readonly salt: Buffer;
  readonly nonce: Buffer;
}

const scryptAsync = promisify<string, Buffer, number, ScryptOptions, Buffer>(scrypt);

/**
 * The bytes of a key file, version 1, one after the other:
 *
 * - header: one line of JSON, at most 1024 bytes with its "\n", {"format":"veilface-key","version":1,"parameterSet",
 *   "keyId","kdf":{"name":"scrypt","N","r","p","salt"},"cipher":"AES-256-GCM","nonce"}; bytes as lowercase hexadecimal;
 * - ciphertext: the secret key as SEAL serialises it, uncompressed, under AES-256-GCM with the whole header as
 *   additional data and the 32-byte key scrypt(passphrase in UTF-8 and normal form C, salt);
 * - tag: 16 bytes;
 * - checksum: SHA-256 of everything before it, which tells a damaged file from a wrong passphrase.
 */
export async function encryptKeyFile(
  material: SecretKeyMaterial,
  passphrase: string,
  cost: ScryptCost = DEFAULT_SCRYPT_COST,
): Promise<Buffer> {
  const header: Header = {
    parameterSet: material.parameterSet,
    keyId: Buffer.from(material.keyId),
    cost,
    salt: randomBytes(SALT_BYTES),
    nonce: randomBytes(NONCE_BYTES),
  };
  const line = formatHeader(header);
  const key = await deriveKey(passphrase, header);
  const cipher = createCipheriv("aes-256-gcm", key, header.nonce).setAAD(line);
  const encrypted = Buffer.concat([line, cipher.update(material.secretKey), cipher.final(), cipher.getAuthTag()]);
  key.fill(0);
  return Buffer.concat([encrypted, checksum(encrypted)]);
}

/**
 * Opens what encryptKeyFile made. The secret key is the caller's to zero.
 * Throws ClientError KEY_FILE_INVALID for a file that is damaged or no key file; WRONG_PASSPHRASE for a whole one that
 * does not open (or whose checksum was recomputed after tampering: AES-GCM refuses both alike).
 */
export async function decryptKeyFile(file: Buffer, passphrase: string): Promise<SecretKeyMaterial> {
  const line = headerLine(file);
  const header = parseHeader(line);
  const end = file.length - CHECKSUM_BYTES;
  if (end < line.length + TAG_BYTES || !checksum(file.subarray(0, end)).equals(file.subarray(end))) {
    throw invalid("it is damaged or cut short (its checksum differs): restore it from a copy");
  }
  const key = await deriveKey(passphrase, header);
  const decipher = createDecipheriv("aes-256-gcm", key, header.nonce, { authTagLength: TAG_BYTES })
    .setAAD(line)
    .setAuthTag(file.subarray(end - TAG_BYTES, end));
  key.fill(0);
  const secretKey = decipher.update(file.subarray(line.length, end - TAG_BYTES));
  try {
    decipher.final();
  } catch (cause) {
    secretKey.fill(0);
    throw new ClientError(
      "WRONG_PASSPHRASE",
      "the passphrase does not open the key file: check it, or restore the file if it was edited",
      { cause },
    );
  }
  return { parameterSet: header.parameterSet, keyId: header.keyId, secretKey };
}

function formatHeader({ parameterSet, keyId, cost, salt, nonce }: Header): Buffer {
  const kdf = { name: "scrypt", N: cost.N, r: cost.r, p: cost.p, salt: salt.toString("hex") };
  const fields = {
    format: FORMAT,
    version: VERSION,
    parameterSet,
    keyId: keyId.toString("hex"),
    kdf,
    cipher: "AES-256-GCM",
    nonce: nonce.toString("hex"),
  };
  return Buffer.from(`${JSON.stringify(fields)}\n`);
}

function headerLine(file: Buffer): Buffer {
  const end = file.subarray(0, MAX_HEADER_BYTES).indexOf("\n");
  if (file.length > MAX_KEY_FILE_BYTES || !file.subarray(0, 12).equals(Buffer.from('{"format":"v')) || end < 0) {
    throw invalid("it does not start as a veilface key file does");
  }
  return file.subarray(0, end + 1);
}

// Only what formatHeader writes is accepted: parsed leniently, then compared with the canonical line.
function parseHeader(line: Buffer): Header {
  const fields = parseJson(line);
  const kdf = asRecord(fields["kdf"]);
  if (fields["format"] !== FORMAT || fields["version"] !== VERSION)
    throw invalid(`it is not of format ${FORMAT} version ${VERSION}: use the veilface that wrote it`);
  const header: Header = {
    parameterSet: PARAMETER_SET_NAMES.find((name) => name === fields["parameterSet"]) ?? refuse("parameterSet"),
    keyId: hexBytes(fields, "keyId", KEY_ID_BYTES),
    cost: checkCost(kdf),
    salt: hexBytes(kdf, "salt", SALT_BYTES),
    nonce: hexBytes(fields, "nonce", NONCE_BYTES),
  };
  if (!formatHeader(header).equals(line)) throw invalid("its header holds something that veilface does not write");
  return header;
}

function parseJson(line: Buffer): Record<string, unknown> {
  try {
    return asRecord(JSON.parse(line.toString("utf8")));
  } catch (cause) {
    if (cause instanceof ClientError) throw cause;
    throw invalid("its header is not JSON", cause);
  }
}

function asRecord(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null) throw invalid("its header lacks an object");
  return { ...value };
}

function hexBytes(fields: Record<string, unknown>, name: string, length: number): Buffer {
  const value = fields[name];
  if (typeof value !== "string" || !/^[0-9a-f]*$/.test(value) || value.length !== 2 * length) return refuse(name);
  return Buffer.from(value, "hex");
}

function checkCost({ N, r, p }: Record<string, unknown>): ScryptCost {
  const cost = { N: costFactor(N), r: costFactor(r), p: costFactor(p) };
  const powerOfTwo = Number.isInteger(Math.log2(cost.N)) && cost.N > 1;
  if (!powerOfTwo || memoryBytes(cost) > MAX_SCRYPT_MEMORY_BYTES || cost.N * cost.r * cost.p > MAX_SCRYPT_WORK)
    refuse("scrypt cost");
  return cost;
}

function costFactor(value: unknown): number {
  return typeof value === "number" && Number.isInteger(value) && value > 0 ? value : refuse("scrypt cost");
}

function memoryBytes({ N, r, p }: ScryptCost): number {
  return 128 * r * (N + p);
}

function deriveKey(passphrase: string, { salt, cost }: Header): Promise<Buffer> {
  // OpenSSL counts a little more than the formula; maxmem only guards, the cost was checked.
  return scryptAsync(passphrase.normalize("NFC"), salt, 32, { ...cost, maxmem: 2 * memoryBytes(cost) });
}

function checksum(bytes: Buffer): Buffer {
  return createHash("sha256").update(bytes).digest();
}

function refuse(field: string): never {
  throw invalid(`the ${field} in its header is out of range`);
}

function invalid(what: string, cause?: unknown): ClientError {
  return new ClientError("KEY_FILE_INVALID", `the key file cannot be used: ${what}`, { cause });
}
