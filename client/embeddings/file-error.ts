import type { FileHandle } from "node:fs/promises";
import { ClientError } from "../errors.ts";
import { checkId } from "../ids.ts";

/** An open file. */
export interface NamedFile {
  readonly file: FileHandle;
  /** What messages call it. */
  readonly path: string;
}

/** A line or row of a file. */
export interface FilePlace {
  readonly path: string;
  /** From 1. */
  readonly number: number;
}

/** An error that names the file and, in `what`, the line or row. */
export function fileError(path: string, what: string, cause?: unknown): ClientError {
  return new ClientError("EMBEDDINGS_FILE_INVALID", `${path}: ${what}`, { cause });
}

/** An id that was read from a line. Throws ClientError EMBEDDINGS_FILE_INVALID. */
export function checkFileId({ path, number }: FilePlace, kind: "template" | "subject", id: string): string {
  try {
    return checkId(kind, id);
  } catch (cause) {
    throw cause instanceof ClientError ? fileError(path, `line ${number}: ${cause.message}`, cause) : cause;
  }
}

/** The id of a row that has none of its own: "row-0000001" for the first. */
export function rowId(row: number): string {
  return `row-${String(row).padStart(7, "0")}`;
}
