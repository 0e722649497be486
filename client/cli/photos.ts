import { readFile, readdir, stat } from "node:fs/promises";
import { extname, join } from "node:path";
import { ClientError, errorCode } from "../errors.ts";
import type { FaceEncoder } from "../face/face-encoder.ts";
import type { ModelCard } from "../face/model-card.ts";
import type { ModelPack } from "../face/model-pack.ts";
import { checkId } from "../ids.ts";
import type { ModelFlags } from "./options.ts";
import { showProgress } from "./progress.ts";

/** A photo of a subject, on disk. */
export interface Photo {
  readonly subjectId: string;
  readonly path: string;
}

/** A photo's embedding, with the bytes it was made from. */
export interface EncodedPhoto {
  readonly image: Buffer;
  readonly embedding: Float32Array;
}

/** What turns photos into embeddings, for one command. */
export interface PhotoEncoder extends AsyncDisposable {
  readonly card: ModelCard;
  /** Throws ClientError with the reasons of FaceEncoder.encodeSingle, naming the file; USAGE where it cannot be read. */
  readonly encode: (path: string) => Promise<EncodedPhoto>;
}

const PHOTO_EXTENSIONS: readonly string[] = [".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".heic", ".heif", ".avif"];

/** Loads the model pack that the flags name, without its networks. */
export async function loadPack({ model }: ModelFlags): Promise<ModelPack> {
  const { loadDefaultModelPack, loadModelPack } = await import("../face/model-pack.ts");
  const stack = new DisposableStack();
  try {
    let progress: ReturnType<typeof showProgress> | undefined;
    const onProgress = ({ done, total }: { done: number; total: number }): void => {
      progress ??= stack.use(showProgress("preparing the face model, once", total + 1));
      progress.advance(done);
    };
    return await (model === undefined ? loadDefaultModelPack({ onProgress }) : loadModelPack(model, { onProgress }));
  } finally {
    stack.dispose();
  }
}

/** Loads the model pack that the flags name. Photo libraries are loaded here, so that commands without photos start fast. */
export async function openPhotoEncoder(flags: ModelFlags): Promise<PhotoEncoder> {
  const pack = await loadPack(flags);
  const { FaceEncoder: Encoder } = await import("../face/face-encoder.ts");
  const { MAX_IMAGE_BYTES } = await import("../face/image.ts");
  const encoder = await Encoder.open(pack);
  return {
    card: encoder.card,
    encode: (path) => encodePhoto(encoder, path, MAX_IMAGE_BYTES, flags),
    [Symbol.asyncDispose]: () => encoder[Symbol.asyncDispose](),
  };
}

async function encodePhoto(encoder: FaceEncoder, path: string, maxBytes: number, flags: ModelFlags): Promise<EncodedPhoto> {
  const image = await readPhoto(path, maxBytes);
  try {
    const { embedding } = await encoder.encodeSingle(image, { largestFace: flags.largestFace === true });
    return { image, embedding };
  } catch (cause) {
    throw cause instanceof ClientError ? new ClientError(cause.reason, `${path}: ${cause.message}`, { cause }) : cause;
  }
}

async function readPhoto(path: string, maxBytes: number): Promise<Buffer> {
  try {
    const { size } = await stat(path);
    if (size > maxBytes) throw new ClientError("IMAGE_TOO_LARGE", `${path}: has ${size} bytes, expected at most ${maxBytes}`);
    return await readFile(path);
  } catch (cause) {
    throw cause instanceof ClientError ? cause : unreadable(path, cause);
  }
}

/** The photos of a folder of folders, one per subject and named by its id. Files that are no photos by their name are passed over. */
export async function photosOfPeople(folder: string): Promise<Photo[]> {
  const photos: Photo[] = [];
  for (const name of await namesIn(folder, true)) {
    const subjectId = checkFolderName(folder, name);
    const files = (await namesIn(join(folder, name), false)).filter((file) => PHOTO_EXTENSIONS.includes(extname(file).toLowerCase()));
    if (files.length === 0) throw new ClientError("USAGE", `${join(folder, name)} has no photos: expected files that end in ${PHOTO_EXTENSIONS.join(", ")}`);
    photos.push(...files.map((file) => ({ subjectId, path: join(folder, name, file) })));
  }
  if (photos.length === 0) throw new ClientError("USAGE", `${folder} has no folders: expected one per person, named by the person's id, with photos in it`);
  return photos;
}

async function namesIn(folder: string, folders: boolean): Promise<string[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory() === folders && !entry.name.startsWith(".")).map(({ name }) => name).sort();
  } catch (cause) {
    throw unreadable(folder, cause);
  }
}

function checkFolderName(folder: string, name: string): string {
  try {
    return checkId("subject", name);
  } catch (cause) {
    const suggestion = name.normalize("NFKD").toLowerCase().replaceAll(/\p{M}/gu, "").replaceAll(/[^a-z0-9]+/g, "-").replaceAll(/^-|-$/g, "").slice(0, 64);
    const advice = suggestion === "" ? "rename it" : `rename it, for example to ${suggestion}`;
    throw new ClientError("USAGE", `the folder ${join(folder, name)} cannot be a subject id: 1 to 64 characters of a-z, 0-9 and "-"; ${advice}`, { cause });
  }
}

function unreadable(path: string, cause: unknown): ClientError {
  return new ClientError("USAGE", `${path} cannot be read: ${errorCode(cause)}`, { cause });
}
