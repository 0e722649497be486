import { randomUUID } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { errorCode } from "./errors.ts";

/** How a file is written. */
export interface WholeFileOptions {
  /** Replace what is there. Unless set, the place is taken with an exclusive open first. */
  readonly replace: boolean;
  /** Who may read and write it, as open(2) has it; 0o666 less the process's umask unless given. */
  readonly mode?: number;
  /** False for what is made again where it is lost: it is then not waited for the disk. True unless given. */
  readonly durable?: boolean;
}

/** What a folder may answer that can be written, but not opened, or not synced. */
const NOT_SYNCED: readonly unknown[] = ["EACCES", "EPERM", "EINVAL", "ENOTSUP", "ENOSYS"];

/**
 * Writes a file that appears whole or not at all, and is on the disk once this returns: written beside its place,
 * synced, renamed onto it, and the folder synced. `make`: the bytes, or what makes them once the place is taken. Throws
 * what the operating system or `make` does, EEXIST where the place is taken; nothing is left then.
 */
export async function writeWholeFile(
  path: string,
  make: Uint8Array | (() => Promise<Uint8Array>),
  { replace, mode = 0o666, durable = true }: WholeFileOptions,
): Promise<void> {
  if (!replace) await (await open(path, "wx", mode)).close();
  const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}.part`);
  try {
    await writeNew(temporary, typeof make === "function" ? await make() : make, { mode, durable });
    await rename(temporary, path);
    if (durable) await syncFolder(dirname(path));
  } catch (error) {
    await rm(temporary, { force: true });
    if (!replace) await rm(path, { force: true });
    throw error;
  }
}

async function writeNew(
  path: string,
  bytes: Uint8Array,
  { mode, durable }: Required<Omit<WholeFileOptions, "replace">>,
): Promise<void> {
  await using file = await open(path, "wx", mode);
  await file.writeFile(bytes);
  if (durable) await file.sync();
}

// A rename is durable once its folder is; Windows cannot open folders and needs no such thing.
async function syncFolder(path: string): Promise<void> {
  if (process.platform === "win32") return;
  try {
    await using folder = await open(path, "r");
    await folder.sync();
  } catch (error) {
    if (!NOT_SYNCED.includes(errorCode(error))) throw error;
  }
}
