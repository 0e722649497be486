// Looks for bytes that must not have been stored in the files of a data folder.
import { createHash } from "node:crypto";
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";

const WINDOW_BYTES = 24;
// Past SEAL's headers and whatever a message puts before them, which are the same for everyone.
const BODY_AT = 400;
const WINDOWS = 5;

/** What was found in a file of some content; most files do not change from one look to the next. */
const looked = new Map<string, number>();

/**
 * How many windows of the secrets, as they are or as base64 text, are in the folder's files. Each secret has at least
 * 1000 bytes.
 */
export async function tracesIn(folder: string, secrets: readonly Buffer[]): Promise<number> {
  const windows = secrets.flatMap((secret) => [
    ...windowsOf(secret),
    ...windowsOf(Buffer.from(secret.toString("base64"))),
  ]);
  const names = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  let found = 0;
  for (const { parentPath, name } of names) found += occurrences(await readFile(join(parentPath, name)), windows);
  return found;
}

function occurrences(bytes: Buffer, windows: readonly Buffer[]): number {
  const content = createHash("sha256").update(Buffer.concat(windows)).update(bytes).digest("hex");
  const count = looked.get(content) ?? windows.filter((window) => bytes.includes(window)).length;
  looked.set(content, count);
  return count;
}

function windowsOf(secret: Buffer): Buffer[] {
  const room = secret.length - BODY_AT - WINDOW_BYTES;
  if (room < WINDOWS) throw new Error(`${secret.length} bytes are too few to look for`);
  return Array.from({ length: WINDOWS }, (_, k) =>
    secret.subarray(BODY_AT + Math.floor((k * room) / WINDOWS)).subarray(0, WINDOW_BYTES),
  );
}
