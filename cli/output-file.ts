import { access } from "node:fs/promises";
import { errorCode, noFileAt, systemErrorText, writeWholeFile } from "@veilface/client/advanced";
import { CliError } from "./errors.ts";

/** Throws CliError OUTPUT_FILE_EXISTS where there is such a file: asked before the work that fills it. */
export async function refuseExisting(path: string): Promise<void> {
  const missing = await access(path).then(
    () => false,
    () => true,
  );
  if (!missing) throw exists(path);
}

/**
 * Writes a file that appears whole or not at all. Throws CliError OUTPUT_FILE_EXISTS unless forced, USAGE where it
 * cannot be written.
 */
export async function writeOutput(path: string, bytes: Uint8Array, force: boolean): Promise<void> {
  await refuseNoFile(path);
  try {
    await writeWholeFile(path, bytes, { replace: force });
  } catch (cause) {
    throw errorCode(cause) === "EEXIST" ? exists(path, cause) : unwritable(path, cause);
  }
}

// A rename would replace even a device.
async function refuseNoFile(path: string): Promise<void> {
  const what = await noFileAt(path);
  if (what !== undefined) throw new CliError("USAGE", `${path} cannot be written: ${what} is there, name a file`);
}

function unwritable(path: string, cause: unknown): CliError {
  return new CliError("USAGE", `${path} cannot be written: ${systemErrorText(cause)}`, { cause });
}

function exists(path: string, cause?: unknown): CliError {
  return new CliError(
    "OUTPUT_FILE_EXISTS",
    `there is a file ${path} already: name another, or replace it with --force`,
    { cause },
  );
}
