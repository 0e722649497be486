import { FheError, fromBase64Text, hasSecretKeyShape } from "@veilface/fhe";
import { CKKSVectorProto, TenSEALContextProto } from "@veilface/proto";

/**
 * Runs what reads bytes from outside. Where it refuses them and they hold a secret key, as they are or as base64 text, that is the
 * reason given. What it accepts needs no such look: it knows what every byte of it is.
 */
export function readOutside<T>(data: Uint8Array, read: (data: Uint8Array) => T): T {
  try {
    return read(data);
  } catch (error) {
    const decoded = fromBase64Text(data);
    if (holdsSecretKey(decoded ?? data)) {
      throw new FheError("SECRET_KEY_REFUSED", "the bytes hold a secret key, which must never leave the key holder: nothing of it was kept; renew the key", { cause: error });
    }
    if (decoded === undefined || !(error instanceof FheError)) throw error;
    throw new FheError(error.reason, "the bytes are base64 text: decode it before sending it", { cause: error });
  }
}

function holdsSecretKey(data: Uint8Array): boolean {
  if (hasSecretKeyShape(data)) return true;
  const context = tryDecode(TenSEALContextProto, data);
  const { publicContext, encryptionParameters, privateContext } = context ?? {};
  const vector = tryDecode(CKKSVectorProto, data);
  const parts = [encryptionParameters, publicContext?.publicKey, publicContext?.relinKeys, publicContext?.galoisKeys, ...(vector?.ciphertexts ?? [])];
  return privateContext !== undefined || parts.some((part) => part !== undefined && hasSecretKeyShape(part));
}

function tryDecode<Message>(codec: { decode(data: Uint8Array): Message }, data: Uint8Array): Message | undefined {
  try {
    return codec.decode(data);
  } catch {
    return undefined;
  }
}
