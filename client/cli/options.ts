import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { InvalidArgumentError, Option } from "commander";
import type { Command } from "commander";
import envPaths from "env-paths";
import type { ServerOptions } from "../channel.ts";
import { ClientError } from "../errors.ts";
import { loadKeyFile } from "../key-file.ts";
import type { KeyHolder } from "../key-holder.ts";
import { VeilfaceClient } from "../veilface-client.ts";
import { askPassphrase } from "./passphrase.ts";

/** Flags of every command that uses the key. */
export interface KeyFlags {
  key: string;
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

export function addJson(command: Command): Command {
  return command.option("--json", "print one JSON document, errors too");
}

export function addKey(command: Command): Command {
  const folder = envPaths("veilface", { suffix: "" }).config;
  return command
    .addOption(new Option("--key <file>", "key file").env("VEILFACE_KEY").default(join(folder, "veilface.key")))
    .option("--passphrase-file <file>", "file whose first line is the passphrase (else VEILFACE_PASSPHRASE, else asked)");
}

export function addServer(command: Command): Command {
  return command
    .addOption(new Option("--server <host:port>", "matching server").env("VEILFACE_SERVER").default("127.0.0.1:50051"))
    .option("--tls", "use TLS, trusting the system's certificates")
    .option("--tls-ca <file>", "use TLS, trusting the certificates of this PEM file")
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
export async function openKey({ key, passphraseFile }: KeyFlags, signal: AbortSignal): Promise<KeyHolder> {
  return loadKeyFile(key, await askPassphrase(passphraseFile, signal));
}

/** Opens the key and a client. The caller disposes of both. */
export async function openClient(flags: KeyFlags & ServerFlags, signal: AbortSignal): Promise<{ keyHolder: KeyHolder; client: VeilfaceClient } & Disposable> {
  const server = await serverOptions(flags);
  using opened = new DisposableStack();
  const keyHolder = opened.use(await openKey(flags, signal));
  const client = opened.use(new VeilfaceClient({ keyHolder, ...server, rosterCache: join(cacheFolder(), "rosters") }));
  const owned = opened.move();
  return {
    keyHolder,
    client,
    [Symbol.dispose]: () => {
      owned.dispose();
    },
  };
}

/** Where face models and rosters are kept. */
function cacheFolder(): string {
  const chosen = process.env["VEILFACE_CACHE"];
  return chosen === undefined || chosen === "" ? envPaths("veilface", { suffix: "" }).cache : chosen;
}

/** How to reach the server that the flags name. Throws ClientError USAGE for certificates that cannot be read. */
export async function serverOptions({ server, tls, tlsCa, insecure }: ServerFlags): Promise<ServerOptions> {
  const trust = tlsCa !== undefined ? { rootCertificates: await readCertificates(tlsCa) } : tls;
  return { address: server, ...(trust !== undefined && { tls: trust }), ...(insecure === true && { insecure }) };
}

async function readCertificates(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new ClientError("USAGE", `the certificates ${path} cannot be read`, { cause });
  }
}

function parseThreshold(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value) || value < 0) throw new InvalidArgumentError("expected a distance >= 0.");
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
