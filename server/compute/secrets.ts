import { FheError, fromBase64Text, hasSecretKeyShape } from "@veilface/fhe";
import { embeddedFields, recognizeTenseal } from "@veilface/proto";

/** How many parts of refused bytes are looked at: to look at one may take 20 ms, and a TenSEAL context has eight. */
const MAX_PARTS = 64;

/**
 * Runs what reads bytes from outside. Where it refuses them and they hold a secret key, as they are, within protobuf
 * messages or as base64 text, that is the reason given. What it accepts needs no such look: it knows what every byte of
 * it is.
 */
export function readOutside<T>(data: Uint8Array, read: (data: Uint8Array) => T): T {
  try {
    return read(data);
  } catch (error) {
    const decoded = fromBase64Text(data);
    if (holdsSecretKey(data)) throw secretKeyRefused(error);
    if (decoded === undefined || !(error instanceof FheError)) throw error;
    throw new FheError(error.reason, "the bytes are base64 text: decode it before sending it", { cause: error });
  }
}

export function secretKeyRefused(cause?: unknown): FheError {
  return new FheError(
    "SECRET_KEY_REFUSED",
    "the bytes hold a secret key, which must never leave the key holder: nothing of it was kept; renew the key",
    { cause },
  );
}

function holdsSecretKey(data: Uint8Array): boolean {
  const parts = [data];
  // What is found within a part is appended, and looked at in its turn.
  for (const [i, part] of parts.entries()) {
    if (i >= MAX_PARTS) break;
    if (hasSecretKeyShape(part) || isSecretContext(part)) return true;
    const decoded = fromBase64Text(part);
    parts.push(...(decoded === undefined ? embeddedFields(part) : [decoded]));
  }
  return false;
}

function isSecretContext(data: Uint8Array): boolean {
  const found = recognizeTenseal(data);
  return found.kind === "context" && found.message.privateContext !== undefined;
}
