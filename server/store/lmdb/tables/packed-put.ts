import { webcrypto } from "node:crypto";
import { DEGREE } from "@veilface/fhe";
import { ServerError } from "../../../errors.ts";
import { MIN_BLOB_BYTES, putBlob } from "../disk/blob-store.ts";
import type { PackedBlock } from "../../gallery-store.ts";
import { INDEX_BYTES_PER_ID } from "../rows/id-index.ts";
import { u48 } from "../rows/schema.ts";
import type { ChunkRow, Tables } from "../rows/schema.ts";
import { LARGEST_CHUNK_BYTES } from "../rows/packed-chunks.ts";
import type { StorageRoom } from "../disk/storage-room.ts";
import type { WriteQueue } from "../disk/write-queue.ts";

// What a block may add beside its chunks and ids: a change of every tree on the way to its rows.
const ROWS_BYTES = 64 * 1024;
const PAGE_BYTES = 4096;
const MOST_SLOTS = DEGREE;
/** Writing so much holds the event loop for some 5 ms, and for 15 where memory is slow to come by. */
const STAGE_BYTES = 2 * 2 ** 20;

/** A chunk with its SHA-256. */
interface HashedChunk {
  readonly chunk: Uint8Array;
  readonly sha256: Buffer;
}

/** Where blocks are written. */
interface BlockWriting {
  readonly tables: Tables;
  readonly queue: WriteQueue;
  readonly room: StorageRoom;
}

/** A packed block that is ready for the write transaction that makes it live. */
export interface ReadyBlock {
  /** About how much that transaction writes. */
  readonly bytes: number;
  /** Inside it: stores the chunks, or takes over those that are stored already. */
  readonly store: () => ChunkRow[];
  /** Blobs that are stored already, and to be erased if the block does not become live. */
  readonly staged: readonly number[];
}

/**
 * Checks a packed block, hashes its chunks in other threads, and stores those of a long one, some at a time: as doomed
 * ones, which the next opening erases, until the block becomes live. Throws ServerError BLOCK_INVALID, STORAGE_FULL.
 */
export async function readyBlock(
  writing: BlockWriting,
  block: PackedBlock,
  findReplaced: () => Promise<void>,
): Promise<ReadyBlock> {
  checkBlock(block);
  // First, as nothing is stored yet if it fails.
  await findReplaced();
  const hashed: HashedChunk[] = [];
  for (const chunk of block.chunks) hashed.push({ chunk, sha256: await sha256(chunk) });
  const rowsBytes = idBytes(block.slots) + ROWS_BYTES;
  const bytes = sizeOf(block.chunks) + rowsBytes;
  if (sizeOf(block.chunks) <= STAGE_BYTES + PAGE_BYTES * block.chunks.length) {
    return { bytes, staged: [], store: () => hashed.map((one) => storeChunk(writing.tables, one)) };
  }
  const rows = await stage(writing, hashed, bytes);
  return { bytes: rowsBytes, staged: rows.map(({ blob }) => blob), store: () => takeOver(writing.tables, rows) };
}

async function stage(
  { tables, queue, room }: BlockWriting,
  hashed: readonly HashedChunk[],
  bytes: number,
): Promise<ChunkRow[]> {
  const rows: ChunkRow[] = [];
  for (let at = 0; at < hashed.length; ) {
    const some = upTo(STAGE_BYTES, hashed.slice(at));
    const someBytes = sizeOf(some.map(({ chunk }) => chunk));
    const stored = await queue.write(() => {
      // All that the block takes must fit before anything of it is written.
      room.take(at === 0 ? bytes : someBytes);
      return some.map((one) => dooming(tables, storeChunk(tables, one)));
    }, someBytes);
    rows.push(...stored);
    at += some.length;
  }
  return rows;
}

function storeChunk(tables: Tables, { chunk, sha256 }: HashedChunk): ChunkRow {
  return { blob: putBlob(tables, chunk), bytes: chunk.length, sha256 };
}

function dooming({ doomedBlobs }: Tables, row: ChunkRow): ChunkRow {
  doomedBlobs.putSync(u48(row.blob), Buffer.alloc(0));
  return row;
}

function takeOver({ doomedBlobs }: Tables, rows: ChunkRow[]): ChunkRow[] {
  for (const { blob } of rows) doomedBlobs.removeSync(u48(blob));
  return rows;
}

/** The first chunks of so many bytes, at least one. */
function upTo(bytes: number, chunks: readonly HashedChunk[]): HashedChunk[] {
  let sum = 0;
  const end = chunks.findIndex(({ chunk }) => (sum += chunk.length) > bytes);
  return end === -1 ? [...chunks] : chunks.slice(0, Math.max(1, end));
}

async function sha256(bytes: Uint8Array): Promise<Buffer> {
  // The types of node refuse memory that threads share; none of it is.
  return Buffer.from(await webcrypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>));
}

function checkBlock({ slots, chunks }: PackedBlock): void {
  if (slots.length < 1 || slots.length > MOST_SLOTS)
    throw invalid(`has ${slots.length} slots: expected 1 to ${MOST_SLOTS}`);
  const ids = new Set(slots.map(({ templateId }) => templateId));
  if (ids.size < slots.length) throw invalid("names a template id twice: give each slot its own");
  if (chunks.length === 0 || chunks.some(({ length }) => length < MIN_BLOB_BYTES || length > LARGEST_CHUNK_BYTES)) {
    throw invalid(
      `has a chunk of other than ${MIN_BLOB_BYTES} to ${LARGEST_CHUNK_BYTES} bytes, or none: cut it with cutChunks`,
    );
  }
}

function sizeOf(chunks: PackedBlock["chunks"]): number {
  return chunks.reduce((sum, { length }) => sum + length + PAGE_BYTES, 0);
}

// In the roster twice, as text and as hashes.
function idBytes(slots: PackedBlock["slots"]): number {
  return slots.reduce(
    (sum, { templateId, subjectId }) => sum + templateId.length + subjectId.length + 2 + 2 * INDEX_BYTES_PER_ID,
    0,
  );
}

function invalid(what: string): ServerError {
  return new ServerError("BLOCK_INVALID", `the block ${what}`);
}
