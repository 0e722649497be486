import { join } from "node:path";
import { InvalidArgumentError, Option } from "commander";
import type { Command } from "commander";
import { VeilfaceClient, loadKeyFile } from "@veilface/client";
import type { KeyHolder, ServerOptions } from "@veilface/client";
import { definedOnly, readInput, systemErrorText } from "@veilface/client/advanced";
import { cacheFolder } from "@veilface/face/folders";
import { defaultKeyFile } from "./key-file-place.ts";
import { CliError, isKnown } from "./errors.ts";
import { askPassphrase } from "./passphrase.ts";

/** Flags of every command that uses the key. */
export interface KeyFlags {
  /** Undefined where none is named, and there is no home folder to look for one in. */
  key?: string;
  passphraseFile?: string;
}

/** Flags of every command that talks to the server. */
export interface ServerFlags {
  server: string;
  tls?: true;
  tlsCa?: string;
  insecure?: true;
}

/** Flags of every command that reads photos. */
export interface ModelFlags {
  model?: string;
  largestFace?: true;
}

export interface ThresholdFlags {
  threshold?: number;
}

// All that Mozilla trusts take 230 KB.
const MAX_CERTIFICATES_BYTES = 2 ** 24;
const DEFAULT_KEY_FILE = await defaultKeyFile();

export function addJson(command: Command): Command {
  return command.option("--json", "print one JSON document, errors too");
}

export function addKey(command: Command): Command {
  return command
    .addOption(new Option("--key <file>", "key file").env("VEILFACE_KEY").default(DEFAULT_KEY_FILE))
    .option(
      "--passphrase-file <file>",
      "file whose first line is the passphrase (else VEILFACE_PASSPHRASE, else asked)",
    );
}

export function addServer(command: Command): Command {
  return command
    .addOption(new Option("--server <host:port>", "matching server").env("VEILFACE_SERVER").default("127.0.0.1:50051"))
    .addOption(new Option("--tls", "use TLS, trusting the system's certificates").env("VEILFACE_TLS"))
    .addOption(new Option("--tls-ca <file>", "use TLS, trusting this PEM file's certificates").env("VEILFACE_TLS_CA"))
    .option("--insecure", "allow plain text to a server on another machine");
}

export function addModel(command: Command): Command {
  return command
    .option("--model <folder>", "model pack (default: the built-in one)")
    .option("--largest-face", "where a photo has several faces, take the largest");
}

export function addThreshold(command: Command): Command {
  return command.option("--threshold <distance>", "largest distance accepted (default: the model's)", parseThreshold);
}

/** Opens the key, asking for its passphrase. The caller disposes of it. */
async function openKey(flags: KeyFlags, signal: AbortSignal): Promise<KeyHolder> {
  const path = keyFileOf(flags);
  return loadKeyFile(path, await askPassphrase(flags.passphraseFile, signal));
}

/** The key file that is named, or the user's own. Throws CliError USAGE where there is no home folder for one. */
export function keyFileOf({ key }: KeyFlags): string {
  if (key !== undefined) return key;
  const message = "this user has no home folder for a key file: name one with --key or VEILFACE_KEY, or set HOME";
  throw new CliError("USAGE", message);
}

/** Opens the key and a client. The caller disposes of both. */
export async function openClient(
  flags: KeyFlags & ServerFlags,
  signal: AbortSignal,
): Promise<{ keyHolder: KeyHolder; client: VeilfaceClient } & Disposable> {
  const server = await serverOptions(flags);
  using opened = new DisposableStack();
  const keyHolder = opened.use(await openKey(flags, signal));
  const cache = await cacheFolder();
  const rosterCache = cache === undefined ? undefined : join(cache, "rosters");
  const client = opened.use(new VeilfaceClient({ keyHolder, ...server, ...definedOnly({ rosterCache }) }));
  const owned = opened.move();
  return {
    keyHolder,
    client,
    [Symbol.dispose]: () => {
      owned.dispose();
    },
  };
}

/** How to reach the server that the flags name. Throws CliError USAGE for certificates that cannot be read. */
export async function serverOptions({ server, tls, tlsCa, insecure }: ServerFlags): Promise<ServerOptions> {
  const trust = tlsCa === undefined ? tls : { rootCertificates: await readCertificates(tlsCa) };
  return definedOnly({ address: server, tls: trust, insecure });
}

function noCertificates(path: string, size: string): CliError {
  return new CliError("USAGE", `${path} has ${size}: expected certificates of at most ${MAX_CERTIFICATES_BYTES}`);
}

async function readCertificates(path: string): Promise<Buffer> {
  try {
    return await readInput(path, { maxBytes: MAX_CERTIFICATES_BYTES, tooLarge: (size) => noCertificates(path, size) });
  } catch (cause) {
    if (isKnown(cause)) throw cause;
    throw new CliError("USAGE", `the certificates ${path} cannot be read: ${systemErrorText(cause)}`, { cause });
  }
}

function parseThreshold(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value) || value < 0)
    throw new InvalidArgumentError("expected a distance >= 0.");
  return value;
}

/** For numbers > 0. */
export function parsePositive(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0) throw new InvalidArgumentError("expected a number > 0.");
  return value;
}

/** For whole numbers in [1, ∞). */
export function parseCount(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError("expected a whole number >= 1.");
  return value;
}
