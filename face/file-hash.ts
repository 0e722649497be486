import { createHash } from "node:crypto";
import { readModelFile } from "./model-file.ts";

/** Lowercase hex SHA-256. */
export function hashBytes(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Lowercase hex SHA-256 of a file's content, or undefined when there is no such file to read. */
export async function hashFile(path: string): Promise<string | undefined> {
  try {
    return hashBytes(await readModelFile(path));
  } catch {
    return undefined;
  }
}
