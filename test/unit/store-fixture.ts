import { hash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ServerError } from "../../server/errors.ts";
import type { ModelSpace, RosterEntry } from "../../server/store/gallery-store.ts";
import { openBlockReader } from "../../server/store/lmdb-block-reader.ts";
import { LmdbStore } from "../../server/store/lmdb-store.ts";
import type { LmdbStoreOptions } from "../../server/store/lmdb-store.ts";

export const CONTEXT = "c".repeat(64);
export const KEY_ID = new Uint8Array(32).fill(7);
export const SPACE: ModelSpace = { dimension: 128, metric: "euclidean", normBound: 1, modelId: "model-1" };
export const STRIDE = 129;
export const SLOTS = 31;

/** The least that the store takes, so that tests are quick. */
export const SMALL_BYTES = 4096;
/** A ciphertext of the default parameter set. */
export const FULL_BYTES = 65536;

/** A store in a folder of its own, which goes when the fixture does. */
export class StoreFixture {
  readonly path = mkdtempSync(join(tmpdir(), "veilface-store-"));
  readonly #options: Omit<LmdbStoreOptions, "path">;
  store: LmdbStore;

  constructor(options: Omit<LmdbStoreOptions, "path"> = {}) {
    this.#options = options;
    this.store = LmdbStore.open({ path: this.path, ...options });
  }

  /** With a context and a gallery "g". */
  static async withGallery(options: Omit<LmdbStoreOptions, "path"> = {}): Promise<StoreFixture> {
    const fixture = new StoreFixture(options);
    await fixture.store.createContext({ contextId: CONTEXT, parameterSet: "PACKED_N4096_Q60", keyId: KEY_ID });
    await fixture.store.createGallery({ galleryId: "g", contextId: CONTEXT, space: SPACE });
    return fixture;
  }

  async reopen(): Promise<void> {
    await this.store.close();
    this.store = LmdbStore.open({ path: this.path, ...this.#options });
  }

  put(templateId: string, subjectId: string, residues = residuesOf(templateId), galleryId = "g"): Promise<RosterEntry> {
    const placement = this.store.reservePlacement(galleryId, templateId, subjectId, STRIDE, SLOTS);
    return this.store.putLooseTemplate(galleryId, { templateId, subjectId, placement, residues });
  }

  dataFile(): Buffer {
    return readFileSync(join(this.path, "data.mdb"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.store.close();
    rmSync(this.path, { recursive: true });
  }
}

/** Bytes that look random and differ from those of every other seed: SHAKE-256 of the seed. */
export function residuesOf(seed: string, bytes = SMALL_BYTES): Uint8Array {
  return Uint8Array.from(hash("shake256", seed, { outputEncoding: "buffer", outputLength: bytes }));
}

export const hasReason = (reason: string) => (error: unknown): boolean => error instanceof ServerError && error.reason === reason;

/** "block/slot" of a live entry. */
export function placeOf({ live }: RosterEntry): string {
  if (live === undefined) throw new Error("the entry is not live");
  return `${live.placement.block}/${live.placement.slot}`;
}

/** Every ciphertext of gallery "g" by its place, as a worker thread would read them. */
export async function readAll({ path, store }: StoreFixture): Promise<Map<string, Uint8Array>> {
  const reader = openBlockReader(path);
  const { gallery } = store.readerLocation("g");
  const found = new Map<string, Uint8Array>();
  for (const { block } of store.listBlocks("g").blocks) {
    for (const { slot, residues } of reader.looseTemplates(gallery, block)) found.set(`${block}/${slot}`, Uint8Array.from(residues));
  }
  await reader.close();
  return found;
}
