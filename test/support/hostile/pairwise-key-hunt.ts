// Tries everything in a data folder as a secret key: as SEAL would load one, and every polynomial as the key's own.
import initialize from "node-seal";
import type { MainModule, SEALContext, SecretKey } from "node-seal";
import { open } from "lmdb";
import type { Database } from "lmdb";
import { sealEnvelope } from "../independent/independent-crypto.ts";
import { DEGREE, IndependentRing } from "../../../scripts/vectors/independent-ring.ts";

const HEADER_BYTES = 16;
// SEAL's header without compression, up to the length: what an object without it begins with is no object.
const MAGIC = Buffer.of(0x5e, 0xa1, HEADER_BYTES);
const WORD_COUNT_BYTES = 8;
const DIGEST_BYTES = 32;
/** Coefficients in a tile of a packed block. */
const TILE = 4;
// Of 2048 slots under a wrong key: 22 standard deviations.
const RESEMBLANCE = 0.5;

/** All values of all tables in an LMDB folder that no process has open, each table in the order of its keys. */
export async function storedTables(folder: string): Promise<Map<string, Buffer[]>> {
  const root = open<Buffer, string>(folder, { readOnly: true, encoding: "binary", maxDbs: 64, noSubdir: false });
  try {
    const tables = new Map<string, Buffer[]>();
    // Opening a table ends the transaction that a range is read in.
    for (const name of [...root.getKeys()]) {
      // Undefined for a key of the root table that is no table's name.
      const table = root.openDB<Buffer, Buffer>(name, { encoding: "binary", keyEncoding: "binary" }) as
        | Database<Buffer, Buffer>
        | undefined;
      tables.set(
        name,
        table === undefined
          ? [Buffer.from(root.get(name)!)]
          : Array.from(table.getRange(), ({ value }) => Buffer.from(value)),
      );
    }
    return tables;
  } finally {
    await root.close();
  }
}

/** N residues. */
type Polynomial = BigUint64Array;

/**
 * Every run of polynomials in the values of a table: words of 64 bits in SEAL objects, which may go on from value to
 * value; words of 32 bits with and without a digest before them; and those of packed blocks, whose pieces share tiles
 * and go on from value to value.
 */
export function polynomialRuns(values: readonly Buffer[]): Polynomial[][] {
  const whole = Buffer.concat(values);
  const objects = occurrences(whole, MAGIC).map((at) => wordsOfObject(whole, at));
  const bare = values.flatMap((value) => [0, DIGEST_BYTES].map((at) => words32(value, at)));
  const pairs = values.slice(1).map((value, i) => words32(Buffer.concat([values[i]!, value]), 0));
  const tiled = [...bare, ...pairs].flatMap(untiled);
  return [...objects, ...bare, ...tiled].map(polynomialsOf).filter((run) => run.length > 0);
}

function occurrences(bytes: Buffer, part: Buffer): number[] {
  const found: number[] = [];
  for (let at = bytes.indexOf(part); at >= 0; at = bytes.indexOf(part, at + 1)) found.push(at);
  return found;
}

/** The words of an object whose body is a count of words and so many words; none for another. */
function wordsOfObject(bytes: Buffer, at: number): BigUint64Array {
  const object = objectAt(bytes, at);
  const room = (object.length - HEADER_BYTES - WORD_COUNT_BYTES) / 8;
  if (!(room > 0) || object.readBigUInt64LE(HEADER_BYTES) !== BigInt(Math.floor(room))) return new BigUint64Array(0);
  return new BigUint64Array(Uint8Array.from(object.subarray(HEADER_BYTES + WORD_COUNT_BYTES)).buffer);
}

/** The object whose header is there, or as much of it as there is. */
function objectAt(bytes: Buffer, at: number): Buffer {
  return bytes.length - at < HEADER_BYTES
    ? bytes.subarray(at)
    : bytes.subarray(at, at + Number(bytes.readBigUInt64LE(at + 8)));
}

/** Whole polynomials of words of 32 bits; none if the bytes are no such polynomials. */
function words32(bytes: Buffer, at: number): BigUint64Array {
  const body = Uint8Array.from(bytes.subarray(at));
  if (body.length % (4 * DEGREE) !== 0) return new BigUint64Array(0);
  return BigUint64Array.from(new Uint32Array(body.buffer), BigInt);
}

/**
 * [prime][tile][piece][component][T] to [piece][component][prime][coefficient], for every number of primes and pieces
 * that fits.
 */
function untiled(words: BigUint64Array): BigUint64Array[] {
  return [1, 2].flatMap((primes) => {
    const pieces = words.length / (2 * primes * DEGREE);
    return Number.isInteger(pieces) && pieces > 0 ? [untile(words, primes, pieces)] : [];
  });
}

function untile(words: BigUint64Array, primes: number, pieces: number): BigUint64Array {
  const result = new BigUint64Array(words.length);
  for (let i = 0; i < words.length; i++) {
    const run = Math.floor(i / TILE);
    const component = run % 2;
    const piece = Math.floor(run / 2) % pieces;
    const tile = Math.floor(run / (2 * pieces)) % (DEGREE / TILE);
    const prime = Math.floor(i / (2 * pieces * DEGREE));
    result[((piece * 2 + component) * primes + prime) * DEGREE + tile * TILE + (i % TILE)] = words[i]!;
  }
  return result;
}

function polynomialsOf(words: BigUint64Array): Polynomial[] {
  return Array.from({ length: Math.floor(words.length / DEGREE) }, (_, i) =>
    words.subarray(i * DEGREE, (i + 1) * DEGREE),
  );
}

/** Ciphertexts of one key, and what they are to be read as. */
export class KeyHunt implements Disposable {
  readonly #seal: MainModule;
  readonly #owned = new DisposableStack();
  readonly #context: SEALContext;
  /** The data primes. */
  readonly #rings: readonly IndependentRing[];
  readonly #parmsId: Buffer;
  readonly #prey: readonly { readonly ciphertext: Buffer; readonly truth: Float64Array }[];

  /**
   * `primes`: the reserved one last. `secretKey`: SEAL's bytes of the real key. `ciphertexts`: uncompressed SEAL bytes
   * under it.
   */
  static async create(primes: readonly bigint[], secretKey: Buffer, ciphertexts: readonly Buffer[]): Promise<KeyHunt> {
    return new KeyHunt(await initialize(), primes, secretKey, ciphertexts);
  }

  private constructor(seal: MainModule, primes: readonly bigint[], secretKey: Buffer, ciphertexts: readonly Buffer[]) {
    this.#seal = seal;
    const parameters = this.#owned.use(new seal.EncryptionParameters(seal.SchemeType.ckks));
    parameters.setPolyModulusDegree(DEGREE);
    parameters.setCoeffModulus(
      this.#owned.use(seal.vecFromArrayModulus(primes.map((prime) => this.#owned.use(new seal.Modulus(prime))))),
    );
    this.#context = this.#owned.use(new seal.SEALContext(parameters, true, seal.SecLevelType.none));
    this.#rings = primes.slice(0, -1).map((prime) => new IndependentRing(prime));
    using parmsId = this.#context.keyParmsId();
    this.#parmsId = Buffer.from((parmsId.values() as BigUint64Array).slice().buffer);
    this.#prey = ciphertexts.map((ciphertext) => ({ ciphertext, truth: this.#slotsUnder(secretKey, ciphertext)! }));
  }

  /** What the real key reads in each ciphertext. */
  get truths(): readonly Float64Array[] {
    return this.#prey.map(({ truth }) => truth);
  }

  /** How many of a table's values and polynomials work as the key: each is tried, as it stands and as coefficients. */
  keysAmong(values: readonly Buffer[]): { readonly tried: number; readonly worked: number } {
    const candidates = [...this.#loadable(values), ...this.#made(polynomialRuns(values))];
    return { tried: candidates.length, worked: candidates.filter((candidate) => this.#works(candidate)).length };
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }

  /** Values, and SEAL objects inside them or across them. */
  #loadable(values: readonly Buffer[]): Buffer[] {
    const whole = Buffer.concat(values);
    return [...values, ...occurrences(whole, MAGIC).map((at) => objectAt(whole, at))];
  }

  /** Keys whose polynomials are those of a run, one for each data prime. */
  #made(runs: readonly (readonly Polynomial[])[]): Buffer[] {
    return runs.flatMap((run) =>
      run.slice(this.#rings.length - 1).flatMap((_, i) => {
        const group = this.#rings.map((ring, k) => Array.from(run[i + k]!, (x) => x % ring.prime));
        return [group, group.map((coefficients, k) => this.#rings[k]!.forward(coefficients))].map((key) =>
          this.#keyBytes(key),
        );
      }),
    );
  }

  /** An uncompressed SEAL SecretKey. What it is modulo the reserved prime does not matter for decryption. */
  #keyBytes(residues: readonly (readonly bigint[])[]): Buffer {
    const words = BigUint64Array.from([...residues.flat(), ...new Array<bigint>(DEGREE).fill(0n)]);
    const count = Buffer.alloc(8);
    count.writeBigUInt64LE(BigInt(words.length));
    const scale = Buffer.alloc(8);
    scale.writeDoubleLE(1);
    const body = uncompressed(Buffer.concat([count, Buffer.from(words.buffer)]));
    return uncompressed(Buffer.concat([this.#parmsId, count, scale, body]));
  }

  #works(candidate: Buffer): boolean {
    return this.#prey.some(({ ciphertext, truth }) => {
      const found = this.#slotsUnder(candidate, ciphertext);
      return found !== undefined && Math.abs(correlation(found, truth)) > RESEMBLANCE;
    });
  }

  /** All slots of a ciphertext, decrypted with a key that SEAL is to load; undefined if it does not. */
  #slotsUnder(secretKey: Buffer, data: Buffer): Float64Array | undefined {
    using owned = new DisposableStack();
    const key = owned.use(new this.#seal.SecretKey());
    if (!this.#loads(key, secretKey)) return undefined;
    const ciphertext = owned.use(new this.#seal.Ciphertext());
    ciphertext.loadFromArray(this.#context, new Uint8Array(data));
    const plaintext = owned.use(new this.#seal.Plaintext());
    owned.use(new this.#seal.Decryptor(this.#context, key)).decrypt(ciphertext, plaintext);
    return owned.use(new this.#seal.CKKSEncoder(this.#context)).decodeFloat64(plaintext) as Float64Array;
  }

  #loads(key: SecretKey, bytes: Buffer): boolean {
    try {
      key.loadFromArray(this.#context, new Uint8Array(bytes));
      return true;
    } catch {
      return false;
    }
  }
}

function uncompressed(body: Buffer): Buffer {
  const bytes = sealEnvelope("zlib", body);
  bytes.writeUInt8(0, 5);
  return bytes;
}

function correlation(a: Float64Array, b: Float64Array): number {
  const dot = (x: Float64Array, y: Float64Array): number => x.reduce((sum, value, i) => sum + value * y[i]!, 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}
