import {
  CIPHERTEXT_HEADER_BYTES,
  PARMS_ID_BYTES,
  SEAL_HEADER_BYTES,
  isSealObject,
  writeSealHeader,
} from "@veilface/fhe";
import type { ByteStream } from "./byte-stream.ts";
import { keyBytes } from "./seal-parameters.ts";
import { tensealDamaged, tensealInvalid } from "./tenseal-refusal.ts";

/** What is kept of keys, and what they were made for. */
export interface Trimming {
  readonly degree: number;
  /** How many data primes the keys are for. */
  readonly dataPrimes: number;
  /** How many of the first ones stay. */
  readonly keptPrimes: number;
  /** SEAL's hash of the parameters that stay; undefined where all do. */
  readonly keyParmsId: Uint8Array | undefined;
  /** What messages call the file. */
  readonly name: string;
}

// A Ciphertext's header (fhe/seal-bytes.ts): where its parts lie.
const [COMPONENTS_AT, DEGREE_AT, PRIMES_AT] = [49, 57, 65];
const NESTED_AT = CIPHERTEXT_HEADER_BYTES - SEAL_HEADER_BYTES - 8;
const WORDS_AT = CIPHERTEXT_HEADER_BYTES - 8;

/**
 * Reads the body of SEAL's KSwitchKeys and gives the whole object again with the keys at `indices` alone, and of these
 * what belongs to the primes that stay. A key has a ciphertext for each data prime, which encrypts what it is a key for
 * modulo that prime, and zero modulo the others: so what is left is a key of the shorter chain of primes. Throws
 * ClientError TENSEAL_INVALID, also for a missing key.
 */
export async function trimKeys(
  body: ByteStream,
  indices: ReadonlySet<number>,
  trimming: Trimming,
): Promise<Uint8Array> {
  return new KeyTrimmer(body, trimming).run(indices);
}

class KeyTrimmer {
  readonly #body: ByteStream;
  readonly #trimming: Trimming;
  #out: Uint8Array = new Uint8Array();
  #at = 0;

  constructor(body: ByteStream, trimming: Trimming) {
    this.#body = body;
    this.#trimming = trimming;
  }

  async run(indices: ReadonlySet<number>): Promise<Uint8Array> {
    const { degree, dataPrimes, keptPrimes, keyParmsId } = this.#trimming;
    const parmsId = await this.#body.take(PARMS_ID_BYTES);
    const count = await this.#body.u64();
    if (count > degree) throw this.#damaged();
    this.#out = new Uint8Array(
      SEAL_HEADER_BYTES + PARMS_ID_BYTES + 8 + 8 * count + keyBytes(degree, keptPrimes, indices.size),
    );
    this.#at = SEAL_HEADER_BYTES;
    this.#write(keyParmsId ?? parmsId);
    this.#writeU64(count);
    let kept = 0;
    for (let index = 0; index < count; index++) {
      const parts = await this.#body.u64();
      if (parts !== 0 && parts !== dataPrimes) throw this.#damaged();
      const wanted = parts !== 0 && indices.has(index);
      this.#writeU64(wanted ? keptPrimes : 0);
      for (let part = 0; part < parts; part++) await this.#part(wanted && part < keptPrimes);
      kept += Number(wanted);
    }
    if (kept < indices.size) throw new MissingKeys();
    const whole = this.#out.subarray(0, this.#at);
    writeSealHeader(whole, 0, whole.length);
    return whole;
  }

  /** A ciphertext of a key. */
  async #part(wanted: boolean): Promise<void> {
    const header = await this.#body.take(CIPHERTEXT_HEADER_BYTES);
    const size = this.#checkedSize(header);
    const rest = size - header.length;
    if (!wanted) return this.#body.skip(rest);
    const { keyParmsId } = this.#trimming;
    if (keyParmsId !== undefined) return this.#shorterPart({ header, parmsId: keyParmsId }, rest);
    this.#write(header);
    await this.#copy(rest);
  }

  /** Each component has N words for each data prime, then for the reserved one. */
  async #shorterPart(
    { header, parmsId }: { readonly header: Uint8Array; readonly parmsId: Uint8Array },
    rest: number,
  ): Promise<void> {
    const { degree, dataPrimes, keptPrimes, name } = this.#trimming;
    if (rest !== 16 * (dataPrimes + 1) * degree) {
      throw tensealInvalid(
        name,
        "has keys with seeds in place of their second half, of which no primes can be dropped: write them without, as TenSEAL does",
      );
    }
    this.#write(shortenedHeader(header, { degree, primes: keptPrimes + 1, parmsId }));
    for (let component = 0; component < 2; component++) {
      await this.#copy(8 * degree * keptPrimes);
      await this.#body.skip(8 * degree * (dataPrimes - keptPrimes));
      await this.#copy(8 * degree);
    }
  }

  #checkedSize(header: Uint8Array): number {
    const { degree, dataPrimes } = this.#trimming;
    const view = new DataView(header.buffer);
    const u64 = (at: number): number => Number(view.getBigUint64(at, true));
    const size = u64(8);
    const full = CIPHERTEXT_HEADER_BYTES + 16 * (dataPrimes + 1) * degree;
    const fits =
      u64(COMPONENTS_AT) === 2 &&
      u64(DEGREE_AT) === degree &&
      u64(PRIMES_AT) === dataPrimes + 1 &&
      size <= full &&
      size >= full / 2;
    if (!isSealObject(header) || header[5] !== 0 || !fits) throw this.#damaged();
    return size;
  }

  #damaged(): Error {
    return tensealDamaged(this.#trimming.name, "its keys are not laid out as SEAL does for its encryption parameters");
  }

  #write(bytes: Uint8Array): void {
    this.#out.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  #writeU64(value: number): void {
    new DataView(this.#out.buffer).setBigUint64(this.#at, BigInt(value), true);
    this.#at += 8;
  }

  async #copy(length: number): Promise<void> {
    await this.#body.copyTo(this.#out, this.#at, length);
    this.#at += length;
  }
}

/** That not all keys were there; the caller knows what they are for. */
export class MissingKeys extends Error {
  override readonly name = "MissingKeys";
}

/** The header of a ciphertext of two components over so many primes, like another one's. */
export function shortenedHeader(
  header: Uint8Array,
  { degree, primes, parmsId }: { degree: number; primes: number; parmsId: Uint8Array },
): Uint8Array {
  const shorter = Uint8Array.from(header.subarray(0, CIPHERTEXT_HEADER_BYTES));
  const view = new DataView(shorter.buffer);
  const words = 2 * primes * degree;
  writeSealHeader(shorter, 0, CIPHERTEXT_HEADER_BYTES + 8 * words);
  shorter.set(parmsId, SEAL_HEADER_BYTES);
  view.setBigUint64(PRIMES_AT, BigInt(primes), true);
  writeSealHeader(shorter, NESTED_AT, SEAL_HEADER_BYTES + 8 + 8 * words);
  view.setBigUint64(WORDS_AT, BigInt(words), true);
  return shorter;
}
