import { hash } from "node:crypto";
import { ServerError } from "../errors.ts";
import { MIN_BLOB_BYTES, putBlob } from "./blob-store.ts";
import type { PackedBlock } from "./gallery-store.ts";
import { INDEX_BYTES_PER_ID } from "./id-index.ts";
import type { ChunkRow, Tables } from "./lmdb-schema.ts";
import { LARGEST_CHUNK_BYTES } from "./packed-chunks.ts";

// What a block may add beside its chunks and ids: a change of every tree on the way to its rows.
const ROWS_BYTES = 64 * 1024;
const PAGE_BYTES = 4096;
const MOST_SLOTS = 4096;

/**
 * Checks a packed block and hashes its chunks, before any write. `store` stores them inside a write transaction; `bytes` is about how
 * much the block takes in all. Throws ServerError BLOCK_INVALID.
 */
export function packedRows(tables: Tables, { slots, chunks }: PackedBlock): { bytes: number; store: () => ChunkRow[] } {
  if (slots.length < 1 || slots.length > MOST_SLOTS) throw invalid(`has ${slots.length} slots: expected 1 to ${MOST_SLOTS}`);
  const ids = new Set(slots.map(({ templateId }) => templateId));
  if (ids.size < slots.length) throw invalid("names a template id twice: give each slot its own");
  if (chunks.length === 0 || chunks.some(({ length }) => length < MIN_BLOB_BYTES || length > LARGEST_CHUNK_BYTES)) {
    throw invalid(`has a chunk of other than ${MIN_BLOB_BYTES} to ${LARGEST_CHUNK_BYTES} bytes, or none: cut it with cutChunks`);
  }
  const digests = chunks.map((chunk) => hash("sha256", chunk, "buffer"));
  const store = (): ChunkRow[] => chunks.map((chunk, i) => ({ blob: putBlob(tables, chunk), bytes: chunk.length, sha256: digests[i]! }));
  return { bytes: sizeOf(chunks) + idBytes(slots) + ROWS_BYTES, store };
}

function sizeOf(chunks: PackedBlock["chunks"]): number {
  return chunks.reduce((sum, { length }) => sum + length + PAGE_BYTES, 0);
}

// In the roster twice, as text and as hashes.
function idBytes(slots: PackedBlock["slots"]): number {
  return slots.reduce((sum, { templateId, subjectId }) => sum + templateId.length + subjectId.length + 2 + 2 * INDEX_BYTES_PER_ID, 0);
}

function invalid(what: string): ServerError {
  return new ServerError("BLOCK_INVALID", `the block ${what}`);
}
