import { hash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ServerError } from "../../../server/errors.ts";
import type {
  ModelSpace,
  PackedBlockEntry,
  PackedScheme,
  PackedSlot,
  RosterEntry,
} from "../../../server/store/gallery-store.ts";
import { openBlockReader } from "../../../server/store/lmdb/readers/block-reader.ts";
import { LmdbStore } from "../../../server/store/lmdb/lmdb-store.ts";
import type { LmdbStoreOptions } from "../../../server/store/lmdb/lmdb-store.ts";

export const CONTEXT = "c".repeat(64);
export const PACKED: PackedScheme = {
  kind: "packed",
  parameterSet: "PACKED_N4096_Q60",
  keyId: new Uint8Array(32).fill(7),
};
export const SPACE: ModelSpace = {
  dimension: 128,
  metric: "euclidean",
  normBound: 1,
  modelId: "model-1",
  modelVersion: "",
};
export const STRIDE = 129;
export const SLOTS = 31;
/** Of packed blocks in gallery "g": 512 slots. */
export const PACKED_STRIDE = 8;
/** What a test does not care about of a new gallery. */
/** Of any gallery that needs no uid of its own. */
const UID = new Uint8Array(16).fill(7);
export const PLAIN = {
  space: SPACE,
  packedStride: PACKED_STRIDE,
  expectedTemplates: 0,
  draftOf: undefined,
  uid: UID,
  labels: {},
};

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
    await fixture.store.createContext({ contextId: CONTEXT, scheme: PACKED });
    await fixture.store.createGallery({ galleryId: "g", contextId: CONTEXT, ...PLAIN });
    return fixture;
  }

  async reopen(): Promise<void> {
    await this.store.close();
    this.store = LmdbStore.open({ path: this.path, ...this.#options });
  }

  async put(
    templateId: string,
    subjectId: string,
    residues = residuesOf(templateId),
    galleryId = "g",
  ): Promise<RosterEntry> {
    const placement = this.store.reservePlacement(
      galleryId,
      { templateId, subjectId },
      { stride: STRIDE, slots: SLOTS },
    );
    return (await this.store.putLooseTemplate(galleryId, { templateId, subjectId, placement, residues })).entry;
  }

  /** Packs a block of templates with these ids and subjects; its chunks are {@link chunksOf} the seed. */
  async putPacked(
    slots: readonly PackedSlot[],
    seed: string,
    galleryId = "g",
    stride = PACKED_STRIDE,
    chunkBytes = SMALL_BYTES,
  ): Promise<PackedBlockEntry> {
    const { gallery } = this.store.readerLocation(galleryId);
    return (await this.store.putPackedBlock(galleryId, { gallery, stride, slots, chunks: chunksOf(seed, chunkBytes) }))
      .entry;
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

/** Three chunks that differ from those of every other seed. */
export function chunksOf(seed: string, bytes = SMALL_BYTES): Uint8Array[] {
  return [1, 2, 3].map((i) => residuesOf(`${seed} chunk ${i}`, bytes));
}

export const hasReason =
  (reason: string) =>
  (error: unknown): boolean =>
    error instanceof ServerError && error.reason === reason;

/** "block/slot" of a live entry. */
export function placeOf({ live }: RosterEntry): string {
  if (live === undefined) throw new Error("the entry is not live");
  return `${live.placement.block}/${live.placement.slot}`;
}

/**
 * Every ciphertext of a gallery as a worker thread would read them: loose ones by "block/slot", chunks of a packed
 * block by "block#i".
 */
export async function readAll({ path, store }: StoreFixture, galleryId = "g"): Promise<Map<string, Uint8Array>> {
  const reader = openBlockReader(path);
  const { gallery } = store.readerLocation(galleryId);
  const found = new Map<string, Uint8Array>();
  for (const { block } of (await store.listBlocks(galleryId)).blocks) {
    for (const { slot, residues } of reader.looseTemplates(gallery, block))
      found.set(`${block}/${slot}`, Uint8Array.from(residues!));
    if (reader.blockKind(gallery, block) !== "packed") continue;
    let i = 0;
    for (const chunk of reader.packedChunks(gallery, block)) found.set(`${block}#${i++}`, Uint8Array.from(chunk));
  }
  await reader.close();
  return found;
}
