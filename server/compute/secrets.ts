import { FheError, fromBase64Text, holdsSecretKey, secretKeyRefused } from "@veilface/fhe";
import { TENSEAL_WRAPPING } from "@veilface/proto";

/**
 * Runs what reads bytes from outside. Where it refuses them and they hold a secret key, as they are, within protobuf
 * messages or as base64 text, that is the reason given. What it accepts needs no such look: it knows what every byte of
 * it is.
 */
export function readOutside<T>(data: Uint8Array, read: (data: Uint8Array) => T): T {
  try {
    return read(data);
  } catch (error) {
    if (holdsSecretKey(data, TENSEAL_WRAPPING)) throw secretKeyRefused(error);
    if (!(error instanceof FheError) || fromBase64Text(data) === undefined) throw error;
    throw new FheError(error.reason, "the bytes are base64 text: decode it before sending it", { cause: error });
  }
}
