import { storedCorrupt } from "../../../errors.ts";
import { readU48, u32, u48 } from "./schema.ts";
import type { BlockRow, ChunkRow, LooseBlockRow, PackedBlockRow } from "./schema.ts";

const LOOSE = 1;
const PACKED = 2;

// Both kinds: kind, stride.
const HEAD = 3;
const MEMBER = 8;
// Count and first revision.
const PACKED_HEAD = HEAD + 8;
const SHA256_BYTES = 32;
const CHUNK = 6 + 4 + SHA256_BYTES;

export function encodeBlock(row: BlockRow): Buffer {
  return row.kind === "loose" ? encodeLoose(row) : encodePacked(row);
}

/** Throws ServerError STORED_CORRUPT, as all below. */
export function decodeBlock(bytes: Buffer): BlockRow {
  return blockKind(bytes) === "loose" ? decodeLoose(bytes) : decodePacked(bytes);
}

/** Without decoding the rest. */
export function blockKind(bytes: Buffer): BlockRow["kind"] {
  if (bytes[0] === LOOSE) return "loose";
  if (bytes[0] === PACKED) return "packed";
  throw storedCorrupt("the row of a block");
}

/** Without decoding the rest. */
export function blockStride(bytes: Buffer): number {
  if (bytes.length < HEAD) throw storedCorrupt("the row of a block");
  return bytes.readUInt16BE(1);
}

function encodeLoose({ stride, members }: LooseBlockRow): Buffer {
  const bytes = Buffer.alloc(HEAD + members.length * MEMBER);
  bytes.writeUInt8(LOOSE, 0);
  bytes.writeUInt16BE(stride, 1);
  members.forEach(({ slot, blob }, i) => {
    bytes.writeUInt16BE(slot, HEAD + i * MEMBER);
    bytes.writeUIntBE(blob, HEAD + i * MEMBER + 2, 6);
  });
  return bytes;
}

function decodeLoose(bytes: Buffer): LooseBlockRow {
  const count = (bytes.length - HEAD) / MEMBER;
  if (!Number.isInteger(count) || count < 0) throw storedCorrupt("the row of a block");
  const members = Array.from({ length: count }, (_, i) => {
    const offset = HEAD + i * MEMBER;
    return { slot: bytes.readUInt16BE(offset), blob: readU48(bytes, offset + 2) };
  });
  return { kind: "loose", stride: blockStride(bytes), members };
}

function encodePacked({ stride, count, firstRevision, chunks }: PackedBlockRow): Buffer {
  const head = Buffer.alloc(PACKED_HEAD);
  head.writeUInt8(PACKED, 0);
  head.writeUInt16BE(stride, 1);
  head.writeUInt16BE(count, HEAD);
  head.writeUIntBE(firstRevision, HEAD + 2, 6);
  return Buffer.concat([head, encodeChunks(chunks)]);
}

function decodePacked(bytes: Buffer): PackedBlockRow {
  if (bytes.length < PACKED_HEAD) throw storedCorrupt("the row of a block");
  const chunks = decodeChunks(bytes.subarray(PACKED_HEAD));
  return {
    kind: "packed",
    stride: blockStride(bytes),
    count: bytes.readUInt16BE(HEAD),
    firstRevision: readU48(bytes, HEAD + 2),
    chunks,
  };
}

export function encodeChunks(chunks: readonly ChunkRow[]): Buffer {
  return Buffer.concat(chunks.flatMap(({ blob, bytes, sha256 }) => [u48(blob), u32(bytes), sha256]));
}

export function decodeChunks(bytes: Buffer): ChunkRow[] {
  if (bytes.length % CHUNK !== 0) throw storedCorrupt("a row that lists chunks");
  return Array.from({ length: bytes.length / CHUNK }, (_, i) => {
    const offset = i * CHUNK;
    return {
      blob: readU48(bytes, offset),
      bytes: bytes.readUInt32BE(offset + 6),
      sha256: bytes.subarray(offset + CHUNK - SHA256_BYTES, offset + CHUNK),
    };
  });
}
