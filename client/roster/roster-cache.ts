import { mkdir, open, rm } from "node:fs/promises";
import { join } from "node:path";
import type { KeyHolder } from "../keys/key-holder.ts";
import type { RosterStore } from "./roster.ts";
import { UID_BYTES } from "@veilface/proto";
import { writeWholeFile } from "../whole-file.ts";
import { ciphersOf } from "../keys/key-holder.ts";

const OWNER_ONLY = 0o600;
// About ten million templates; larger rosters are read from the server each time.
const MAX_FILE_BYTES = 2 ** 29;

/**
 * Stored copies of rosters, a file per gallery. Who is enrolled is the key holder's own affair: a file's name is
 * pseudonymous and its content, which begins with the gallery's uid, encrypted under the key, with the gallery's id as
 * what it is about, so that one of another key or gallery, or a damaged one, does not open and is not used. Trouble
 * with the disk costs time, never a search.
 */
export class RosterCache {
  readonly #folder: string;
  readonly #keyHolder: KeyHolder;

  /** `folder`: made at the first save, open to its owner only. */
  constructor(folder: string, keyHolder: KeyHolder) {
    this.#folder = folder;
    this.#keyHolder = keyHolder;
  }

  /** The store of one gallery's roster. */
  storeFor(galleryId: string): RosterStore {
    const about = `veilface.v1 roster 2 ${galleryId}`;
    const path = this.#path(galleryId);
    return {
      load: async () => {
        const encrypted = await read(path);
        const found = encrypted && ciphersOf(this.#keyHolder).decryptLocally(about, encrypted);
        if (found === undefined || found.length < UID_BYTES) return undefined;
        const uid = Buffer.from(found.subarray(0, UID_BYTES)).toString("hex");
        return { uid, bytes: new Uint8Array(found.subarray(UID_BYTES)) };
      },
      save: async ({ uid, bytes }) => {
        if (bytes.length > MAX_FILE_BYTES - 128) return;
        const content = Buffer.concat([Buffer.from(uid, "hex"), bytes]);
        await this.#write(path, ciphersOf(this.#keyHolder).encryptLocally(about, content)).catch(() => undefined);
      },
    };
  }

  /** Forgets a gallery's roster. */
  async forget(galleryId: string): Promise<void> {
    await rm(this.#path(galleryId), { force: true }).catch(() => undefined);
  }

  #path(galleryId: string): string {
    return join(this.#folder, `${this.#keyHolder.pseudonym("roster cache", galleryId).slice(0, 32)}.roster`);
  }

  async #write(path: string, bytes: Buffer): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    await writeWholeFile(path, bytes, { replace: true, mode: OWNER_ONLY, durable: false });
  }
}

async function read(path: string): Promise<Buffer | undefined> {
  try {
    await using file = await open(path, "r");
    const { size } = await file.stat();
    return size > MAX_FILE_BYTES ? undefined : await file.readFile();
  } catch {
    return undefined;
  }
}
