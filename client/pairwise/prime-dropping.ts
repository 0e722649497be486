import { CIPHERTEXT_HEADER_BYTES, FheError, SEAL_HEADER_BYTES, PARMS_ID_BYTES, inflateSeal } from "@veilface/fhe";
import type { SealObjectLimits } from "@veilface/fhe";
import { CKKSVectorProto } from "@veilface/proto";
import { shortenedHeader } from "./key-trimmer.ts";
import type { OpenVector } from "./pairwise-wire.ts";
import { parmsIdsOf, readSealParameters, wholeChains } from "./seal-parameters.ts";
import type { SealParameters } from "./seal-parameters.ts";
import { tensealInvalid } from "./tenseal-refusal.ts";

/** What of a context says which level its vectors have there. */
export interface ServedContext {
  readonly contextId: string;
  readonly degree: number;
  /** Data primes that a vector has there. */
  readonly dataPrimes: number;
  /** SEAL's EncryptionParameters. */
  readonly encryptionParameters: Uint8Array;
}

/** A fresh ciphertext as far as dropping primes needs it. */
interface Fresh {
  readonly bytes: Uint8Array;
  readonly parmsId: Uint8Array;
  readonly degree: number;
  readonly dataPrimes: number;
}

// Two components of 64 primes at ring degree 32768, the most that SEAL takes.
const CIPHERTEXT: SealObjectLimits = {
  what: "ciphertext",
  maxBytes: 2 ** 25 + 1024,
  malformed: "CIPHERTEXT_MALFORMED",
  tooLarge: "CIPHERTEXT_TOO_LARGE",
};
const [DEGREE_AT, PRIMES_AT] = [57, 65];

/**
 * Drops the last primes of fresh vectors where their context was uploaded without these. In CKKS that is leaving out
 * the residues modulo them, which takes no key: the vector, its scale and its noise stay what they are.
 */
export class PrimeDropper {
  readonly #context: ServedContext;
  /** By SEAL's hash of the vector's level: that of the level it goes to. */
  readonly #levels = new Map<string, Promise<Uint8Array>>();

  constructor(context: ServedContext) {
    this.#context = context;
  }

  /**
   * The vector at the context's level; as it is where it has no more primes. Throws ClientError TENSEAL_INVALID where
   * it is of other parameters than the context's were before its upload. `name`: of its file.
   */
  async fit(vector: OpenVector, name: string): Promise<OpenVector> {
    const fresh = freshOf(vector.ciphertext);
    if (fresh?.degree !== this.#context.degree || fresh.dataPrimes <= this.#context.dataPrimes) return vector;
    const { dataPrimes: kept, degree } = this.#context;
    if (fresh.bytes.length !== CIPHERTEXT_HEADER_BYTES + 16 * fresh.dataPrimes * degree) {
      throw tensealInvalid(
        name,
        "has a seed in place of its second half, of which no primes can be dropped: write it without, as TenSEAL does",
      );
    }
    const ciphertext = withoutPrimes(fresh, kept, await this.#levelOf(fresh, name));
    return {
      ...vector,
      ciphertext,
      bytes:
        vector.tenseal === undefined
          ? ciphertext
          : CKKSVectorProto.encode({ ...vector.tenseal, ciphertexts: [ciphertext] }).finish(),
    };
  }

  #levelOf(fresh: Fresh, name: string): Promise<Uint8Array> {
    const key = Buffer.from(fresh.parmsId).toString("hex");
    const known = this.#levels.get(key);
    if (known !== undefined) return known;
    const level = this.#findLevel(fresh, name);
    level.catch(() => this.#levels.delete(key));
    this.#levels.set(key, level);
    return level;
  }

  // The residues do not show whether they are those of our primes, so that it is held to SEAL's hash of the whole
  // chain.
  async #findLevel({ parmsId, dataPrimes }: Fresh, name: string): Promise<Uint8Array> {
    const { contextId, degree, encryptionParameters } = this.#context;
    const parameters = readSealParameters(encryptionParameters, `context ${contextId}`);
    for (const chain of await wholeChains(degree, parameters.primes, dataPrimes)) {
      const { data } = await parmsIdsOf(degree, chain, name);
      if (Buffer.from(data).equals(parmsId)) return (await parmsIdsOf(degree, parameters.primes, name)).data;
    }
    throw tensealInvalid(
      name,
      `has ${dataPrimes} primes, which are not those of the context with some more at the end: expected a fresh vector of the context's own parameters`,
    );
  }
}

/**
 * Whether primes that are dropped from the end of a context's can be found again from those that stay, as fitting its
 * vectors needs: where they were chosen by their sizes, as TenSEAL does, and those dropped are of one size.
 */
export async function canFindAgain(whole: SealParameters, kept: SealParameters): Promise<boolean> {
  const chains = await wholeChains(whole.degree, kept.primes, whole.primes.length - 1);
  return chains.some((chain) => chain.every((prime, k) => prime === whole.primes[k]));
}

/** Undefined for what is no ciphertext as SEAL writes it, which is for the server to refuse. */
function freshOf(data: Uint8Array): Fresh | undefined {
  const bytes = inflatedCiphertext(data);
  if (bytes === undefined || bytes.length < CIPHERTEXT_HEADER_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const u64 = (at: number): number => Number(view.getBigUint64(at, true));
  const parmsId = bytes.slice(SEAL_HEADER_BYTES, SEAL_HEADER_BYTES + PARMS_ID_BYTES);
  return { bytes, parmsId, degree: u64(DEGREE_AT), dataPrimes: u64(PRIMES_AT) };
}

function inflatedCiphertext(data: Uint8Array): Uint8Array | undefined {
  try {
    return inflateSeal(data, CIPHERTEXT);
  } catch (error) {
    if (error instanceof FheError) return undefined;
    throw error;
  }
}

/** Of each component the first `kept` primes' residues. */
function withoutPrimes({ bytes, degree, dataPrimes }: Fresh, kept: number, parmsId: Uint8Array): Uint8Array {
  const header = shortenedHeader(bytes, { degree, primes: kept, parmsId });
  const [component, part] = [8 * degree * dataPrimes, 8 * degree * kept];
  const words = [0, 1].map((k) => bytes.subarray(header.length + k * component, header.length + k * component + part));
  return Buffer.concat([header, ...words]);
}
