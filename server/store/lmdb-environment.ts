import { closeSync, mkdirSync, openSync, readSync, realpathSync } from "node:fs";
import { join } from "node:path";
import { open } from "lmdb";
import type { RootDatabase, RootDatabaseOptions } from "lmdb";
import { ServerError } from "../errors.ts";
import { migrateDrafts } from "./draft-migration.ts";
import { checkInternals, takeSnapshot } from "./lmdb-internals.ts";
import { BINARY, MAX_TABLES, OLDER_VERSIONS, SCHEMA_KEY, SCHEMA_VERSION, openTables, readU32, u32 } from "./lmdb-schema.ts";
import type { Tables } from "./lmdb-schema.ts";

export type Root = RootDatabase<Buffer, Buffer>;

export interface Environment {
  readonly path: string;
  readonly root: Root;
  readonly tables: Tables;
  close(): Promise<void>;
}

// Address space, not memory: a map that never grows keeps its place while worker threads read from it.
const MAP_BYTES = 2 ** 40;
const PAGE_BYTES = 4096;

/** Folders open for writing in this process, as lmdb would share one handle between two stores. */
const openFolders = new Set<string>();

/**
 * Opens a folder as the only process that writes it; makes it (mode 0700) if it does not exist. Throws ServerError STORE_UNUSABLE if it
 * is open elsewhere, is of another schema version, or is no store.
 */
export function openEnvironment(folder: string, mapSizeBytes = MAP_BYTES): Environment {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = realpathSync(folder);
  if (openFolders.has(path)) throw unusable(path, "is open already in this process: close that store first");
  checkDataFile(path);
  const root = openRoot(path, mapSizeBytes);
  try {
    const close = claim(path, root);
    checkSchema(path, root);
    return { path, root, tables: openTables(root), close };
  } catch (error) {
    void root.close();
    openFolders.delete(path);
    throw error;
  }
}

// A commit is fsynced before its promise resolves because overlappingSync is off. The write queue makes batches, so lmdb need not; and
// of a batch of its own that fails it would leave a rejected promise behind that nobody can handle.
const OPTIONS = {
  ...BINARY, noSubdir: false, overlappingSync: false, eventTurnBatching: false, maxDbs: MAX_TABLES, pageSize: PAGE_BYTES, permissionsMode: 0o600,
};

// LMDB's first page: a header of 24 bytes, then its magic number and format version 2, little-endian.
const LMDB_MAGIC = 0xbeefc0de;
const LMDB_FORMAT = 2;
const MAGIC_OFFSET = 24;

// Looked at here because lmdb 3.5.6 ends the process with a segmentation fault where LMDB itself refuses the file.
function checkDataFile(path: string): void {
  const head = Buffer.alloc(MAGIC_OFFSET + 8);
  try {
    const file = openSync(join(path, "data.mdb"), "a+", 0o600);
    const size = readSync(file, head, 0, head.length, 0);
    closeSync(file);
    if (size === 0) return;
  } catch (error) {
    throw unusable(path, "cannot be written: give its files to the user that runs the server", error);
  }
  if (head.readUInt32LE(MAGIC_OFFSET) !== LMDB_MAGIC || head.readUInt32LE(MAGIC_OFFSET + 4) !== LMDB_FORMAT) {
    throw unusable(path, "has a data file of another kind: give an empty or new folder, or restore it from a backup");
  }
}

function openRoot(path: string, mapSize: number): Root {
  try {
    const options: RootDatabaseOptions = { ...OPTIONS, mapSize };
    const root = open<Buffer, Buffer>(path, options);
    checkInternals(root);
    return root;
  } catch (error) {
    throw unusable(path, "cannot be opened: see the cause", error);
  }
}

/** Opens the folder in a worker thread of the process that has it open for writing. */
export function openReadOnly(path: string): Root {
  return open<Buffer, Buffer>(path, { ...OPTIONS, readOnly: true });
}

// LMDB keeps a table of its readers with their process ids, each held by a lock that the kernel drops when the process dies. A writer
// takes a line there for good, then looks for others: of two that start at once at least one sees the other.
function claim(path: string, root: Root): () => Promise<void> {
  takeSnapshot(root);
  root.readerCheck();
  const other = readerPids(root).find((pid) => pid !== process.pid);
  if (other !== undefined) throw unusable(path, `is open in process ${other}: stop that process first`);
  openFolders.add(path);
  return async () => {
    await root.close();
    openFolders.delete(path);
  };
}

function readerPids(root: Root): number[] {
  return root.readerList().split("\n").map((line) => /^\s*(\d+)\s/.exec(line)?.[1]).filter((pid) => pid !== undefined).map(Number);
}

function checkSchema(path: string, root: Root): void {
  const version = root.get(SCHEMA_KEY);
  if (version !== undefined) {
    const found = readU32(version);
    if (found !== SCHEMA_VERSION && !OLDER_VERSIONS.includes(found)) throw unusable(path, `has schema version ${found}, expected ${SCHEMA_VERSION}: use the server version that wrote it`);
    if (found === SCHEMA_VERSION) return;
    migrateDrafts(root);
  } else if (root.getKeysCount({ limit: 1 }) > 0) throw unusable(path, "holds another program's LMDB data: give an empty or new folder");
  root.putSync(SCHEMA_KEY, u32(SCHEMA_VERSION));
}

function unusable(path: string, what: string, cause?: unknown): ServerError {
  return new ServerError("STORE_UNUSABLE", `store folder ${path} ${what}`, { cause });
}
