import { randomUUID } from "node:crypto";
import { mkdir, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { FaceError } from "../errors.ts";
import { cacheFolder } from "../folders.ts";
import { hashBytes, hashFile } from "../file-hash.ts";
import type { ModelFile } from "../model-card.ts";
import { DEFAULT_CARD } from "./card.ts";
import { buildDescriptorGraph } from "./descriptor-graph.ts";
import { buildDetectorGraph } from "./detector-graph.ts";
import { buildLandmarkGraph } from "./landmark-graph.ts";
import { Weights } from "./weights.ts";

/** How far the one-time preparation of the default pack has come: networks written, of how many. */
export interface BuildProgress {
  /** Networks that are written, in [0, total]. */
  readonly done: number;
  /** Networks that were not there; at most 3. */
  readonly total: number;
}

interface Recipe {
  readonly target: Required<ModelFile>;
  readonly weights: string;
  readonly build: (weights: Weights) => Uint8Array;
}

const RECIPES: readonly Recipe[] = [
  { target: DEFAULT_CARD.detector, weights: "ssd_mobilenetv1_model", build: buildDetectorGraph },
  { target: DEFAULT_CARD.landmarks, weights: "face_landmark_68_model", build: buildLandmarkGraph },
  { target: DEFAULT_CARD.descriptor, weights: "face_recognition_model", build: buildDescriptorGraph },
];

/** Files of a preparation that was killed are removed once no running one can own them. */
const ABANDONED_AFTER_MS = 3_600_000;
const TEMPORARY_SUFFIX = ".part";

/**
 * Makes sure that the default pack stands in the cache folder, whole and undamaged.
 *
 * The SHA-256 of every file is known beforehand, so a file is either exactly right or made again. Each is written
 * beside its place and renamed onto it: processes that do so at once write the same bytes, and one that is interrupted
 * leaves nothing that is used. Throws FaceError MODEL_CACHE_UNUSABLE where the folder cannot be written,
 * MODEL_PACK_INVALID where the weights are damaged.
 */
export async function ensureDefaultPack(
  onProgress?: (progress: BuildProgress) => void,
): Promise<{ folder: string; card: typeof DEFAULT_CARD }> {
  const folder = join(await cacheRoot(), "models", `${DEFAULT_CARD.id}-${DEFAULT_CARD.version}`);
  const missing: Recipe[] = [];
  for (const recipe of RECIPES) {
    if ((await hashFile(join(folder, recipe.target.file))) !== recipe.target.sha256) missing.push(recipe);
  }
  if (missing.length > 0) await buildMissing(folder, missing, onProgress);
  return { folder, card: DEFAULT_CARD };
}

async function cacheRoot(): Promise<string> {
  const folder = await cacheFolder();
  if (folder !== undefined) return folder;
  const message = "this user has no home folder to keep the face model in: set VEILFACE_CACHE to a folder, or HOME";
  throw new FaceError("MODEL_CACHE_UNUSABLE", message);
}

async function buildMissing(
  folder: string,
  missing: readonly Recipe[],
  onProgress?: (progress: BuildProgress) => void,
): Promise<void> {
  await inCache(folder, () => mkdir(folder, { recursive: true }));
  await inCache(folder, () => removeAbandoned(folder));
  const total = missing.length;
  onProgress?.({ done: 0, total });
  for (const [i, recipe] of missing.entries()) {
    const bytes = await convert(recipe);
    await inCache(folder, () => replaceFile(folder, recipe.target, bytes));
    onProgress?.({ done: i + 1, total });
  }
  // For people who look into the folder, and to serve as a pattern for a pack of their own.
  const card = new TextEncoder().encode(`${JSON.stringify(DEFAULT_CARD, null, 2)}\n`);
  await inCache(folder, () => replaceFile(folder, { file: "model.json", sha256: hashBytes(card) }, card));
}

async function convert({ target, weights, build }: Recipe): Promise<Uint8Array> {
  const bytes = build(await Weights.read(weights));
  const actual = hashBytes(bytes);
  if (actual === target.sha256) return bytes;
  const message = `${target.file}, made from @vladmandic/face-api, has SHA-256 ${actual}, expected ${target.sha256}; install that package again`;
  throw new FaceError("MODEL_PACK_INVALID", message);
}

async function replaceFile(folder: string, { file, sha256 }: Required<ModelFile>, bytes: Uint8Array): Promise<void> {
  const temporary = join(folder, `${file}.${randomUUID()}${TEMPORARY_SUFFIX}`);
  try {
    await writeFile(temporary, bytes, { flush: true });
    await rename(temporary, join(folder, file));
  } catch (cause) {
    await rm(temporary, { force: true });
    // Windows refuses to replace a file that another process has open; if that one is right, nothing is lost.
    if ((await hashFile(join(folder, file))) !== sha256) throw cause;
  }
}

async function removeAbandoned(folder: string): Promise<void> {
  for (const name of (await readdir(folder)).filter((entry) => entry.endsWith(TEMPORARY_SUFFIX))) {
    const path = join(folder, name);
    const age =
      Date.now() -
      (await stat(path).then(
        (file) => file.mtimeMs,
        () => Date.now(),
      ));
    if (age > ABANDONED_AFTER_MS) await rm(path, { force: true });
  }
}

async function inCache<T>(folder: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    const message = `the model cache ${folder} cannot be written; set VEILFACE_CACHE to a folder that can`;
    throw new FaceError("MODEL_CACHE_UNUSABLE", message, { cause });
  }
}
