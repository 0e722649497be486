import { fromBase64Text, hasSecretKeyShape } from "@veilface/fhe";
import { ClientError } from "../errors.ts";

/**
 * The last look at each SEAL object before it is sent: throws ClientError SECRET_KEY_REFUSED if it, or what it is
 * base64 text of, is laid out as a SEAL secret key of any parameters, compressed or not. Anything else passes, and is
 * for the server to refuse.
 */
export function guardSecretKey(name: string, ...objects: readonly Uint8Array[]): void {
  for (const bytes of objects) {
    if (hasSecretKeyShape(fromBase64Text(bytes) ?? bytes))
      throw secretKeyRefused(name, "take the public part alone, and serialize it again");
  }
}

/** `advice`: what to do instead. */
export function secretKeyRefused(name: string, advice: string): ClientError {
  return new ClientError("SECRET_KEY_REFUSED", `${name} holds a secret key, so nothing of it was sent: ${advice}`);
}
