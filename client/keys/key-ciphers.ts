import { CiphertextCodec, PLAINTEXT_HEADER_BYTES, RingKernel, callSeal, sealPlaintext, sealWords } from "@veilface/fhe";
import type { CiphertextEncoding, ParameterSet, Seal } from "@veilface/fhe";
import type { ComprModeType, Decryptor, Encryptor, SecretKey } from "node-seal";
import { ClientError } from "../errors.ts";
import { LocalKeys } from "./local-keys.ts";

/** What is public of a key. */
export interface KeyName {
  /** The parameter set that the key is of, and all its ciphertexts. */
  readonly parameterSet: ParameterSet;
  /** 32 random bytes that name the key and reveal nothing of it; keys for local files are derived with them. */
  readonly keyId: Uint8Array;
}

/** Makes or loads a secret key in a codec's context; whoever calls it frees the key. */
export type MakeKey = (codec: CiphertextCodec) => SecretKey;

/**
 * A secret key at work, and the SEAL objects around it. Every method throws ClientError USAGE once it is disposed of.
 */
export class KeyCiphers implements Disposable {
  /** The parameter set that the key is of, and all its ciphertexts. */
  readonly parameterSet: ParameterSet;
  readonly #seal: Seal;
  readonly #kernel: RingKernel;
  readonly #codec: CiphertextCodec;
  readonly #secretKey: SecretKey;
  readonly #encryptor: Encryptor;
  readonly #decryptor: Decryptor;
  readonly #localKeys: LocalKeys;
  readonly #owned: DisposableStack;
  #closed = false;

  /** Holds the key that `makeKey` makes until it is disposed of. Throws what `makeKey` throws. */
  constructor(seal: Seal, { parameterSet, keyId }: KeyName, makeKey: MakeKey) {
    using owned = new DisposableStack();
    this.#seal = seal;
    this.parameterSet = parameterSet;
    this.#kernel = RingKernel.create(parameterSet.dataPrimes);
    this.#codec = owned.use(new CiphertextCodec(seal, this.#kernel, parameterSet));
    this.#secretKey = owned.use(makeKey(this.#codec));
    this.#encryptor = owned.use(symmetricEncryptor(seal, this.#codec, this.#secretKey));
    this.#decryptor = owned.use(new seal.Decryptor(this.#codec.context, this.#secretKey));
    this.#localKeys = owned.use(this.#deriveLocalKeys(keyId));
    this.#owned = owned.move();
  }

  /** SEAL's uncompressed serialization of the secret key: zero it after use. */
  exportSecretKey(): Uint8Array {
    this.#checkOpen();
    return uncompressed(this.#seal, this.#secretKey);
  }

  /** A keyed fingerprint of 64 lowercase hexadecimal digits, as KeyHolder.pseudonym. */
  pseudonym(...parts: readonly (string | Uint8Array)[]): string {
    this.#checkOpen();
    return this.#localKeys.pseudonym(parts);
  }

  /**
   * Encrypts bytes for a file that only this key reads: nonce (12 bytes), AES-256-GCM, tag (16 bytes). `about` must be
   * given again to decrypt it.
   */
  encryptLocally(about: string, bytes: Uint8Array): Buffer {
    this.#checkOpen();
    return this.#localKeys.encrypt(about, bytes);
  }

  /**
   * Decrypts what {@link encryptLocally} gave; undefined for bytes of another key, about something else, or damaged.
   */
  decryptLocally(about: string, encrypted: Uint8Array): Buffer | undefined {
    this.#checkOpen();
    return this.#localKeys.decrypt(about, encrypted);
  }

  /**
   * Encrypts 4096 whole coefficients, symmetrically: the public-key noise of the scheme is 74 times larger. Returns the
   * packed residues of a fresh ciphertext. Throws FheError SCALE_OVERFLOW or EMBEDDING_INVALID as RingKernel.encode
   * does.
   */
  encryptPolynomial(coefficients: Float64Array): Uint8Array {
    this.#checkOpen();
    const bytes = sealPlaintext(this.#codec.parmsId, this.#kernel.encode(coefficients));
    using plaintext = new this.#seal.Plaintext();
    using ciphertext = new this.#seal.Ciphertext();
    const saved = callSeal("encrypt a polynomial", () => {
      plaintext.loadFromArray(this.#codec.context, bytes);
      this.#encryptor.encryptSymmetric(plaintext, ciphertext);
      return uncompressed(this.#seal, ciphertext);
    });
    return this.#codec.serialize("PACKED_RESIDUES", this.#codec.parseFresh("SEAL", saved));
  }

  /**
   * Decrypts a three-component product to its 4096 centred coefficients. Throws FheError with the CIPHERTEXT_* or
   * PARAMETER_SET_MISMATCH reasons for bytes that are not one; a product under another key decrypts to noise.
   */
  decryptProduct(encoding: CiphertextEncoding, data: Uint8Array): Float64Array {
    this.#checkOpen();
    return this.#decrypt(this.#codec.parseProduct(encoding, data));
  }

  /**
   * Decrypts a two-component ciphertext, as encryptPolynomial makes it, to its 4096 centred coefficients. Throws as
   * {@link decryptProduct}.
   */
  decryptPolynomial(encoding: CiphertextEncoding, data: Uint8Array): Float64Array {
    this.#checkOpen();
    return this.#decrypt(this.#codec.parseFresh(encoding, data));
  }

  /** Clears the key from SEAL's memory. */
  [Symbol.dispose](): void {
    this.#closed = true;
    this.#owned.dispose();
  }

  /** Throws ClientError USAGE once the key was cleared from memory. */
  #checkOpen(): void {
    if (this.#closed) throw new ClientError("USAGE", "the key holder is closed: load the key again");
  }

  #decrypt(residues: Uint32Array): Float64Array {
    const bytes = this.#codec.serialize("SEAL", residues);
    using ciphertext = new this.#seal.Ciphertext();
    using plaintext = new this.#seal.Plaintext();
    const saved = callSeal("decrypt a ciphertext", () => {
      ciphertext.loadFromArray(this.#codec.context, bytes);
      this.#decryptor.decrypt(ciphertext, plaintext);
      return uncompressed(this.#seal, plaintext);
    });
    return this.#kernel.decode(sealWords(saved, PLAINTEXT_HEADER_BYTES));
  }

  // Without SEAL's header: its version bytes may change while the key stays the same.
  #deriveLocalKeys(keyId: Uint8Array): LocalKeys {
    const secretKey = this.exportSecretKey();
    const keys = new LocalKeys(secretKey.subarray(PLAINTEXT_HEADER_BYTES), keyId);
    secretKey.fill(0);
    return keys;
  }
}

function uncompressed(seal: Seal, object: { saveToArray: (mode: ComprModeType) => unknown }): Uint8Array {
  // node-seal declares any, and gives a Uint8Array.
  return object.saveToArray(seal.ComprModeType.none) as Uint8Array;
}

// node-seal has no encryptor without a public key, so one is made and forgotten: nothing is ever encrypted under it.
function symmetricEncryptor(seal: Seal, { context }: CiphertextCodec, secretKey: SecretKey): Encryptor {
  using generator = new seal.KeyGenerator(context, secretKey);
  using publicKey = generator.createPublicKey();
  return new seal.Encryptor(context, publicKey, secretKey);
}
