import { closeSync, constants, fstatSync, mkdirSync, openSync, readSync, rmSync, statSync, writeSync } from "node:fs";
import type { Stats } from "node:fs";
import { dirname, join } from "node:path";
import { ServerError, errorCode } from "../../../errors.ts";
import { inWords } from "../../../start-errors.ts";
import { META_PAGE_BYTES, lacksPages, readMeta } from "./data-file.ts";
import type { Meta, ReadAt } from "./data-file.ts";
import { checkTrees } from "./data-trees.ts";

const RESTORE = "restore the folder from a backup, whole";
// LMDB's lock file for 126 readers. Written before it is mapped: on a full disk a mapped page without room ends the
// process by SIGBUS.
const LOCK_BYTES = 8272;
const PAGE_BYTES = 4096;

/**
 * Makes a store's folder (mode 0700) where there is none. Not with `recursive`, which never returns in folders like
 * /proc. Throws ServerError STORE_UNUSABLE.
 */
export function makeFolder(path: string): void {
  if (statOf(path)?.isDirectory() === true) return;
  try {
    if (statOf(dirname(path)) === undefined && dirname(path) !== path) makeFolder(dirname(path));
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (error instanceof ServerError) throw error;
    throw unusable(path, "cannot be made: name another one with --data, or make it yourself", error);
  }
}

/**
 * Looks at the files of a store before LMDB does, which ends the process by a signal where it cannot use them. Throws
 * ServerError STORE_UNUSABLE, saying what is wrong and what to do. A folder without files is a new store.
 */
export function checkDataFolder(path: string): void {
  checkDataFile(path);
  checkLockFile(path);
}

/**
 * Looks through the data file of a store that nobody writes to, for so many milliseconds at the most. Throws
 * ServerError STORE_UNUSABLE where LMDB's pages are damaged.
 */
export function checkPages(path: string, milliseconds: number): void {
  withFile({ path, name: "data.mdb", flags: constants.O_RDONLY }, (file) => {
    const read = reading(file);
    try {
      checkTrees(newerMeta(path, read), read, milliseconds);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw unusable(path, `has a data.mdb that is damaged: ${RESTORE}`, error);
    }
  });
}

function reading(file: number): ReadAt {
  return (offset, byteLength) => {
    const bytes = Buffer.alloc(byteLength);
    return bytes.subarray(0, readSync(file, bytes, 0, byteLength, offset));
  };
}

function checkDataFile(path: string): void {
  const stats = fileIn(path, "data.mdb");
  if (stats === undefined) return;
  withFile({ path, name: "data.mdb", flags: constants.O_RDWR }, (file) => {
    if (stats.size === 0)
      throw unusable(path, `has an empty data.mdb: ${RESTORE}, or remove the file to begin a new store`);
    const read = reading(file);
    const meta = newerMeta(path, read);
    if (isCut(meta, stats.size, read))
      throw unusable(
        path,
        `has a data.mdb that was cut: it has ${stats.size} bytes and names pages beyond; ${RESTORE}`,
      );
  });
}

function newerMeta(path: string, read: ReadAt): Meta {
  const first = readMeta(read(0, META_PAGE_BYTES));
  if (first === undefined)
    throw unusable(
      path,
      "has a data.mdb of another kind, or damaged: give an empty or new folder, or restore it from a backup",
    );
  if (first.pageBytes !== PAGE_BYTES) throw unusable(path, `has a data.mdb whose start is damaged: ${RESTORE}`);
  const second = readMeta(read(PAGE_BYTES, META_PAGE_BYTES));
  if (second === undefined) throw unusable(path, `has a data.mdb whose second page is damaged or missing: ${RESTORE}`);
  return second.transaction > first.transaction ? second : first;
}

function isCut(meta: Meta, byteLength: number, read: ReadAt): boolean {
  try {
    return lacksPages(meta, byteLength, read);
  } catch (error) {
    if (error instanceof RangeError) return true;
    throw error;
  }
}

function checkLockFile(path: string): void {
  if (fileIn(path, "lock.mdb") !== undefined) {
    withFile({ path, name: "lock.mdb", flags: constants.O_RDWR }, () => undefined);
    return;
  }
  withFile({ path, name: "lock.mdb", flags: constants.O_RDWR | constants.O_CREAT }, (file) => {
    // Another server that starts at the same time may have made it meanwhile.
    if (fstatSync(file).size > 0) return;
    try {
      writeSync(file, Buffer.alloc(LOCK_BYTES));
    } catch (error) {
      rmSync(join(path, "lock.mdb"));
      throw error;
    }
  });
}

/** A file's state; undefined where there is none. Throws ServerError STORE_UNUSABLE for anything but a file. */
function fileIn(path: string, name: string): Stats | undefined {
  const stats = statOf(join(path, name));
  if (stats === undefined || stats.isFile()) return stats;
  throw unusable(path, `has a ${name} that is no file: remove it, or name another folder with --data`);
}

function statOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    throw unusable(path, "cannot be looked at", error);
  }
}

/** A file of a store's folder, and how it is opened: O_RDONLY and so on. */
interface FileToOpen {
  readonly path: string;
  readonly name: string;
  readonly flags: number;
}

function withFile({ path, name, flags }: FileToOpen, use: (file: number) => void): void {
  let file: number | undefined;
  try {
    file = openSync(join(path, name), flags, 0o600);
    use(file);
  } catch (error) {
    if (error instanceof ServerError) throw error;
    const advice =
      errorCode(error) === "ENOSPC"
        ? "free space on its disk"
        : "give the folder and its files to the user that runs the server";
    throw unusable(path, `has a ${name} that cannot be written: ${advice}`, error);
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/** The error of a store that cannot be opened; its message ends with the cause's. */
export function unusable(path: string, what: string, cause?: unknown): ServerError {
  const why = cause instanceof Error ? ` (${inWords(cause)})` : "";
  return new ServerError("STORE_UNUSABLE", `store folder ${path} ${what}${why}`, { cause });
}
