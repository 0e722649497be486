import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from "node:crypto";

const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/**
 * Keys for the key holder's own use, derived from a secret key by HKDF (RFC 5869) with SHA-256: one for ids, one for
 * files.
 */
export class LocalKeys implements Disposable {
  readonly #idKey: Buffer;
  readonly #fileKey: Buffer;

  /** `secret` is not kept. `salt` names the key it belongs to. */
  constructor(secret: Uint8Array, salt: Uint8Array) {
    this.#idKey = derive(secret, salt, "veilface.v1 pseudonymous ids");
    this.#fileKey = derive(secret, salt, "veilface.v1 local files");
  }

  /** As KeyHolder.pseudonym. */
  pseudonym(parts: readonly (string | Uint8Array)[]): string {
    const hmac = createHmac("sha256", this.#idKey);
    for (const part of parts) {
      const bytes = typeof part === "string" ? Buffer.from(part) : part;
      hmac.update(`${bytes.length}:`).update(bytes);
    }
    return hmac.digest("hex");
  }

  /** As KeyCiphers.encryptLocally. */
  encrypt(about: string, bytes: Uint8Array): Buffer {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv("aes-256-gcm", this.#fileKey, nonce).setAAD(Buffer.from(about));
    return Buffer.concat([nonce, cipher.update(bytes), cipher.final(), cipher.getAuthTag()]);
  }

  /** As KeyCiphers.decryptLocally. */
  decrypt(about: string, encrypted: Uint8Array): Buffer | undefined {
    const end = encrypted.length - TAG_BYTES;
    if (end < NONCE_BYTES) return undefined;
    const decipher = createDecipheriv("aes-256-gcm", this.#fileKey, encrypted.subarray(0, NONCE_BYTES), {
      authTagLength: TAG_BYTES,
    });
    decipher.setAAD(Buffer.from(about)).setAuthTag(encrypted.subarray(end));
    const bytes = decipher.update(encrypted.subarray(NONCE_BYTES, end));
    try {
      decipher.final();
      return bytes;
    } catch {
      return undefined;
    }
  }

  [Symbol.dispose](): void {
    this.#idKey.fill(0);
    this.#fileKey.fill(0);
  }
}

function derive(secret: Uint8Array, salt: Uint8Array, purpose: string): Buffer {
  return Buffer.from(hkdfSync("sha256", secret, salt, purpose, KEY_BYTES));
}
