import { randomBytes } from "node:crypto";
import {
  DEFAULT_PARAMETER_SET,
  FheError,
  KEY_ID_BYTES,
  callSeal,
  loadSealForKeyHolder,
  packedContextId,
  parameterSet,
} from "@veilface/fhe";
import type { CiphertextCodec, ParameterSetName, Seal } from "@veilface/fhe";
import type { SecretKey } from "node-seal";
import { ClientError } from "../errors.ts";
import { KeyCiphers } from "./key-ciphers.ts";

/** A secret key as bytes, with what makes a context of it. */
export interface SecretKeyMaterial {
  /** The parameter set that the key is of. */
  readonly parameterSet: ParameterSetName;
  /** 32 random bytes that name the key and reveal nothing of it. */
  readonly keyId: Uint8Array;
  /** SEAL's uncompressed serialization of the secret key. Whoever reads it reads every template: zero it after use. */
  readonly secretKey: Uint8Array;
}

let readCiphers: (holder: KeyHolder) => KeyCiphers;

/** What a key encrypts and decrypts with: for the rest of this package, and for those who build beneath it. */
export function ciphersOf(holder: KeyHolder): KeyCiphers {
  return readCiphers(holder);
}

/**
 * The one party that can encrypt and decrypt. Belongs to one thread; free it with `using`, which also clears the key
 * from SEAL's memory. Every method then throws ClientError USAGE.
 */
export class KeyHolder implements Disposable {
  /** 32 random bytes that name the key and reveal nothing of it. */
  readonly keyId: Uint8Array;
  /** 64 lowercase hexadecimal digits: the context that the key's ciphertexts belong to. */
  readonly contextId: string;

  readonly #ciphers: KeyCiphers;

  static {
    readCiphers = (holder) => holder.#ciphers;
  }

  private constructor(ciphers: KeyCiphers, keyId: Uint8Array) {
    this.#ciphers = ciphers;
    this.keyId = Uint8Array.from(keyId);
    this.contextId = packedContextId(ciphers.parameterSet.name, keyId);
  }

  /** Draws a new key; about 60 ms. Throws FheError PARAMETERS_INVALID for a name that is not in the list. */
  static async create(name: ParameterSetName = DEFAULT_PARAMETER_SET): Promise<KeyHolder> {
    const seal = await loadSealForKeyHolder();
    const keyId = randomBytes(KEY_ID_BYTES);
    const ciphers = new KeyCiphers(seal, { parameterSet: parameterSet(name), keyId }, ({ context }) => {
      using generator = new seal.KeyGenerator(context);
      return generator.secretKey();
    });
    return new KeyHolder(ciphers, keyId);
  }

  /**
   * A key holder for a key that exists already. The bytes are copied; zeroing them is the caller's.
   * Throws ClientError KEY_FILE_INVALID if they are not a secret key of that parameter set.
   */
  static async fromSecretKey(material: SecretKeyMaterial): Promise<KeyHolder> {
    const seal = await loadSealForKeyHolder();
    const { keyId, parameterSet: name } = material;
    const load = ({ context }: CiphertextCodec): SecretKey => loadSecretKey(seal, context, material);
    return new KeyHolder(new KeyCiphers(seal, { parameterSet: parameterSet(name), keyId }, load), keyId);
  }

  /**
   * The secret key in the clear. Whoever has it reads every template under this key: prefer saveKeyFile. Zero the bytes
   * after use.
   */
  exportSecretKeyUnprotected(): SecretKeyMaterial {
    const secretKey = this.#ciphers.exportSecretKey();
    return { parameterSet: this.#ciphers.parameterSet.name, keyId: this.keyId, secretKey };
  }

  /**
   * A keyed fingerprint, for ids that tell nobody without the key what they are of. `parts` are hashed with their
   * lengths, so that ("ab", "c") and ("a", "bc") differ. 64 lowercase hexadecimal digits.
   */
  pseudonym(...parts: readonly (string | Uint8Array)[]): string {
    return this.#ciphers.pseudonym(...parts);
  }

  /** Clears the key from SEAL's memory; calling it again does nothing. */
  [Symbol.dispose](): void {
    this.#ciphers[Symbol.dispose]();
  }
}

function loadSecretKey(seal: Seal, context: CiphertextCodec["context"], material: SecretKeyMaterial): SecretKey {
  const secretKey = new seal.SecretKey();
  // node-seal takes a Uint8Array itself and no subclass of it, such as Buffer.
  const { buffer, byteOffset, byteLength } = material.secretKey;
  try {
    callSeal("read the secret key", () => {
      secretKey.loadFromArray(context, new Uint8Array(buffer, byteOffset, byteLength));
    });
    return secretKey;
  } catch (cause) {
    secretKey.delete();
    if (!(cause instanceof FheError)) throw cause;
    throw new ClientError(
      "KEY_FILE_INVALID",
      `the bytes are not a secret key of ${material.parameterSet}: expected one that veilface wrote`,
      { cause },
    );
  }
}
