import { open, stat } from "node:fs/promises";
import { getSystemErrorMessage } from "node:util";

/** Reads a file of a model pack. Throws Error for what is no file: opening a pipe may wait forever. */
export async function readModelFile(path: string): Promise<Buffer> {
  if (!(await stat(path)).isFile()) throw new Error("it is no file");
  await using file = await open(path, "r");
  return await file.readFile();
}

/** What is wrong with a file, in words, without its path. */
export function fileErrorText(error: unknown): string {
  if (!(error instanceof Error)) return "unknown error";
  return "errno" in error && typeof error.errno === "number" ? getSystemErrorMessage(error.errno) : error.message;
}
