import { realpathSync } from "node:fs";
import { resolve } from "node:path";
import { open } from "lmdb";
import type { RootDatabase, RootDatabaseOptions } from "lmdb";
import { checkDataFolder, makeFolder, unusable } from "./data-folder.ts";
import { migrateDrafts } from "../tables/draft-migration.ts";
import { checkInternals, takeSnapshot } from "./internals.ts";
import {
  BINARY,
  MAX_TABLES,
  OLDER_VERSIONS,
  SCHEMA_KEY,
  SCHEMA_VERSION,
  openTables,
  readU32,
  u32,
} from "../rows/schema.ts";
import type { Tables } from "../rows/schema.ts";

export type Root = RootDatabase<Buffer, Buffer>;

export interface Environment {
  readonly path: string;
  readonly root: Root;
  readonly tables: Tables;
  close(): Promise<void>;
}

/** Address space, not memory; a larger file is mapped anew as it grows, also while worker threads read from it. */
export const MAP_BYTES = 2 ** 34;
const PAGE_BYTES = 4096;

/** Folders open for writing in this process, as lmdb would share one handle between two stores. */
const openFolders = new Set<string>();

/**
 * Opens a folder as the only process that writes it; makes it (mode 0700) if it does not exist. Throws ServerError
 * STORE_UNUSABLE if it is open elsewhere, is of another schema version, or is no store.
 */
export function openEnvironment(folder: string, mapSizeBytes = MAP_BYTES): Environment {
  makeFolder(resolve(folder));
  const path = realpathSync(folder);
  if (openFolders.has(path)) throw unusable(path, "is open already in this process: close that store first");
  checkDataFolder(path);
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

// A commit is fsynced before its promise resolves because overlappingSync is off. The write queue makes batches, so
// lmdb need not; and of a batch of its own that fails it would leave a rejected promise behind that nobody can handle.
const OPTIONS = {
  ...BINARY,
  noSubdir: false,
  overlappingSync: false,
  eventTurnBatching: false,
  maxDbs: MAX_TABLES,
  pageSize: PAGE_BYTES,
  permissionsMode: 0o600,
};

function openRoot(path: string, mapSize: number): Root {
  try {
    const options: RootDatabaseOptions = { ...OPTIONS, mapSize };
    const root = open<Buffer, Buffer>(path, options);
    checkInternals(root);
    return root;
  } catch (error) {
    throw unusable(path, "cannot be opened", error);
  }
}

/** Opens the folder in a worker thread of the process that has it open for writing. */
export function openReadOnly(path: string): Root {
  return open<Buffer, Buffer>(path, { ...OPTIONS, readOnly: true });
}

// LMDB keeps a table of its readers with their process ids, each held by a lock that the kernel drops when the process
// dies. A writer takes a line there for good, then looks for others: of two that start at once at least one sees the
// other.
function claim(path: string, root: Root): () => Promise<void> {
  try {
    takeSnapshot(root);
  } catch (error) {
    throw unusable(
      path,
      "is open in a process of the same process id, such as a server in another container: stop that one first",
      error,
    );
  }
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
  return root
    .readerList()
    .split("\n")
    .map((line) => /^\s*(\d+)\s/.exec(line)?.[1])
    .filter((pid) => pid !== undefined)
    .map(Number);
}

function checkSchema(path: string, root: Root): void {
  const version = root.get(SCHEMA_KEY);
  if (version !== undefined) {
    const found = readU32(version);
    if (found !== SCHEMA_VERSION && !OLDER_VERSIONS.includes(found))
      throw unusable(
        path,
        `has schema version ${found}, expected ${SCHEMA_VERSION}: use the server version that wrote it`,
      );
    if (found === SCHEMA_VERSION) return;
    migrateDrafts(root);
  } else if (root.getKeysCount({ limit: 1 }) > 0)
    throw unusable(path, "holds another program's LMDB data: give an empty or new folder");
  root.putSync(SCHEMA_KEY, u32(SCHEMA_VERSION));
}
