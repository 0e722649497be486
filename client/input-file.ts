import type { Stats } from "node:fs";
import { open, stat } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { buffer } from "node:stream/consumers";
import { getSystemErrorMessage } from "node:util";

/** Something that is no file where one is needed. Its message has no path: "it is a named pipe, expected a file". */
class NotAFileError extends Error {
  override readonly name = "NotAFileError";
}

/** How many bytes a file may have, and what to throw where there are more. */
export interface InputLimit {
  /** The most bytes that the file may have, >= 0. */
  readonly maxBytes: number;
  /** Makes what is thrown. `size`: "1234 bytes", or "more than 1000 bytes" where nobody knows how many. */
  readonly tooLarge: (size: string) => Error;
}

/** What the operating system has against something, in words: "no such file or directory". Without paths or codes. */
export function systemErrorText(error: unknown): string {
  if (error instanceof NotAFileError) return error.message;
  if (error instanceof Error && "errno" in error && typeof error.errno === "number" && error.errno < 0) {
    return getSystemErrorMessage(error.errno);
  }
  return "unknown error";
}

/**
 * Opens a file to read. Pipes, sockets and devices are refused, since opening one may wait forever, but for a pipe
 * that this process was given, such as a shell's <(…). Throws what {@link systemErrorText} has words for.
 */
export async function openInput(path: string): Promise<FileHandle> {
  const found = await stat(path);
  const what = describeNoFile(found);
  if (what !== undefined && !(found.isFIFO() && isGiven(path)))
    throw new NotAFileError(`it is ${what}, expected a file`);
  return open(path, "r");
}

/** Reads a whole file as {@link openInput} opens it. Throws `tooLarge` as soon as it is known to be. */
export async function readInput(path: string, { maxBytes, tooLarge }: InputLimit): Promise<Buffer> {
  await using file = await openInput(path);
  const { size } = await file.stat();
  if (size > maxBytes) throw tooLarge(`${size} bytes`);
  const bytes = await buffer(file.createReadStream({ end: maxBytes, autoClose: false, highWaterMark: 2 ** 20 }));
  if (bytes.length > maxBytes) throw tooLarge(`more than ${maxBytes} bytes`);
  return bytes;
}

/** What is at a path that is no file, with its article, such as "a device"; undefined for a file, and for nothing. */
export async function noFileAt(path: string): Promise<string | undefined> {
  const found = await stat(path).catch(() => undefined);
  return found && describeNoFile(found);
}

function describeNoFile(found: Stats): string | undefined {
  if (found.isFile()) return undefined;
  if (found.isDirectory()) return "a folder";
  if (found.isFIFO()) return "a named pipe";
  return found.isSocket() ? "a socket" : "a device";
}

function isGiven(path: string): boolean {
  return /^(\/dev\/stdin|(\/dev|\/proc\/self)\/fd\/\d+)$/.test(path);
}
