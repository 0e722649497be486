import type { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { constants, createInflate, createZstdDecompress } from "node:zlib";
import { SEAL_HEADER_BYTES, isSealObject } from "@veilface/fhe";
import { ByteStream } from "./byte-stream.ts";
import { tensealDamaged } from "./tenseal-refusal.ts";

/** A SEAL object within a larger stream. */
interface StreamedObject {
  /** Its bytes in all, header included. */
  readonly length: number;
  /** What messages call the stream. */
  readonly name: string;
  /** What messages call the object. */
  readonly what: string;
}

const [NONE, ZLIB, ZSTD] = [0, 1, 2];
const SIZE_AT = 8;
// The residues of a key are random: those of 20-bit primes, the smallest in use, shrink to a third. More is no key, but
// a bomb.
const MOST_EXPANSION = 32;
// Of a window that a zstd frame asks for: the most that SEAL's writer does, at its compression level, is 2 MB.
const WINDOW_LOG_MAX = 27;

/**
 * Reads a SEAL object from the stream: `read` gets what follows its header, inflated, and must read all of it. Never
 * holds the object whole. Throws ClientError TENSEAL_INVALID for an object that is not whole, and what `read` throws.
 */
export async function readSealStream<T>(
  stream: ByteStream,
  { length, name, what }: StreamedObject,
  read: (body: ByteStream) => Promise<T>,
): Promise<T> {
  const damaged = (): Error => tensealDamaged(name, `there is no whole SEAL object for its ${what}`);
  if (length < SEAL_HEADER_BYTES) throw damaged();
  const header = await stream.take(SEAL_HEADER_BYTES);
  const size = new DataView(header.buffer).getBigUint64(SIZE_AT, true);
  if (!isSealObject(header) || size !== BigInt(length)) throw damaged();
  const bytes = length - SEAL_HEADER_BYTES;
  const inflating =
    header[5] === NONE ? undefined : { inflater: inflater(header[5]) ?? raise(damaged()), bytes, damaged };
  const parts = stream.parts(bytes);
  const body = new ByteStream(inflating === undefined ? parts : inflated(parts, inflating), name);
  const result = await read(body);
  if (!(await body.ended())) throw damaged();
  return result;
}

interface Inflating {
  readonly inflater: Transform & { readonly bytesWritten?: number };
  /** How many bytes it is to inflate. */
  readonly bytes: number;
  readonly damaged: () => Error;
}

function inflater(compression: number | undefined): Transform | undefined {
  if (compression === ZLIB) return createInflate();
  return compression === ZSTD
    ? createZstdDecompress({ params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG_MAX } })
    : undefined;
}

async function* inflated(
  body: AsyncIterable<Uint8Array>,
  { inflater, bytes, damaged }: Inflating,
): AsyncGenerator<Uint8Array, void, undefined> {
  const source: { error?: Error } = {};
  const piped = pipeline(remembering(body, source), inflater);
  // Awaited below; a consumer that stops before must not leave it unheard.
  piped.catch(() => undefined);
  let inflatedBytes = 0;
  try {
    // Node declares no type of a stream's chunks; without an encoding they are buffers.
    for await (const chunk of inflater as AsyncIterable<Buffer>) {
      inflatedBytes += chunk.length;
      if (inflatedBytes > MOST_EXPANSION * bytes) throw damaged();
      yield chunk;
    }
    await piped;
  } catch {
    throw source.error ?? damaged();
  }
  // node:zlib passes over what follows the compressed stream.
  if (inflater.bytesWritten !== bytes) throw damaged();
}

/** What ended the source, rather than what the inflater makes of it. */
async function* remembering(
  source: AsyncIterable<Uint8Array>,
  failed: { error?: Error },
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* source;
  } catch (error) {
    if (error instanceof Error) failed.error = error;
    throw error;
  }
}

function raise(error: Error): never {
  throw error;
}
