import { tensealDamaged } from "./tenseal-refusal.ts";

/** Chunks of any length, as a file or a network gives them. */
export type ByteSource = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/**
 * Reads bytes in order and keeps one chunk of them at a time. Its methods throw ClientError TENSEAL_INVALID where they
 * end too early.
 */
export class ByteStream {
  readonly #chunks: AsyncIterator<Uint8Array> | Iterator<Uint8Array>;
  readonly #name: string;
  #chunk: Uint8Array = new Uint8Array();
  #position = 0;

  /** `name`: what messages call the bytes. */
  constructor(source: ByteSource, name: string) {
    this.#chunks = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
    this.#name = name;
  }

  /** How many bytes were read. */
  get position(): number {
    return this.#position;
  }

  /** Whether there are no more bytes. */
  async ended(): Promise<boolean> {
    while (this.#chunk.length === 0) {
      const next = await this.#chunks.next();
      if (next.done === true) return true;
      this.#chunk = next.value;
    }
    return false;
  }

  /** The next `length` bytes as views of the chunks that they came in. */
  async *parts(length: number): AsyncGenerator<Uint8Array, void, undefined> {
    for (let left = length; left > 0; ) {
      const part = await this.#next(left);
      left -= part.length;
      yield part;
    }
  }

  /** Copies the next `length` bytes to `target`, from `offset` on. */
  async copyTo(target: Uint8Array, offset: number, length: number): Promise<void> {
    for (let at = offset; at < offset + length; ) {
      const part = await this.#next(offset + length - at);
      target.set(part, at);
      at += part.length;
    }
  }

  /** The next `length` bytes, as a copy: for few. */
  async take(length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    await this.copyTo(bytes, 0, length);
    return bytes;
  }

  /** The next byte. */
  async u8(): Promise<number> {
    return new DataView((await this.take(1)).buffer).getUint8(0);
  }

  /** The next 8 bytes as a little-endian number. Throws ClientError TENSEAL_INVALID, also above 2^53. */
  async u64(): Promise<number> {
    const value = Number(new DataView((await this.take(8)).buffer).getBigUint64(0, true));
    if (!Number.isSafeInteger(value)) throw tensealDamaged(this.#name, "a length in it is out of range");
    return value;
  }

  /** Passes over the next `length` bytes. */
  async skip(length: number): Promise<void> {
    for (let left = length; left > 0; ) left -= (await this.#next(left)).length;
  }

  async #next(most: number): Promise<Uint8Array> {
    if (await this.ended()) throw tensealDamaged(this.#name, "it ends too early");
    const part = this.#chunk.subarray(0, most);
    this.#chunk = this.#chunk.subarray(part.length);
    this.#position += part.length;
    return part;
  }
}
