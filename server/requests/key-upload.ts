import { createHash, timingSafeEqual } from "node:crypto";
import type { Hash } from "node:crypto";
import { KeyMaterial, MAX_KEY_BYTES, MAX_KEY_CHUNK_BYTES, SHA256_BYTES } from "@veilface/proto";
import type { KeyChunk, KeyUpload } from "@veilface/proto";
import type { ServerError } from "../errors.ts";
import { MOST_UPLOADS, WAITING_BYTES } from "../limits.ts";
import { readAll } from "./read-all.ts";
import { fieldInvalid } from "../errors.ts";
import { WaitingBytes } from "./waiting-bytes.ts";
import type { Holding } from "./waiting-bytes.ts";

const TENSEAL_CONTEXT = KeyMaterial.KEY_MATERIAL_TENSEAL_CONTEXT;
const RELIN_KEYS = KeyMaterial.KEY_MATERIAL_SEAL_RELIN_KEYS;
const GALOIS_KEYS = KeyMaterial.KEY_MATERIAL_SEAL_GALOIS_KEYS;

const uploads = new WaitingBytes({ what: "uploads of keys", bytes: WAITING_BYTES, holders: MOST_UPLOADS });

/** Collects the key material of one context, in chunks. Dispose of it: few may be received at once. */
export class KeyUploads implements Disposable {
  readonly #objects: readonly KeyObject[];
  readonly #holding: Holding;

  /** Throws ServerError FIELD_INVALID, or TOO_LARGE, OVERLOADED (too many are under way). */
  constructor(announced: readonly KeyUpload[]) {
    checkAnnounced(announced);
    this.#objects = announced.map((upload) => new KeyObject(upload));
    this.#holding = uploads.open();
  }

  /** Aborts with the reason where the upload was too slow and had to make room for others. */
  get signal(): AbortSignal {
    return this.#holding.signal;
  }

  /**
   * Throws ServerError UPLOAD_BROKEN for a chunk that is not the next one, OVERLOADED if the server has no memory
   * for it now.
   */
  add({ material, offset, data }: KeyChunk): void {
    const next = this.#objects.find((object) => !object.complete);
    if (next === undefined) throw broken("key_chunk", "comes after all announced bytes: announce all there is");
    if (material !== next.material)
      throw broken(
        "key_chunk.material",
        `is ${nameOf(material)}, but the next bytes are of ${nameOf(next.material)}: send the objects in the order announced`,
      );
    next.check(offset, data);
    this.#holding.take(data.length);
    next.add(offset, data);
  }

  /** The objects, each whole and with its SHA-256. Throws ServerError UPLOAD_BROKEN. */
  finish(): Map<KeyMaterial, Uint8Array> {
    const whole = new Map(this.#objects.map((object) => [object.material, object.finish()]));
    this.#holding.settle();
    return whole;
  }

  [Symbol.dispose](): void {
    this.#holding[Symbol.dispose]();
  }
}

class KeyObject {
  readonly material: KeyMaterial;
  readonly #totalBytes: number;
  readonly #sha256: Uint8Array;
  /** Made with the first chunk. Chunks are copied: as they come they may be small parts of large messages. */
  #whole: Uint8Array | undefined;
  readonly #hash: Hash = createHash("sha256");
  #received = 0;

  constructor({ material, totalBytes, sha256 }: KeyUpload) {
    this.material = material;
    this.#totalBytes = totalBytes;
    this.#sha256 = new Uint8Array(sha256);
  }

  get complete(): boolean {
    return this.#received === this.#totalBytes;
  }

  /** Throws ServerError UPLOAD_BROKEN for a chunk that is not the next one. */
  check(offset: number, data: Uint8Array): void {
    if (data.length < 1 || data.length > MAX_KEY_CHUNK_BYTES)
      throw broken("key_chunk.data", `has ${data.length} bytes: expected 1 to ${MAX_KEY_CHUNK_BYTES}`);
    if (offset !== this.#received)
      throw broken(
        "key_chunk.offset",
        `is ${offset}, but ${this.#received} bytes of ${nameOf(this.material)} were received: send the chunks in order`,
      );
    if (offset + data.length > this.#totalBytes)
      throw broken(
        "key_chunk.data",
        `ends at byte ${offset + data.length} of ${nameOf(this.material)}, but ${this.#totalBytes} were announced`,
      );
  }

  add(offset: number, data: Uint8Array): void {
    this.#whole ??= new Uint8Array(this.#totalBytes);
    this.#whole.set(data, offset);
    this.#hash.update(data);
    this.#received += data.length;
  }

  finish(): Uint8Array {
    if (this.#whole === undefined || !this.complete)
      throw broken(
        "key_chunk",
        `the stream ended after ${this.#received} of ${this.#totalBytes} bytes of ${nameOf(this.material)}: upload it again`,
      );
    if (!timingSafeEqual(this.#hash.digest(), this.#sha256))
      throw broken(
        "new_context.key_uploads.sha256",
        `is not that of the bytes of ${nameOf(this.material)}: upload it again`,
      );
    return this.#whole;
  }
}

/** Throws ServerError FIELD_INVALID, or TOO_LARGE, naming all that is wrong. */
export function checkAnnounced(announced: readonly KeyUpload[]): void {
  readAll({
    materials: () => {
      checkMaterials(announced.map(({ material }) => material));
    },
    sizes: () => {
      if (announced.some(({ totalBytes }) => totalBytes < 1))
        throw fieldInvalid("new_context.key_uploads.total_bytes", "must be at least 1");
    },
    digests: () => {
      if (announced.some(({ sha256 }) => sha256.length !== SHA256_BYTES))
        throw fieldInvalid("new_context.key_uploads.sha256", `must have ${SHA256_BYTES} bytes`);
    },
    sum: () => {
      checkSum(announced.reduce((sum, { totalBytes }) => sum + totalBytes, 0));
    },
  });
}

function checkMaterials(materials: readonly KeyMaterial[]): void {
  const tenseal = materials.length === 1 && materials[0] === TENSEAL_CONTEXT;
  const seal = materials.length === 2 && materials.includes(RELIN_KEYS) && materials.includes(GALOIS_KEYS);
  if (!tenseal && !seal)
    throw fieldInvalid(
      "new_context.key_uploads",
      `must announce either ${nameOf(TENSEAL_CONTEXT)} alone, or ${nameOf(RELIN_KEYS)} and ${nameOf(GALOIS_KEYS)}`,
    );
}

function checkSum(bytes: number): void {
  if (bytes <= MAX_KEY_BYTES) return;
  throw fieldInvalid(
    "new_context.key_uploads",
    `announces ${bytes} bytes: expected at most ${MAX_KEY_BYTES}; leave out the Galois keys of other rotations than by the powers of two below the dimension of your vectors, as veilface tenseal upload FILE --dimension D does, or use seeded keys`,
    "TOO_LARGE",
  );
}

function nameOf(material: KeyMaterial): string {
  return Object.entries(KeyMaterial).find(([, value]) => value === material)?.[0] ?? "an unknown material";
}

function broken(field: string, description: string): ServerError {
  return fieldInvalid(field, description, "UPLOAD_BROKEN");
}
