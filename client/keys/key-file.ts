import { access, constants, mkdir } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import type { Stats } from "node:fs";
import { dirname } from "node:path";
import { ClientError, errorCode } from "../errors.ts";
import { noFileAt, openInput, systemErrorText } from "../input-file.ts";
import { writeWholeFile } from "../whole-file.ts";
import { MAX_KEY_FILE_BYTES, decryptKeyFile, encryptKeyFile } from "./key-file-format.ts";
import { KeyHolder } from "./key-holder.ts";

/** A key to be saved, and what will open it. */
export interface ProtectedKey {
  /** Whose key is saved. */
  readonly keyHolder: KeyHolder;
  /** At least one character, in any script: taken in Unicode's normal form C. */
  readonly passphrase: string;
}

/** How a key file is saved. */
export interface SaveKeyFileOptions {
  /** Replace a key that is there. Its templates can never be read again unless it is kept elsewhere. */
  readonly force?: boolean;
}

const OWNER_ONLY = 0o600;
// Whoever can write it can swap the key; the world has no business reading it. A group may read: mounted secrets are
// often 0440.
const REFUSED_MODE_BITS = 0o027;

/**
 * Saves a key under a passphrase (format: key-file-format.ts), readable by its owner only. The file appears whole or
 * not at all; missing folders are made. Throws ClientError PASSPHRASE_MISSING for an empty passphrase, KEY_FILE_EXISTS
 * unless forced, KEY_FILE_INVALID where the folder cannot be written, or something else than a file is there.
 */
export async function saveKeyFile(
  path: string,
  { keyHolder, passphrase }: ProtectedKey,
  options: SaveKeyFileOptions = {},
): Promise<void> {
  requirePassphrase(passphrase);
  const material = keyHolder.exportSecretKeyUnprotected();
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await refuseNoFile(path);
    await writeWholeFile(path, () => encryptKeyFile(material, passphrase), {
      replace: options.force === true,
      mode: OWNER_ONLY,
    }).catch((cause: unknown) => {
      throw errorCode(cause) === "EEXIST" ? alreadyThere(path, cause) : cause;
    });
  } catch (cause) {
    throw cause instanceof ClientError ? cause : unusable(path, "written", cause);
  } finally {
    material.secretKey.fill(0);
  }
}

/**
 * Loads a key. Throws ClientError KEY_FILE_MISSING, KEY_FILE_EXPOSED where others than the owner can write it or the
 * world can read it (not checked on Windows), KEY_FILE_INVALID for a damaged file, WRONG_PASSPHRASE,
 * PASSPHRASE_MISSING.
 */
export async function loadKeyFile(path: string, passphrase: string): Promise<KeyHolder> {
  requirePassphrase(passphrase);
  const material = await decryptKeyFile(await readKeyFile(path), passphrase);
  try {
    return await KeyHolder.fromSecretKey(material);
  } finally {
    material.secretKey.fill(0);
  }
}

async function readKeyFile(path: string): Promise<Buffer> {
  await using file = await openToRead(path);
  const found = await file.stat();
  const { mode, size } = found;
  if (process.platform !== "win32" && (mode & REFUSED_MODE_BITS) !== 0) {
    const what = `the key file ${path} is open to others (mode ${(mode & 0o777).toString(8)})`;
    throw new ClientError("KEY_FILE_EXPOSED", `${what}: ${await advice(path, found)}`);
  }
  if (size > MAX_KEY_FILE_BYTES)
    throw new ClientError(
      "KEY_FILE_INVALID",
      `${path} has ${size} bytes: expected a key file of at most ${MAX_KEY_FILE_BYTES}`,
    );
  return await file.readFile().catch((cause: unknown) => {
    throw unusable(path, "read", cause);
  });
}

/** How to close a file to others. Somebody else's, or one on a read-only mount, changes only where it comes from. */
async function advice(path: string, { uid }: Stats): Promise<string> {
  const user = process.geteuid?.();
  const denied = await access(path, constants.W_OK).then(() => "", errorCode);
  if (denied !== "EROFS" && (user === 0 || user === uid)) return "run chmod 600 on it";
  return (
    "it cannot be changed from here, so have it mounted with mode 0400 or 0440 (Kubernetes: defaultMode: 0400, " +
    `with fsGroup unless run as root), or copy it with install -m 600 ${path} a.key and name the copy with --key`
  );
}

async function openToRead(path: string): Promise<FileHandle> {
  try {
    return await openInput(path);
  } catch (cause) {
    if (errorCode(cause) === "ENOENT")
      throw new ClientError("KEY_FILE_MISSING", `there is no key file ${path}: make one with keygen, or name another`, {
        cause,
      });
    throw unusable(path, "read", cause);
  }
}

function alreadyThere(path: string, cause: unknown): ClientError {
  return new ClientError(
    "KEY_FILE_EXISTS",
    `there is a key file ${path} already: without it its templates are lost, so it is kept; force to replace it`,
    { cause },
  );
}

function unusable(path: string, what: "read" | "written", cause: unknown): ClientError {
  const why = systemErrorText(cause);
  return new ClientError("KEY_FILE_INVALID", `the key file ${path} cannot be ${what}: ${why}`, { cause });
}

// A rename would replace even a device.
async function refuseNoFile(path: string): Promise<void> {
  const what = await noFileAt(path);
  if (what === undefined) return;
  throw new ClientError("KEY_FILE_INVALID", `the key file ${path} cannot be written: ${what} is there`);
}

function requirePassphrase(passphrase: string): void {
  if (passphrase === "")
    throw new ClientError(
      "PASSPHRASE_MISSING",
      "the passphrase is empty: a key file is only as safe as its passphrase",
    );
}
