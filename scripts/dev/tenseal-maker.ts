// Plays TenSEAL: makes keys, contexts and encrypted vectors as TenSEAL writes them, and reads the answers. With
// node-seal and an independent protobuf codec alone, nothing of fhe/, client/ or generated code.
import { createHash } from "node:crypto";
import initialize from "node-seal";
import type {
  CKKSEncoder,
  Decryptor,
  Encryptor,
  EncryptionParameters,
  GaloisKeys,
  KeyGenerator,
  MainModule,
  Plaintext,
  PublicKey,
  RelinKeys,
  SEALContext,
  SecretKey,
  SerializableGaloisKeys,
  SerializableRelinKeys,
} from "node-seal";
import {
  decodeTensealContext,
  decodeTensealVector,
  encodeTensealContext,
  encodeTensealVector,
} from "./tenseal-wire.ts";
import type { TensealContextMessage } from "./tenseal-wire.ts";

/** SEAL's compression of what it writes. TenSEAL writes zstd. */
export type Compression = "none" | "zlib" | "zstd";
export const COMPRESSIONS: readonly Compression[] = ["none", "zlib", "zstd"];

/** What a CKKS key is made for. */
export interface CkksParameters {
  /** N, a power of two. A ciphertext has N/2 slots. */
  readonly degree: number;
  /** Sizes of the primes in bits; the last is the one that SEAL reserves. */
  readonly primeBits: readonly number[];
  /** The scale of fresh vectors. */
  readonly scale: number;
}

/** The parameters of TenSEAL's tutorial; results up to about 2^58. */
export const TUTORIAL: CkksParameters = { degree: 8192, primeBits: [60, 40, 40, 60], scale: 2 ** 40 };
/** The smallest that are of use: results up to 2^5, to about 1e-4. Keys take milliseconds. */
export const SMALL: CkksParameters = { degree: 4096, primeBits: [35, 34, 40], scale: 2 ** 31.5 };

/**
 * How far a result for unit vectors may be off with SMALL. Measured: a standard deviation of 2e-6 * sqrt(dimension) for
 * noise, and of 5e-5 from key to key, because SEAL's digits are not centred when it switches keys, which shows in slot
 * 0 above all. Four to seven times that.
 */
export const smallTolerance = (dimension: number): number => 2e-4 + 8e-6 * Math.sqrt(dimension);

/** How an object is written: by default as TenSEAL does, compressed with zstd and without seeds. */
export interface Written {
  readonly compression?: Compression;
  /** With seeds in place of what can be drawn from them, as SEAL's Serializable objects are saved. */
  readonly seeded?: boolean;
}

/** How a vector is encrypted and written. */
export interface VectorForm extends Written {
  /**
   * What is in the slots past the vector: the vector again and again (TenSEAL's way, the default), zeros, or other
   * numbers of about its size.
   */
  readonly fill?: "repeated" | "zeros" | "others";
  /** Instead of the key's own scale. */
  readonly scale?: number;
  /** With the secret key instead of the public one. Seeded vectors are always so. */
  readonly symmetric?: boolean;
}

const CIPHERTEXT_SCALE_AT = 73;
// TenSEAL's own: relinearize, rescale and switch moduli without being asked.
const AUTO_FLAGS = 7;

const sealLoaded = initialize();
const watchers: ((bytes: Uint8Array) => void)[] = [];

/** Has whatever should never be in a log shown to a test that looks for it there. */
export function watchSecrets(watcher: (bytes: Uint8Array) => void): void {
  watchers.push(watcher);
}

function watch(bytes: Uint8Array): void {
  for (const watcher of watchers) watcher(bytes);
}

/** Relinearization and Galois keys that belong together, in every form that they can be written in. */
export class EvaluationKeys implements Disposable {
  readonly #seal: MainModule;
  readonly #owned = new DisposableStack();
  readonly #relin: { readonly seeded: SerializableRelinKeys; readonly whole: RelinKeys };
  readonly #galois: { readonly seeded: SerializableGaloisKeys; readonly whole: GaloisKeys };

  constructor(seal: MainModule, context: SEALContext, generator: KeyGenerator, steps: readonly number[] | undefined) {
    this.#seal = seal;
    const relin = this.#owned.use(generator.createRelinKeysSerializable());
    const galois = this.#owned.use(
      steps === undefined
        ? generator.createGaloisKeysSerializable()
        : generator.createGaloisKeysSerializableWithSteps(Int32Array.from(steps)),
    );
    this.#relin = { seeded: relin, whole: this.#owned.use(new seal.RelinKeys()) };
    this.#galois = { seeded: galois, whole: this.#owned.use(new seal.GaloisKeys()) };
    this.#relin.whole.loadFromArray(context, relin.saveToArray(seal.ComprModeType.none));
    this.#galois.whole.loadFromArray(context, galois.saveToArray(seal.ComprModeType.none));
  }

  /** SEAL RelinKeys. */
  relinKeys({ compression = "zstd", seeded = false }: Written = {}): Buffer {
    return bytesOf(this.#seal, this.#relin[seeded ? "seeded" : "whole"], compression);
  }

  /** SEAL GaloisKeys. */
  galoisKeys({ compression = "zstd", seeded = false }: Written = {}): Buffer {
    return bytesOf(this.#seal, this.#galois[seeded ? "seeded" : "whole"], compression);
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

/** A secret key and everything that its holder does with it. Frees whatever it made when it is disposed of. */
export class TensealMaker implements Disposable {
  readonly parameters: CkksParameters;
  readonly slots: number;
  readonly #seal: MainModule;
  readonly #owned = new DisposableStack();
  readonly #sealParameters: EncryptionParameters;
  readonly #context: SEALContext;
  readonly #generator: KeyGenerator;
  readonly #secretKey: SecretKey;
  readonly #publicKey: PublicKey;
  readonly #encryptor: Encryptor;
  readonly #encoder: CKKSEncoder;
  readonly #decryptor: Decryptor;

  /** With a key of its own, or with the one in a secret TenSEAL context, whose parameters must be those. */
  static async create(parameters: CkksParameters = TUTORIAL, secretContext?: Uint8Array): Promise<TensealMaker> {
    return new TensealMaker(await sealLoaded, parameters, secretContext);
  }

  private constructor(seal: MainModule, parameters: CkksParameters, secretContext?: Uint8Array) {
    this.#seal = seal;
    this.parameters = parameters;
    this.slots = parameters.degree / 2;
    const owned = this.#owned;
    this.#sealParameters = owned.use(new seal.EncryptionParameters(seal.SchemeType.ckks));
    this.#sealParameters.setPolyModulusDegree(parameters.degree);
    this.#sealParameters.setCoeffModulus(
      owned.use(seal.CoeffModulus.Create(parameters.degree, Int32Array.from(parameters.primeBits))),
    );
    // Without a security level: a server must refuse weak parameters by itself, so tests make some.
    this.#context = owned.use(new seal.SEALContext(this.#sealParameters, true, seal.SecLevelType.none));
    const given = secretContext === undefined ? undefined : this.#loadSecretKey(secretContext);
    this.#generator = owned.use(
      given === undefined ? new seal.KeyGenerator(this.#context) : new seal.KeyGenerator(this.#context, given),
    );
    this.#secretKey = owned.use(this.#generator.secretKey());
    this.#publicKey = owned.use(this.#generator.createPublicKey());
    this.#encryptor = owned.use(new seal.Encryptor(this.#context, this.#publicKey, this.#secretKey));
    this.#encoder = owned.use(new seal.CKKSEncoder(this.#context));
    this.#decryptor = owned.use(new seal.Decryptor(this.#context, this.#secretKey));
    watch(this.secretKey("none"));
  }

  /** The primes in SEAL's order, the reserved one last. */
  get primes(): bigint[] {
    using moduli = this.#sealParameters.coeffModulus();
    return Array.from({ length: moduli.size() }, (_, k) => {
      using modulus = moduli.get(k)!;
      return modulus.value();
    });
  }

  /**
   * New evaluation keys. `steps`: the rotations they are for; without, all that SEAL makes by itself: 1, 2, 4, ... N/4
   * both ways, and conjugation.
   */
  makeKeys(steps?: readonly number[]): EvaluationKeys {
    return this.#owned.use(new EvaluationKeys(this.#seal, this.#context, this.#generator, steps));
  }

  /** SEAL EncryptionParameters. */
  encryptionParameters(compression: Compression = "zstd"): Buffer {
    return bytesOf(this.#seal, this.#sealParameters, compression);
  }

  /** A SEAL PublicKey. */
  publicKey(compression: Compression = "zstd"): Buffer {
    return bytesOf(this.#seal, this.#publicKey, compression);
  }

  /** A SEAL SecretKey, for tests that a server refuses it. */
  secretKey(compression: Compression = "zstd"): Buffer {
    return bytesOf(this.#seal, this.#secretKey, compression);
  }

  /** TenSEALContextProto, as serialize() writes it after make_context_public(). */
  publicContext(keys: EvaluationKeys, written: Written = {}): Buffer {
    return encodeTensealContext(this.publicContextMessage(keys, written));
  }

  /** The same before it is serialised, for tests that change it. */
  publicContextMessage(
    keys: EvaluationKeys,
    written: Written = {},
  ): TensealContextMessage & { readonly public_context: object } {
    const own = this.#ownMessage(written.compression);
    return {
      ...own,
      public_context: {
        ...own.public_context,
        relin_keys: keys.relinKeys(written),
        galois_keys: keys.galoisKeys(written),
      },
    };
  }

  /**
   * TenSEALContextProto, as serialize(save_secret_key=True) writes it: the evaluation keys are not in it, they are made
   * anew.
   */
  secretContext(compression: Compression = "zstd"): Buffer {
    const private_context = {
      secret_key: this.secretKey(compression),
      relin_keys_generated: true,
      galois_keys_generated: true,
    };
    const bytes = encodeTensealContext({ ...this.#ownMessage(compression), private_context });
    watch(private_context.secret_key);
    return bytes;
  }

  /** CKKSVectorProto of at most N/2 components. */
  vector(components: readonly number[], form: VectorForm = {}): Buffer {
    return encodeTensealVector({
      sizes: [components.length],
      ciphertexts: [this.ciphertext(components, form)],
      scale: this.parameters.scale,
    });
  }

  /** A SEAL Ciphertext of at most N/2 components. */
  ciphertext(components: readonly number[], form: VectorForm = {}): Buffer {
    using plaintext = this.#encode(components, form);
    const bytes = this.#encrypt(plaintext, form);
    watch(bytes);
    return bytes;
  }

  /** The same ciphertext, uncompressed SEAL bytes, written in another way. */
  rewrite(data: Buffer, form: { compression: Compression; encoding: string; dimension: number }): Buffer {
    const { compression, encoding, dimension } = form;
    using ciphertext = new this.#seal.Ciphertext();
    ciphertext.loadFromArray(this.#context, new Uint8Array(data));
    const bytes = bytesOf(this.#seal, ciphertext, compression);
    watch(bytes);
    const { scale } = this.parameters;
    return encoding === "SEAL" ? bytes : encodeTensealVector({ sizes: [dimension], ciphertexts: [bytes], scale });
  }

  /** The value in slot 0 of a ciphertext in either encoding, by the wire's name of it. */
  decrypt(encoding: string, data: Uint8Array): number {
    return this.decryptSlots(
      encoding === "CIPHERTEXT_ENCODING_TENSEAL_CKKS_VECTOR" ? decodeTensealVector(data).ciphertexts[0]! : data,
    )[0]!;
  }

  /** All slots of a SEAL Ciphertext. */
  decryptSlots(data: Uint8Array): Float64Array {
    using ciphertext = new this.#seal.Ciphertext();
    // SEAL refuses a Buffer.
    ciphertext.loadFromArray(this.#context, new Uint8Array(data));
    using plaintext = new this.#seal.Plaintext();
    this.#decryptor.decrypt(ciphertext, plaintext);
    return this.#encoder.decodeFloat64(plaintext) as Float64Array;
  }

  /**
   * The id of the context of these keys, from the contract's comment. `relin`, `galois`: SEAL's bytes without seeds and
   * compression.
   */
  contextId(relin: Uint8Array, galois: Uint8Array): string {
    const scale = Buffer.alloc(8);
    scale.writeDoubleBE(this.parameters.scale);
    const [parameters, relinKeys, galoisKeys] = [this.encryptionParameters("none"), relin, galois].map(sha256Hex);
    return sha256Hex(
      Buffer.from(`veilface.v1 pairwise ${parameters} ${scale.toString("hex")} ${relinKeys} ${galoisKeys}\n`),
    );
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }

  #loadSecretKey(secretContext: Uint8Array): SecretKey {
    const bytes = decodeTensealContext(secretContext).private_context?.secret_key;
    if (bytes === undefined) throw new Error("the TenSEAL context has no secret key");
    const key = this.#owned.use(new this.#seal.SecretKey());
    key.loadFromArray(this.#context, new Uint8Array(bytes));
    watch(bytes);
    return key;
  }

  #ownMessage(compression: Compression = "zstd") {
    const { scale } = this.parameters;
    return {
      encryption_parameters: this.encryptionParameters(compression),
      public_context: { public_key: this.publicKey(compression), auto_flags: AUTO_FLAGS, scale },
    };
  }

  #encode(components: readonly number[], { fill = "repeated", scale = this.parameters.scale }: VectorForm): Plaintext {
    // The root mean square of numbers up to 1 is 1 / sqrt(3).
    const most = Math.sqrt((3 * components.reduce((sum, x) => sum + x * x, 0)) / components.length);
    const past = {
      repeated: (i: number) => components[i % components.length]!,
      zeros: () => 0,
      others: () => most * (2 * Math.random() - 1),
    }[fill];
    const plaintext = new this.#seal.Plaintext();
    this.#encoder.encode(
      Float64Array.from({ length: this.slots }, (_, i) => components[i] ?? past(i)),
      scale,
      plaintext,
    );
    return plaintext;
  }

  #encrypt(plaintext: Plaintext, { compression = "zstd", seeded = false, symmetric = false }: VectorForm): Buffer {
    if (seeded) {
      using ciphertext = this.#encryptor.encryptSymmetricSerializable(plaintext);
      return bytesOf(this.#seal, ciphertext, compression);
    }
    using ciphertext = new this.#seal.Ciphertext();
    if (symmetric) this.#encryptor.encryptSymmetric(plaintext, ciphertext);
    else this.#encryptor.encrypt(plaintext, ciphertext);
    return bytesOf(this.#seal, ciphertext, compression);
  }
}

/** 1, 2, 4, ... up to a largest step. */
export function stepsUpTo(largest: number): number[] {
  return Array.from({ length: Math.log2(largest) + 1 }, (_, k) => 2 ** k);
}

/** The scale that is written in a SEAL Ciphertext. */
export function scaleOf(uncompressed: Uint8Array): number {
  return Buffer.from(uncompressed).readDoubleLE(CIPHERTEXT_SCALE_AT);
}

interface Savable {
  saveToArray(mode: MainModule["ComprModeType"][Compression]): unknown;
}

function bytesOf(seal: MainModule, object: Savable, compression: Compression): Buffer {
  return Buffer.from(object.saveToArray(seal.ComprModeType[compression]) as Uint8Array);
}

function sha256Hex(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
