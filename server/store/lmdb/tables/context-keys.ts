import { setImmediate } from "node:timers/promises";
import { storedCorrupt } from "../../../errors.ts";
import { MIN_BLOB_BYTES, digest, putBlob } from "../disk/blob-store.ts";
import { decodeChunks, encodeChunks } from "../rows/block-rows.ts";
import type { ContextKeys } from "../../gallery-store.ts";
import { readU48, u48 } from "../rows/schema.ts";
import type { ChunkRow, Tables } from "../rows/schema.ts";

/** Hashing or writing a piece of this size holds the event loop for about a millisecond. */
const PIECE_BYTES = 2 ** 20;
/** Putting one takes about 2 ms. */
const PIECES_AT_ONCE = 3;
const PAGE_BYTES = 4096;
// The two rows of a context, and a change of every tree on the way to them.
const ROWS_BYTES = 64 * 1024;

/** Where a key's bytes are. Its pieces are all of it, and zeros after it where it is shorter than the shortest blob. */
export interface KeyRow {
  readonly bytes: number;
  readonly pieces: readonly ChunkRow[];
}

export interface ContextKeysRow {
  readonly relinKeys: KeyRow;
  readonly galoisKeys: KeyRow;
}

/** Keys that are cut and hashed; `bytes` is about how much they take in all. */
export interface HashedKeys {
  readonly bytes: number;
  readonly relinKeys: HashedKey;
  readonly galoisKeys: HashedKey;
}

/** Hashes keys piece by piece, letting others run in between. Copies nothing that is longer than the shortest blob. */
export async function hashKeys({ relinKeys, galoisKeys }: ContextKeys): Promise<HashedKeys> {
  const [relin, galois] = [await hashKey(relinKeys), await hashKey(galoisKeys)];
  return { bytes: stored([...relin.pieces, ...galois.pieces]) + ROWS_BYTES, relinKeys: relin, galoisKeys: galois };
}

/** Where keys are written. */
export interface KeyWriting {
  readonly tables: Tables;
  /** Runs a write action in a commit: see WriteQueue. `bytes`: about how much it writes. */
  readonly write: <T>(action: () => T, bytes: number) => Promise<T>;
}

/**
 * Stores the pieces of keys, few to a commit, so that none holds the event loop for long. Until {@link takeOverKeys}
 * makes them a context's own they are doomed: should the process end before that, its next start erases them. `written`
 * is given the number of every blob that is on disk.
 */
export async function storeKeys(
  { tables, write }: KeyWriting,
  keys: HashedKeys,
  written: number[],
): Promise<ContextKeysRow> {
  const store = async ({ bytes, pieces }: HashedKey): Promise<KeyRow> => {
    const rows: ChunkRow[] = [];
    for (let at = 0; at < pieces.length; at += PIECES_AT_ONCE) {
      const slice = pieces.slice(at, at + PIECES_AT_ONCE);
      rows.push(...(await write(() => slice.map((piece) => storePiece(tables, piece)), stored(slice))));
      written.push(...rows.slice(at).map(({ blob }) => blob));
    }
    return { bytes, pieces: rows };
  };
  return { relinKeys: await store(keys.relinKeys), galoisKeys: await store(keys.galoisKeys) };
}

/** Makes pieces a context's own, inside the write transaction that names them. */
export function takeOverKeys({ doomedBlobs }: Tables, row: ContextKeysRow): void {
  for (const blob of blobsOfKeys(row)) doomedBlobs.removeSync(u48(blob));
}

interface HashedPiece {
  readonly piece: Uint8Array;
  readonly sha256: Buffer;
}

interface HashedKey {
  readonly bytes: number;
  readonly pieces: readonly HashedPiece[];
}

function stored(pieces: readonly HashedPiece[]): number {
  return pieces.reduce((sum, { piece }) => sum + piece.length + PAGE_BYTES, 0);
}

async function hashKey(key: Uint8Array): Promise<HashedKey> {
  const pieces: HashedKey["pieces"][number][] = [];
  for (const piece of cut(key)) {
    pieces.push({ piece, sha256: digest(piece) });
    await setImmediate();
  }
  return { bytes: key.length, pieces };
}

// Of about one length, so that none is shorter than a blob may be unless the key itself is.
function cut(key: Uint8Array): Uint8Array[] {
  const count = Math.ceil(key.length / PIECE_BYTES);
  const pieces = Array.from({ length: count }, (_, i) =>
    key.subarray(Math.floor((i * key.length) / count), Math.floor(((i + 1) * key.length) / count)),
  );
  return pieces.map((piece) => (piece.length < MIN_BLOB_BYTES ? padded(piece) : piece));
}

function padded(piece: Uint8Array): Uint8Array {
  const longer = new Uint8Array(MIN_BLOB_BYTES);
  longer.set(piece);
  return longer;
}

function storePiece(tables: Tables, { piece, sha256 }: HashedPiece): ChunkRow {
  const blob = putBlob(tables, piece);
  tables.doomedBlobs.putSync(u48(blob), Buffer.alloc(0));
  return { blob, bytes: piece.length, sha256 };
}

/**
 * A key's bytes in a buffer of their own; undefined if a piece is gone or does not have its SHA-256. `read` copies a
 * blob and returns its length.
 */
export function readKey(
  { bytes, pieces }: KeyRow,
  read: (blob: number, into: Uint8Array) => number | undefined,
): Uint8Array | undefined {
  const key = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.bytes, 0));
  let at = 0;
  for (const { blob, bytes: length, sha256 } of pieces) {
    const piece = key.subarray(at, (at += length));
    if (read(blob, piece) !== length || !digest(piece).equals(sha256)) return undefined;
  }
  return bytes === key.length ? key : key.slice(0, bytes);
}

export function blobsOfKeys({ relinKeys, galoisKeys }: ContextKeysRow): number[] {
  return [...relinKeys.pieces, ...galoisKeys.pieces].map(({ blob }) => blob);
}

// Both keys: byte length; then the number of the first one's pieces, then all pieces.
const LENGTHS = 12;
const HEAD = LENGTHS + 2;

export function encodeKeysRow({ relinKeys, galoisKeys }: ContextKeysRow): Buffer {
  const count = Buffer.alloc(2);
  count.writeUInt16BE(relinKeys.pieces.length);
  return Buffer.concat([
    u48(relinKeys.bytes),
    u48(galoisKeys.bytes),
    count,
    encodeChunks([...relinKeys.pieces, ...galoisKeys.pieces]),
  ]);
}

/** Throws ServerError STORED_CORRUPT. */
export function decodeKeysRow(bytes: Buffer): ContextKeysRow {
  if (bytes.length < HEAD) throw storedCorrupt("the row of a context's keys");
  const pieces = decodeChunks(bytes.subarray(HEAD));
  const count = bytes.readUInt16BE(LENGTHS);
  return {
    relinKeys: { bytes: readU48(bytes), pieces: pieces.slice(0, count) },
    galoisKeys: { bytes: readU48(bytes, 6), pieces: pieces.slice(count) },
  };
}
