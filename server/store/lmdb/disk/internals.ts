import * as lmdb from "lmdb";
import type { Database, GetOptions } from "lmdb";
import { impossible } from "../../../errors.ts";

// What lmdb 3.5.6 has but does not declare. The version is pinned exactly; `checkInternals` fails at start-up where one
// is gone.
interface NativeAddon {
  readonly resetTxn: (address: number) => void;
  readonly setGlobalBuffer: (target: Uint8Array) => void;
}
interface FastReader {
  getBinaryFast(key: Uint8Array, options?: GetOptions): LentBuffer | undefined;
  readonly lastSize: number;
}
/**
 * The one buffer that lmdb copies values to and lends to whoever reads; `maxLength` is its size, `length` that of the
 * last value.
 */
interface LentBuffer extends Buffer {
  maxLength: number;
}
interface DirectWriter {
  directWrite(key: Uint8Array, write: { offset: number; bytes: Uint8Array }): void;
}
interface Statistics {
  readonly treeBranchPageCount: number;
  readonly treeLeafPageCount: number;
  readonly overflowPages: number;
  readonly pageSize: number;
  readonly lastPageNumber: number;
}

const { nativeAddon } = lmdb as unknown as { nativeAddon: NativeAddon };

/**
 * A read transaction that is kept for the life of a handle, so that it costs no allocation and its snapshot is released
 * at will.
 */
export interface Snapshot {
  /** Pass as option of a read: the first read after {@link release} takes the newest commit. */
  readonly options: { readonly transaction: ReturnType<Database["useReadTransaction"]> };
  /** Lets go of the snapshot: pages that only it could see may be used again. */
  release(): void;
}

/** Throws Error if this lmdb lacks what the store needs of its undeclared parts. */
export function checkInternals(database: Database): void {
  if (
    !("directWrite" in database) ||
    typeof nativeAddon.resetTxn !== "function" ||
    typeof nativeAddon.setGlobalBuffer !== "function"
  ) {
    throw new Error(
      "this lmdb has no directWrite, resetTxn or setGlobalBuffer: install the version that package.json names",
    );
  }
}

/** Takes a transaction from the handle for reads of single keys; it lives until the database is closed. */
export function takeSnapshot(database: Database): Snapshot {
  const transaction = database.useReadTransaction();
  const internal = transaction as unknown as { readonly address: number; isDone: boolean };
  const release = (): void => {
    nativeAddon.resetTxn(internal.address);
  };
  // Out of lmdb's rotation: it would use a transaction that it believes in use for other reads, and never let go of the
  // snapshot.
  internal.isDone = true;
  database.resetReadTxn();
  release();
  return { options: { transaction }, release };
}

/** The same database with what lmdb does not declare of it. */
function fastReader(database: Database): FastReader {
  return database as unknown as FastReader;
}

/**
 * A value in the one large buffer that lmdb lends for all reads, valid until the next read; undefined if it is not
 * there. lmdb sets the buffer's `length`, which the methods of Buffer do not look at.
 */
export function getLent(database: Database, key: Uint8Array, options?: GetOptions): Buffer | undefined {
  const reader = fastReader(database);
  return reader.getBinaryFast(key, options)?.subarray(0, reader.lastSize);
}

/** Where a value is. */
interface ValuePlace {
  readonly table: Database;
  readonly key: Uint8Array;
}

/** What a read into memory of the caller's takes. */
export interface DirectReads {
  readonly snapshot: Snapshot;
  /** Of a small value that is always there. */
  readonly lent: ValuePlace;
}

/**
 * Copies a value from the data file straight into `target`, which may be memory of a WebAssembly module and must be
 * long enough. Returns the value's length; undefined if it is not there.
 */
export function readInto({ table, key }: ValuePlace, target: Uint8Array, reads: DirectReads): number | undefined {
  const { lent, snapshot } = reads;
  const { options } = snapshot;
  // For one read lmdb takes the target for its own buffer. Only a read tells which one that is at present.
  const own = fastReader(lent.table).getBinaryFast(lent.key, options) ?? impossible("a store without its version");
  const { maxLength } = own;
  const reader = fastReader(table);
  nativeAddon.setGlobalBuffer(target);
  own.maxLength = target.length;
  try {
    return reader.getBinaryFast(key, options) === undefined ? undefined : reader.lastSize;
  } finally {
    own.maxLength = maxLength;
    nativeAddon.setGlobalBuffer(own);
  }
}

// lmdb passes key and bytes to the native code in one buffer of 4096 bytes.
const DIRECT_WRITE_BYTES = 3584;
const ZEROS = new Uint8Array(DIRECT_WRITE_BYTES);

/**
 * Writes zeros over a committed value where it lies in the data file. The value must be on overflow pages: those are
 * never copied.
 */
export function overwriteWithZeros(database: Database, key: Uint8Array, byteLength: number): void {
  for (let offset = 0; offset < byteLength; offset += DIRECT_WRITE_BYTES) {
    const bytes = ZEROS.subarray(0, Math.min(DIRECT_WRITE_BYTES, byteLength - offset));
    // Not declared by lmdb, as all that is cast here.
    (database as unknown as DirectWriter).directWrite(key, { offset, bytes });
  }
}

/** Pages in use by one table, and the file's page size and last page. No scan: LMDB keeps these counts. */
export function pageCounts(database: Database): { used: number; pageSize: number; lastPage: number } {
  const stats = database.getStats() as Statistics;
  return {
    used: stats.treeBranchPageCount + stats.treeLeafPageCount + stats.overflowPages,
    pageSize: stats.pageSize,
    lastPage: stats.lastPageNumber,
  };
}
