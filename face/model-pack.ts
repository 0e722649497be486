import { join } from "node:path";
import { FaceError } from "./errors.ts";
import { ensureDefaultPack } from "./default-pack/cache.ts";
import type { BuildProgress } from "./default-pack/cache.ts";
import { hashFile } from "./file-hash.ts";
import { fileErrorText, readModelFile } from "./model-file.ts";
import { parseModelCard } from "./model-card.ts";
import type { ModelCard, ModelFile } from "./model-card.ts";

/** A model whose card has been checked and whose files are there. */
export interface ModelPack {
  /** What its `model.json` says. */
  readonly card: ModelCard;
  /** Path of the ONNX file that finds faces. */
  readonly detectorPath: string;
  /** Path of the ONNX file that finds the points of a face. */
  readonly landmarksPath: string;
  /** Path of the ONNX file that computes the embedding. */
  readonly descriptorPath: string;
}

/** Who hears of a pack's preparation. */
export interface ModelPackOptions {
  /** Told how far the default pack's one-time preparation (a few seconds) has come; never called once it is cached. */
  readonly onProgress?: (progress: BuildProgress) => void;
}

/**
 * Reads a model pack: a folder with a `model.json` card and the ONNX files it names. A pack that brings no detector or
 * no landmark network borrows the default pack's. Throws FaceError MODEL_PACK_INVALID where the card or a file is
 * missing, malformed or not the one the card names; as {@link loadDefaultModelPack} where that one is borrowed from.
 */
export async function loadModelPack(folder: string, options: ModelPackOptions = {}): Promise<ModelPack> {
  const card = parseModelCard(await readCard(folder));
  const descriptorPath = await checkFile(folder, card.descriptor);
  const own = { detector: card.detector, landmarks: card.landmarks };
  if (own.detector && own.landmarks) {
    const [detectorPath, landmarksPath] = [
      await checkFile(folder, own.detector),
      await checkFile(folder, own.landmarks),
    ];
    return { card, detectorPath, landmarksPath, descriptorPath };
  }
  const fallback = await loadDefaultModelPack(options);
  return {
    card,
    detectorPath: own.detector ? await checkFile(folder, own.detector) : fallback.detectorPath,
    landmarksPath: own.landmarks ? await checkFile(folder, own.landmarks) : fallback.landmarksPath,
    descriptorPath,
  };
}

/**
 * The pack that needs no download: dlib's descriptor, with face-api's detector and landmarks. Prepared at first use and
 * kept in the user's cache folder, or in the folder the environment variable VEILFACE_CACHE names. Throws FaceError
 * MODEL_CACHE_UNUSABLE where that folder cannot be written, MODEL_PACK_INVALID where the weights' package is damaged.
 */
export async function loadDefaultModelPack(options: ModelPackOptions = {}): Promise<ModelPack> {
  const { folder, card } = await ensureDefaultPack(options.onProgress);
  return {
    card,
    detectorPath: join(folder, card.detector.file),
    landmarksPath: join(folder, card.landmarks.file),
    descriptorPath: join(folder, card.descriptor.file),
  };
}

async function readCard(folder: string): Promise<string> {
  try {
    return (await readModelFile(join(folder, "model.json"))).toString();
  } catch (cause) {
    const why = fileErrorText(cause);
    throw new FaceError("MODEL_PACK_INVALID", `${folder} is not a model pack: its model.json cannot be read (${why})`, {
      cause,
    });
  }
}

async function checkFile(folder: string, { file, sha256 }: ModelFile): Promise<string> {
  const path = join(folder, file);
  const actual = await hashFile(path);
  if (actual === undefined) throw new FaceError("MODEL_PACK_INVALID", `the model pack's file ${path} cannot be read`);
  if (sha256 !== undefined && actual !== sha256) {
    throw new FaceError(
      "MODEL_PACK_INVALID",
      `${path} has SHA-256 ${actual}, its card says ${sha256}; copy the pack again`,
    );
  }
  return path;
}
