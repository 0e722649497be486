import { galoisKeyIndex, rotationSteps } from "@veilface/fhe";
import { KeyMaterial } from "@veilface/proto";
import { ClientError } from "../errors.ts";
import { decodedStream } from "./base64-stream.ts";
import { ByteStream } from "./byte-stream.ts";
import type { ByteSource } from "./byte-stream.ts";
import { MissingKeys, trimKeys } from "./key-trimmer.ts";
import type { Trimming } from "./key-trimmer.ts";
import type { ContextUpload } from "./key-upload.ts";
import { readSealStream } from "./seal-stream.ts";
import { canFindAgain } from "./prime-dropping.ts";
import { dataPrimesThatFit, parmsIdsOf, readSealParameters, withDataPrimes } from "./seal-parameters.ts";
import type { SealParameters } from "./seal-parameters.ts";
import { secretKeyRefused } from "./secret-key-guard.ts";
import { CKKS_ADVICE, CONTEXT_EXPECTED, KEYS_ADVICE, SECRET_ADVICE } from "./tenseal-advice.ts";
import { tensealDamaged, tensealInvalid } from "./tenseal-refusal.ts";

/** A TenSEAL context that is read as it comes. */
interface TrimmableContext {
  /** TenSEALContextProto without its secret key, raw or base64 text. */
  readonly source: ByteSource;
  /** Components of the vectors that will be compared, >= 1: the Galois keys that these need stay. */
  readonly dimension: number;
  /** What messages call it. */
  readonly name: string;
}

interface Field {
  readonly number: number;
  readonly wireType: number;
  /** Of a length-delimited field: its bytes, which follow. Otherwise 0. */
  readonly length: number;
}

const [VARINT, BIT64, LENGTH_DELIMITED] = [0, 1, 2];
const MOST_PARAMETER_BYTES = 4096;
const [RELIN_KEYS, GALOIS_KEYS] = [KeyMaterial.KEY_MATERIAL_SEAL_RELIN_KEYS, KeyMaterial.KEY_MATERIAL_SEAL_GALOIS_KEYS];

/**
 * What is uploaded of a public TenSEAL context for vectors of a dimension: SEAL's parameters, relinearization keys, and
 * Galois keys for rotations by the powers of two below it. Where that is more than a server takes, the last data primes
 * go too, as few as it takes: a ciphertext whose last primes are dropped is one of the shorter chain. Holds what is
 * kept, at most 64 MiB, and never the whole. Throws ClientError SECRET_KEY_REFUSED for a context with its secret key,
 * TENSEAL_INVALID for anything else than a public context with these keys, USAGE for a dimension that it has not the
 * slots for.
 */
export async function trimContext({ source, dimension, name }: TrimmableContext): Promise<ContextUpload> {
  if (!Number.isInteger(dimension) || dimension < 1)
    throw new ClientError("USAGE", `dimension ${dimension} is out of range: expected a whole number >= 1`);
  return new ContextTrimmer(new ByteStream(decodedStream(source, name), name), dimension, name).run();
}

class ContextTrimmer {
  readonly #stream: ByteStream;
  readonly #dimension: number;
  readonly #name: string;
  #parameters: SealParameters | undefined;
  #kept: (Trimming & { readonly parameters: SealParameters }) | undefined;
  #scale = 0;
  readonly #keys = new Map<KeyMaterial, Uint8Array>();

  constructor(stream: ByteStream, dimension: number, name: string) {
    this.#stream = stream;
    this.#dimension = dimension;
    this.#name = name;
  }

  async run(): Promise<ContextUpload> {
    if (await this.#stream.ended()) throw tensealInvalid(this.#name, `is empty: ${CONTEXT_EXPECTED}`);
    while (!(await this.#stream.ended())) await this.#contextField(await this.#field());
    if (this.#kept === undefined)
      throw tensealInvalid(this.#name, `is a TenSEAL context without its public part: ${CONTEXT_EXPECTED}`);
    const [relin, galois] = [this.#keys.get(RELIN_KEYS), this.#keys.get(GALOIS_KEYS)];
    if (!(this.#scale > 0 && Number.isFinite(this.#scale)))
      throw tensealInvalid(
        this.#name,
        "is a TenSEAL context without a scale: set context.global_scale and serialize it again",
      );
    if (relin === undefined)
      throw tensealInvalid(this.#name, `is a TenSEAL context without relinearization keys: ${KEYS_ADVICE}`);
    if (galois === undefined)
      throw tensealInvalid(this.#name, `is a TenSEAL context without Galois keys: ${KEYS_ADVICE}`);
    const keys = [
      { material: RELIN_KEYS, bytes: relin },
      { material: GALOIS_KEYS, bytes: galois },
    ];
    return { encryptionParameters: this.#kept.parameters.encoded, scale: this.#scale, keys };
  }

  // TenSEALContextProto: 1 encryption_parameters, 2 public_context, 3 private_context, 4 encryption_type.
  async #contextField({ number, wireType, length }: Field): Promise<void> {
    if (number === 1 && wireType === LENGTH_DELIMITED && this.#parameters === undefined)
      return this.#readParameters(length);
    if (number === 2 && wireType === LENGTH_DELIMITED && this.#parameters !== undefined && this.#kept === undefined)
      return this.#publicContext(length, this.#parameters);
    if (number === 3 && wireType === LENGTH_DELIMITED) throw secretKeyRefused(this.#name, SECRET_ADVICE);
    if (number !== 4 || wireType !== VARINT) throw this.#noContext();
    await this.#varint();
  }

  async #readParameters(length: number): Promise<void> {
    if (length > MOST_PARAMETER_BYTES) throw this.#noContext();
    const bytes = await this.#stream.take(length);
    // A vector's first field has its sizes.
    if (bytes[0] !== 0x5e) throw this.#noContext();
    this.#parameters = readSealParameters(bytes, this.#name);
    const slots = this.#parameters.degree / 2;
    if (this.#dimension > slots)
      throw new ClientError(
        "USAGE",
        `dimension ${this.#dimension} is out of range: a vector of ${this.#name} has at most ${slots} components`,
      );
  }

  // TenSEALPublicProto: 1 public_key, 2 auto_flags, 3 scale, 4 relin_keys, 5 galois_keys.
  async #publicContext(length: number, parameters: SealParameters): Promise<void> {
    const end = this.#stream.position + length;
    this.#kept = await this.#whatIsKept(parameters);
    while (this.#stream.position < end) {
      const field = await this.#field();
      if (field.length > end - this.#stream.position)
        throw tensealDamaged(this.#name, "a part of it is longer than the whole");
      await this.#publicField(field, this.#kept);
    }
    if (this.#stream.position > end) throw tensealDamaged(this.#name, "a part of it is longer than the whole");
  }

  async #publicField({ number, wireType, length }: Field, kept: Trimming): Promise<void> {
    if (number === 1 && wireType === LENGTH_DELIMITED) return this.#stream.skip(length);
    const material = { 4: RELIN_KEYS, 5: GALOIS_KEYS }[number];
    if (number === 2 && wireType === VARINT) await this.#varint();
    else if (number === 3 && wireType === BIT64)
      this.#scale = new DataView((await this.#stream.take(8)).buffer).getFloat64(0, true);
    else if (material === undefined || wireType !== LENGTH_DELIMITED || this.#keys.has(material))
      throw this.#noContext();
    else if (length > 0) this.#keys.set(material, await this.#trimmedKeys(material, length, kept));
  }

  async #trimmedKeys(material: KeyMaterial, length: number, kept: Trimming): Promise<Uint8Array> {
    const ofGalois = material === GALOIS_KEYS;
    const what = ofGalois ? "Galois keys" : "relinearization keys";
    const indices = ofGalois ? stepsFor(this.#dimension).map((step) => galoisKeyIndex(step, kept.degree)) : [0];
    try {
      return await readSealStream(this.#stream, { length, name: this.#name, what }, (body) =>
        trimKeys(body, new Set(indices), kept),
      );
    } catch (cause) {
      if (!(cause instanceof MissingKeys)) throw cause;
      const which = ofGalois
        ? `the Galois keys for rotations by ${stepsFor(this.#dimension).join(", ")}`
        : "relinearization keys";
      throw tensealInvalid(
        this.#name,
        `is a TenSEAL context without ${which}, which vectors of ${this.#dimension} components need: ${KEYS_ADVICE}`,
        cause,
      );
    }
  }

  async #whatIsKept(parameters: SealParameters): Promise<Trimming & { parameters: SealParameters }> {
    const { degree, primes } = parameters;
    const keptPrimes = dataPrimesThatFit(parameters, 1 + stepsFor(this.#dimension).length);
    const whole = { degree, dataPrimes: primes.length - 1, name: this.#name };
    // So few are for the server to refuse.
    if (keptPrimes === whole.dataPrimes || whole.dataPrimes < 2)
      return { ...whole, keptPrimes: whole.dataPrimes, keyParmsId: undefined, parameters };
    if (keptPrimes < 2)
      throw tensealInvalid(
        this.#name,
        `has keys too large for a server even without all others, at ring degree ${degree}: name a smaller dimension than ${this.#dimension}, or make the context with fewer primes`,
      );
    const shorter = withDataPrimes(parameters, keptPrimes);
    if (!(await canFindAgain(parameters, shorter)))
      throw tensealInvalid(
        this.#name,
        `has more primes than a server has room for, and the last of them are of several sizes: ${CKKS_ADVICE}`,
      );
    return {
      ...whole,
      keptPrimes,
      keyParmsId: (await parmsIdsOf(degree, shorter.primes, this.#name)).key,
      parameters: shorter,
    };
  }

  async #field(): Promise<Field> {
    const tag = await this.#varint();
    const field = { number: Math.floor(tag / 8), wireType: tag % 8 };
    return { ...field, length: field.wireType === LENGTH_DELIMITED ? await this.#varint() : 0 };
  }

  async #varint(): Promise<number> {
    let value = 0;
    for (let shift = 0; shift < 8; shift++) {
      const byte = await this.#stream.u8();
      value += (byte & 127) * 128 ** shift;
      if (byte < 128) return value;
    }
    throw this.#noContext();
  }

  #noContext(): Error {
    return tensealInvalid(this.#name, `is no TenSEAL context, or a damaged one: ${CONTEXT_EXPECTED}`);
  }
}

/** Every context has to have step 1. */
function stepsFor(dimension: number): number[] {
  return rotationSteps(Math.max(2, dimension));
}
