import { FheError } from "../errors.ts";
import { fromBase64Text } from "./base64-text.ts";
import { PLAINTEXT_HEADER_BYTES, inflateSeal, isBareObject, isSealObject } from "./seal-bytes.ts";

// Where a Plaintext, and so a secret key, says how many words it has.
const PLAINTEXT_WORDS_AT = 48;
// The largest secret key that SEAL makes: 64 primes at ring degree 32768 are 16 MiB.
const MAX_SECRET_BYTES = 17 * 2 ** 20;
/** How many parts of bytes are looked at: to look at one may take 20 ms, and a TenSEAL context has eight. */
const MAX_PARTS = 64;

/** Messages that SEAL's objects come in, of a format that this package does not know. */
export interface Wrapping {
  /** Whether bytes are such a message that says of itself that it holds a secret key. */
  readonly isSecret: (bytes: Uint8Array) => boolean;
  /** The objects that bytes are made of if they are such a message; none where they are not. */
  readonly partsOf: (bytes: Uint8Array) => readonly Uint8Array[];
}

/**
 * Whether bytes hold a SEAL secret key of any parameters: as they are, within messages, as base64 text, or several of
 * these around one another.
 */
export function holdsSecretKey(data: Uint8Array, wrapping: Wrapping): boolean {
  const parts = [data];
  // What is found within a part is appended, and looked at in its turn.
  for (const [i, part] of parts.entries()) {
    if (i >= MAX_PARTS) break;
    if (hasSecretKeyShape(part) || wrapping.isSecret(part)) return true;
    const decoded = fromBase64Text(part);
    parts.push(...(decoded === undefined ? wrapping.partsOf(part) : [decoded]));
  }
  return false;
}

/**
 * Whether bytes are a SEAL object laid out as a secret key of any parameters, compressed or not. A plaintext in NTT
 * form has the same layout; nobody has a reason to upload one.
 */
export function hasSecretKeyShape(data: Uint8Array): boolean {
  if (!isSealObject(data)) return false;
  const bytes = tryInflate(data);
  const words = (bytes.length - PLAINTEXT_HEADER_BYTES) / 8;
  if (!Number.isInteger(words) || words < 1 || !isBareObject(bytes, PLAINTEXT_HEADER_BYTES)) return false;
  return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(PLAINTEXT_WORDS_AT, true) === BigInt(words);
}

/** The refusal of bytes from outside that hold one. */
export function secretKeyRefused(cause?: unknown): FheError {
  return new FheError(
    "SECRET_KEY_REFUSED",
    "the bytes hold a secret key, which must never leave the key holder: nothing of it was kept; renew the key",
    { cause },
  );
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
