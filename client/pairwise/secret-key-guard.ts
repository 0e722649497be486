import { holdsSecretKey } from "@veilface/fhe";
import { TENSEAL_WRAPPING, isSecretContext } from "@veilface/proto";
import { ClientError } from "../errors.ts";
import { SECRET_ADVICE } from "./tenseal-advice.ts";

/**
 * The last look at bytes before they are sent: throws ClientError SECRET_KEY_REFUSED if they hold a SEAL secret key of
 * any parameters, as they are, within protobuf messages or as base64 text. Anything else passes, and is for the server
 * to refuse.
 */
export function guardSecretKey(name: string, ...objects: readonly Uint8Array[]): void {
  for (const bytes of objects) {
    if (!holdsSecretKey(bytes, TENSEAL_WRAPPING)) continue;
    const advice = "take the public part alone, and serialize it again";
    throw secretKeyRefused(name, isSecretContext(bytes) ? SECRET_ADVICE : advice);
  }
}

/** `advice`: what to do instead. */
export function secretKeyRefused(name: string, advice: string): ClientError {
  return new ClientError("SECRET_KEY_REFUSED", `${name} holds a secret key, so nothing of it was sent: ${advice}`);
}
