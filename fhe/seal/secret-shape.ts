import { PLAINTEXT_HEADER_BYTES, hasSecretKeyLayout, inflateSeal, isSealObject } from "./seal-bytes.ts";

// Where a Plaintext, and so a secret key, says how many words it has.
const PLAINTEXT_WORDS_AT = 48;
// The largest secret key that SEAL makes: 64 primes at ring degree 32768 are 16 MiB.
const MAX_SECRET_BYTES = 17 * 2 ** 20;

/**
 * Whether bytes are a SEAL object laid out as a secret key of any parameters, compressed or not. A plaintext in NTT
 * form has the same layout; nobody has a reason to upload one.
 */
export function hasSecretKeyShape(data: Uint8Array): boolean {
  if (!isSealObject(data)) return false;
  const bytes = tryInflate(data);
  const words = (bytes.length - PLAINTEXT_HEADER_BYTES) / 8;
  if (!Number.isInteger(words) || words < 1 || !hasSecretKeyLayout(bytes, words)) return false;
  return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(PLAINTEXT_WORDS_AT, true) === BigInt(words);
}

function tryInflate(data: Uint8Array): Uint8Array {
  try {
    return inflateSeal(data, {
      what: "object",
      maxBytes: MAX_SECRET_BYTES,
      malformed: "KEYS_MALFORMED",
      tooLarge: "KEYS_MALFORMED",
    });
  } catch {
    return data;
  }
}
