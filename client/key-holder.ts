import { randomBytes } from "node:crypto";
import {
  CiphertextCodec, DEFAULT_PARAMETER_SET, FheError, KEY_ID_BYTES, PLAINTEXT_HEADER_BYTES, RingKernel,
  callSeal, loadSealForKeyHolder, packedContextId, parameterSet, sealPlaintext, sealWords,
} from "@veilface/fhe";
import type { CiphertextEncoding, ParameterSet, ParameterSetName, Seal } from "@veilface/fhe";
import type { Decryptor, Encryptor, SecretKey } from "node-seal";
import { ClientError } from "./errors.ts";
import { LocalKeys } from "./local-keys.ts";

/** A secret key as bytes, with what makes a context of it. */
export interface SecretKeyMaterial {
  readonly parameterSet: ParameterSetName;
  /** 32 random bytes. */
  readonly keyId: Uint8Array;
  /** SEAL's uncompressed serialisation of the secret key. Whoever reads it reads every template: zero it after use. */
  readonly secretKey: Uint8Array;
}

/**
 * The one party that can encrypt and decrypt: owns a secret key and the SEAL objects around it. Belongs to one thread; free it with
 * `using`, which also clears the key from SEAL's memory. Every method then throws ClientError USAGE.
 */
export class KeyHolder implements Disposable {
  readonly parameterSet: ParameterSet;
  /** 32 random bytes that name the key and reveal nothing of it. */
  readonly keyId: Uint8Array;
  /** 64 lowercase hexadecimal digits: the context that the key's ciphertexts belong to. */
  readonly contextId: string;
  readonly #seal: Seal;
  readonly #kernel: RingKernel;
  readonly #codec: CiphertextCodec;
  readonly #secretKey: SecretKey;
  readonly #encryptor: Encryptor;
  readonly #decryptor: Decryptor;
  readonly #localKeys: LocalKeys;
  readonly #owned: DisposableStack;
  #closed = false;

  private constructor(seal: Seal, set: ParameterSet, keyId: Uint8Array, makeKey: (codec: CiphertextCodec) => SecretKey) {
    using owned = new DisposableStack();
    this.#seal = seal;
    this.parameterSet = set;
    this.keyId = Uint8Array.from(keyId);
    this.contextId = packedContextId(set.name, keyId);
    this.#kernel = RingKernel.create(set.dataPrimes);
    this.#codec = owned.use(new CiphertextCodec(seal, this.#kernel, set));
    this.#secretKey = owned.use(makeKey(this.#codec));
    this.#encryptor = owned.use(symmetricEncryptor(seal, this.#codec, this.#secretKey));
    this.#decryptor = owned.use(new seal.Decryptor(this.#codec.context, this.#secretKey));
    this.#localKeys = owned.use(this.#deriveLocalKeys());
    this.#owned = owned.move();
  }

  /** Draws a new key; about 60 ms. Throws FheError PARAMETERS_INVALID for a name that is not in the list. */
  static async create(name: ParameterSetName = DEFAULT_PARAMETER_SET): Promise<KeyHolder> {
    const seal = await loadSealForKeyHolder();
    return new KeyHolder(seal, parameterSet(name), randomBytes(KEY_ID_BYTES), ({ context }) => {
      using generator = new seal.KeyGenerator(context);
      return generator.secretKey();
    });
  }

  /**
   * A key holder for a key that exists already. The bytes are copied; zeroing them is the caller's.
   * Throws ClientError KEY_FILE_INVALID if they are not a secret key of that parameter set.
   */
  static async fromSecretKey(material: SecretKeyMaterial): Promise<KeyHolder> {
    const seal = await loadSealForKeyHolder();
    return new KeyHolder(seal, parameterSet(material.parameterSet), material.keyId, ({ context }) => loadSecretKey(seal, context, material));
  }

  /**
   * The secret key in the clear. Whoever has it reads every template under this key: prefer saveKeyFile. Zero the bytes after use.
   */
  exportSecretKeyUnprotected(): SecretKeyMaterial {
    this.#checkOpen();
    const secretKey = this.#secretKey.saveToArray(this.#seal.ComprModeType.none) as Uint8Array;
    return { parameterSet: this.parameterSet.name, keyId: this.keyId, secretKey };
  }

  /**
   * A keyed fingerprint, for ids that tell nobody without the key what they are of. `parts` are hashed with their lengths, so that
   * ("ab", "c") and ("a", "bc") differ. 64 lowercase hexadecimal digits.
   */
  pseudonym(...parts: readonly (string | Uint8Array)[]): string {
    this.#checkOpen();
    return this.#localKeys.pseudonym(parts);
  }

  /** Seals bytes for a file that only this key opens: nonce (12 bytes), AES-256-GCM, tag (16 bytes). `about` must be given again to open it. */
  sealLocally(about: string, bytes: Uint8Array): Buffer {
    this.#checkOpen();
    return this.#localKeys.seal(about, bytes);
  }

  /** Opens what {@link sealLocally} sealed; undefined for bytes of another key, about something else, or damaged. */
  openLocally(about: string, sealed: Uint8Array): Buffer | undefined {
    this.#checkOpen();
    return this.#localKeys.open(about, sealed);
  }

  /**
   * Encrypts 4096 whole coefficients, symmetrically: the public-key noise of the scheme is 74 times larger. Returns the packed
   * residues of a fresh ciphertext. Throws FheError SCALE_OVERFLOW or EMBEDDING_INVALID as RingKernel.encode does.
   */
  encryptPolynomial(coefficients: Float64Array): Uint8Array {
    this.#checkOpen();
    const bytes = sealPlaintext(this.#codec.parmsId, this.#kernel.encode(coefficients));
    using plaintext = new this.#seal.Plaintext();
    using ciphertext = new this.#seal.Ciphertext();
    const saved = callSeal("encrypt a polynomial", () => {
      plaintext.loadFromArray(this.#codec.context, bytes);
      this.#encryptor.encryptSymmetric(plaintext, ciphertext);
      return ciphertext.saveToArray(this.#seal.ComprModeType.none) as Uint8Array;
    });
    return this.#codec.serialise("PACKED_RESIDUES", this.#codec.parseFresh("SEAL", saved));
  }

  /**
   * Decrypts a three-component product to its 4096 centred coefficients. Throws FheError with the CIPHERTEXT_* or
   * PARAMETER_SET_MISMATCH reasons for bytes that are not one; a product under another key decrypts to noise.
   */
  decryptProduct(encoding: CiphertextEncoding, data: Uint8Array): Float64Array {
    this.#checkOpen();
    return this.#decrypt(this.#codec.parseProduct(encoding, data));
  }

  /** Decrypts a two-component ciphertext, as encryptPolynomial makes it, to its 4096 centred coefficients. Throws as {@link decryptProduct}. */
  decryptPolynomial(encoding: CiphertextEncoding, data: Uint8Array): Float64Array {
    this.#checkOpen();
    return this.#decrypt(this.#codec.parseFresh(encoding, data));
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    this.#owned.dispose();
  }

  /** Throws ClientError USAGE once the key was cleared from memory. */
  #checkOpen(): void {
    if (this.#closed) throw new ClientError("USAGE", "the key holder is closed: load the key again");
  }

  #decrypt(residues: Uint32Array): Float64Array {
    const bytes = this.#codec.serialise("SEAL", residues);
    using ciphertext = new this.#seal.Ciphertext();
    using plaintext = new this.#seal.Plaintext();
    const saved = callSeal("decrypt a ciphertext", () => {
      ciphertext.loadFromArray(this.#codec.context, bytes);
      this.#decryptor.decrypt(ciphertext, plaintext);
      return plaintext.saveToArray(this.#seal.ComprModeType.none) as Uint8Array;
    });
    return this.#kernel.decode(sealWords(saved, PLAINTEXT_HEADER_BYTES));
  }

  // Without SEAL's header: its version bytes may change while the key stays the same.
  #deriveLocalKeys(): LocalKeys {
    const { secretKey } = this.exportSecretKeyUnprotected();
    const keys = new LocalKeys(secretKey.subarray(PLAINTEXT_HEADER_BYTES), this.keyId);
    secretKey.fill(0);
    return keys;
  }
}

// node-seal has no encryptor without a public key, so one is made and forgotten: nothing is ever encrypted under it.
function symmetricEncryptor(seal: Seal, { context }: CiphertextCodec, secretKey: SecretKey): Encryptor {
  using generator = new seal.KeyGenerator(context, secretKey);
  using publicKey = generator.createPublicKey();
  return new seal.Encryptor(context, publicKey, secretKey);
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
    throw new ClientError("KEY_FILE_INVALID", `the bytes are not a secret key of ${material.parameterSet}: expected one that veilface wrote`, { cause });
  }
}
