import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { FaceError } from "../errors.ts";

/** A named array of the published networks; the last axis varies fastest. */
export interface Tensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** One entry of a TensorFlow.js weights manifest, as far as these networks use it. */
interface ManifestEntry {
  readonly name: string;
  readonly shape: readonly number[];
  /** Of 8-bit weights; undefined for float32. */
  readonly quantization: { readonly scale: number; readonly min: number } | undefined;
}

/** The weights of one network of `@vladmandic/face-api`, unpacked one at a time as they are asked for. */
export class Weights {
  readonly #base: string;
  readonly #bytes: DataView;
  readonly #entries = new Map<string, ManifestEntry & { readonly offset: number }>();

  private constructor(base: string, bytes: Uint8Array, entries: readonly ManifestEntry[]) {
    this.#base = base;
    this.#bytes = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let offset = 0;
    for (const entry of entries) {
      this.#entries.set(entry.name, { ...entry, offset });
      offset += elementCount(entry.shape) * (entry.quantization ? 1 : 4);
    }
    if (offset !== bytes.length) throw damaged(base, `${bytes.length} bytes of weights, expected ${offset}`);
  }

  /**
   * Throws FaceError MODEL_PACK_INVALID where the package is missing or is not the one this conversion was written for.
   */
  static async read(base: string): Promise<Weights> {
    const folder = modelFolder();
    try {
      const manifest = await readFile(join(folder, `${base}-weights_manifest.json`), "utf8");
      return new Weights(base, await readFile(join(folder, `${base}.bin`)), parseManifest(manifest));
    } catch (cause) {
      throw cause instanceof FaceError ? cause : damaged(base, "its files cannot be read", cause);
    }
  }

  /** Unpacks one tensor: 8-bit weights are value * scale + min, the others little-endian float32. */
  get(name: string): Tensor {
    const entry = this.#entries.get(name);
    if (entry === undefined) throw damaged(this.#base, `it has no weights "${name}"`);
    const { shape, offset, quantization } = entry;
    const data = new Float32Array(elementCount(shape));
    for (let i = 0; i < data.length; i++) {
      data[i] = quantization
        ? this.#bytes.getUint8(offset + i) * quantization.scale + quantization.min
        : this.#bytes.getFloat32(offset + 4 * i, true);
    }
    return { shape, data };
  }
}

/** A list of groups of weights. Throws Error for anything else. */
function parseManifest(json: string): ManifestEntry[] {
  const groups: unknown = JSON.parse(json);
  return list(groups).flatMap((group) => list(record(group)["weights"]).map(parseEntry));
}

function parseEntry(value: unknown): ManifestEntry {
  const { name, shape, quantization } = record(value);
  if (typeof name !== "string") throw new Error("weights without a name");
  const lengths = list(shape).map(finite);
  if (quantization === undefined) return { name, shape: lengths, quantization };
  const { scale, min } = record(quantization);
  return { name, shape: lengths, quantization: { scale: finite(scale), min: finite(min) } };
}

function list(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw new Error("no list where one belongs");
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value === "object" && value !== null) return { ...value };
  throw new Error("no object where one belongs");
}

function finite(value: unknown): number {
  if (typeof value === "number" && Number.isFinite(value)) return value;
  throw new Error("no number where one belongs");
}

function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, length) => product * length, 1);
}

function modelFolder(): string {
  try {
    return join(dirname(createRequire(import.meta.url).resolve("@vladmandic/face-api/package.json")), "model");
  } catch (cause) {
    throw new FaceError("MODEL_PACK_INVALID", "the package @vladmandic/face-api is not installed; install it again", {
      cause,
    });
  }
}

function damaged(base: string, problem: string, cause?: unknown): FaceError {
  const message = `the network ${base} of @vladmandic/face-api is damaged: ${problem}; install the package again`;
  return new FaceError("MODEL_PACK_INVALID", message, { cause });
}
