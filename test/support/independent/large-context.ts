// A public TenSEAL context of hundreds of megabytes, written without ever being in memory: the keys that a test needs
// are real, the others are copies of one of them, which nobody reads.
import { createReadStream, createWriteStream } from "node:fs";
import { open, rm, stat } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { createZstdCompress } from "node:zlib";
import type { EvaluationKeys, TensealMaker } from "./tenseal-maker.ts";

const HEADER_BYTES = 16;
// parms_id and the count of entries.
const ENTRIES_AT = HEADER_BYTES + 32 + 8;
const PART_HEADER_BYTES = 113;
const ZSTD_MAGIC = 0xfd2fb528;
const EMPTY_FRAME_BYTES = 9;

/** What `generate_galois_keys()` makes: rotations by 1, 2, 4, ... N/4 both ways, and conjugation. */
const keysOfDegree = (degree: number): number => 2 * (Math.log2(degree) - 1) + 1;

/** Writes it as TenSEAL does, compressed with zstd, with as many Galois keys as TenSEAL makes. Returns its length. */
export async function writeLargeContext(path: string, maker: TensealMaker, keys: EvaluationKeys): Promise<number> {
  const body = `${path}.part`;
  await pipeline(galoisBody(maker, keys), createZstdCompress(), createWriteStream(body));
  const size = await withoutEmptyFrame(body);
  const galois = { header: sealHeader(HEADER_BYTES + size), length: HEADER_BYTES + size };
  const scale = Buffer.alloc(8);
  scale.writeDoubleLE(maker.parameters.scale);
  const publicPart = Buffer.concat([
    field(1, maker.publicKey()),
    Buffer.of(16, 7, 25),
    scale,
    field(4, keys.relinKeys()),
    tag(5, galois.length),
    galois.header,
  ]);
  const head = Buffer.concat([field(1, maker.encryptionParameters()), tag(2, publicPart.length + size), publicPart]);
  await pipeline(async function* () {
    yield head;
    yield* createReadStream(body) as AsyncIterable<Buffer>;
  }, createWriteStream(path));
  await rm(body);
  return (await stat(path)).size;
}

// Node ends the stream twice, and so has a second frame with nothing in it, which SEAL does not write.
async function withoutEmptyFrame(path: string): Promise<number> {
  await using file = await open(path, "r+");
  const { size } = await file.stat();
  const end = Buffer.alloc(EMPTY_FRAME_BYTES);
  await file.read(end, 0, end.length, size - end.length);
  if (end.readUInt32LE() !== ZSTD_MAGIC) return size;
  await file.truncate(size - end.length);
  return size - end.length;
}

function* galoisBody(maker: TensealMaker, keys: EvaluationKeys): Generator<Buffer, void, undefined> {
  const { degree, primeBits } = maker.parameters;
  const bytes = keys.galoisKeys({ compression: "none" });
  const keyBytes = (primeBits.length - 1) * (PART_HEADER_BYTES + 16 * primeBits.length * degree);
  const parts = Buffer.alloc(8);
  parts.writeUInt8(primeBits.length - 1);
  let missing = keysOfDegree(degree);
  let copied: Buffer | undefined;
  yield bytes.subarray(HEADER_BYTES, ENTRIES_AT);
  for (let at = ENTRIES_AT; at < bytes.length; ) {
    const real = bytes[at] !== 0;
    const key = real ? bytes.subarray(at + 8, at + 8 + keyBytes) : missing > 8 ? copied : undefined;
    copied ??= key;
    missing -= Number(key !== undefined);
    yield key === undefined ? Buffer.alloc(8) : parts;
    if (key !== undefined) yield key;
    at += real ? 8 + keyBytes : 8;
  }
}

function sealHeader(length: number): Buffer {
  const header = Buffer.from([0x5e, 0xa1, HEADER_BYTES, 4, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  header.writeBigUInt64LE(BigInt(length), 8);
  return header;
}

function field(number: number, bytes: Buffer): Buffer {
  return Buffer.concat([tag(number, bytes.length), bytes]);
}

function tag(number: number, length: number): Buffer {
  const varint = [8 * number + 2];
  for (let rest = length; ; rest = Math.floor(rest / 128)) {
    varint.push((rest % 128) + (rest >= 128 ? 128 : 0));
    if (rest < 128) return Buffer.from(varint);
  }
}
