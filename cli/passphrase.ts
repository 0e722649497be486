import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { readInput, systemErrorText } from "@veilface/client/advanced";
import { CliError, isKnown } from "./errors.ts";
import { environmentVariable } from "./environment.ts";

const MAX_FILE_BYTES = 65_536;

/**
 * The passphrase: first line of the file, else the environment variable VEILFACE_PASSPHRASE, else asked on the
 * terminal, twice where `confirm` is set. Throws CliError PASSPHRASE_MISSING where there is none of these, or
 * CANCELLED.
 */
export async function askPassphrase(
  file: string | undefined,
  signal: AbortSignal,
  { of = "the key", confirm = false } = {},
): Promise<string> {
  if (file !== undefined) return readFirstLine(file);
  const fromEnvironment = environmentVariable("VEILFACE_PASSPHRASE");
  if (fromEnvironment !== undefined) return fromEnvironment;
  if (!process.stdin.isTTY) {
    throw new CliError(
      "PASSPHRASE_MISSING",
      "no passphrase: set VEILFACE_PASSPHRASE, give --passphrase-file, or run it in a terminal",
    );
  }
  const passphrase = await askHidden(`Passphrase of ${of}: `, signal);
  if (confirm && passphrase !== (await askHidden("The same once more: ", signal))) {
    throw new CliError("PASSPHRASE_MISSING", "the two passphrases differ: try again");
  }
  return passphrase;
}

/**
 * The passphrase of the new key of a rotation: first line of the file, else VEILFACE_NEW_PASSPHRASE, else as
 * {@link askPassphrase} does.
 */
export async function askNewPassphrase(file: string | undefined, signal: AbortSignal): Promise<string> {
  const fromEnvironment = environmentVariable("VEILFACE_NEW_PASSPHRASE");
  if (file === undefined && fromEnvironment !== undefined) return fromEnvironment;
  return askPassphrase(file, signal, { of: "the new key" });
}

function tooLarge(file: string, size: string): CliError {
  const message = `the passphrase file ${file} has ${size}: expected at most ${MAX_FILE_BYTES}`;
  return new CliError("PASSPHRASE_MISSING", message);
}

async function readFirstLine(file: string): Promise<string> {
  try {
    const bytes = await readInput(file, { maxBytes: MAX_FILE_BYTES, tooLarge: (size) => tooLarge(file, size) });
    const [line = ""] = bytes.toString().split(/\r?\n/, 1);
    return line;
  } catch (cause) {
    if (isKnown(cause)) throw cause;
    const message = `the passphrase file ${file} cannot be read: ${systemErrorText(cause)}`;
    throw new CliError("PASSPHRASE_MISSING", message, { cause });
  }
}

async function askHidden(prompt: string, signal: AbortSignal): Promise<string> {
  process.stderr.write(prompt);
  // readline echoes to its output, so it gets one that swallows everything.
  const output = new Writable({
    write: (_chunk, _encoding, done) => {
      done();
    },
  });
  const asked = createInterface({ input: process.stdin, output, terminal: true });
  const interrupted = new AbortController();
  asked.once("SIGINT", () => {
    interrupted.abort();
  });
  try {
    return await asked.question("", { signal: AbortSignal.any([signal, interrupted.signal]) });
  } catch (cause) {
    throw new CliError("CANCELLED", "no passphrase was given", { cause });
  } finally {
    asked.close();
    process.stderr.write("\n");
  }
}
