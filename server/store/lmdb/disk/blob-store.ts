import { hash } from "node:crypto";
import type { GetOptions } from "lmdb";
import { getLent, overwriteWithZeros } from "./internals.ts";
import { readU48, u48 } from "../rows/schema.ts";
import type { Table, Tables } from "../rows/schema.ts";

const DIGEST_BYTES = 32;
// Values over half a page (4096 bytes) lie on overflow pages, which stay where they are; smaller ones are copied with
// their neighbours.
export const MIN_BLOB_BYTES = 4096;

/** SHA-256 of the content, then the content. Throws RangeError below 4096 bytes. */
export function encodeBlob(content: Uint8Array): Buffer {
  if (content.length < MIN_BLOB_BYTES)
    throw new RangeError(
      `a ciphertext of ${content.length} bytes cannot be stored: expected at least ${MIN_BLOB_BYTES}`,
    );
  return Buffer.concat([digest(content), content]);
}

/**
 * Stores a blob of at least 4096 bytes inside a write transaction and returns its number, which no other blob ever has.
 */
export function putBlob({ blobs, numbers }: Tables, bytes: Uint8Array): number {
  const blob = takeNumber(numbers, "blob");
  blobs.putSync(u48(blob), Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
  return blob;
}

/** The number that {@link takeNumber} gives next. */
export function nextNumber(numbers: Table, sequence: "blob" | "gallery"): number {
  const bytes = numbers.get(Buffer.from(sequence));
  return bytes === undefined ? 1 : readU48(bytes);
}

/** The next number of a sequence, inside a write transaction. */
export function takeNumber(numbers: Table, sequence: "blob" | "gallery"): number {
  const number = nextNumber(numbers, sequence);
  numbers.putSync(Buffer.from(sequence), u48(number + 1));
  return number;
}

/**
 * The content, valid until the next read through the same handle; undefined if it is gone or does not have its SHA-256.
 */
export function readBlob(blobs: Table, blob: number, options?: GetOptions): Uint8Array | undefined {
  const encoded = getLent(blobs, u48(blob), options);
  if (encoded === undefined) return undefined;
  const content = encoded.subarray(DIGEST_BYTES);
  return encoded.subarray(0, DIGEST_BYTES).equals(digest(content)) ? content : undefined;
}

/**
 * Fills a committed blob that nothing names any more with zeros, in the data file itself. Durable with the next commit.
 * Returns its length.
 */
export function eraseBlob(blobs: Table, blob: number): number {
  const key = u48(blob);
  const length = getLent(blobs, key)?.length;
  if (length === undefined) return 0;
  overwriteWithZeros(blobs, key, length);
  if (getLent(blobs, key)?.equals(Buffer.alloc(length)) !== true)
    throw new Error("a deleted ciphertext could not be erased from the data file");
  return length;
}

export function digest(content: Uint8Array): Buffer {
  return hash("sha256", content, "buffer");
}
