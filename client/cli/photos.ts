import { readFile, readdir, stat } from "node:fs/promises";
import { extname, join } from "node:path";
import { ClientError, errorCode } from "../errors.ts";
import type { DetectedFace, EncodedFace, FaceEncoder } from "../face/face-encoder.ts";
import type { ModelCard } from "../face/model-card.ts";
import type { ModelPack } from "../face/model-pack.ts";
import { checkId } from "../ids.ts";
import type { ModelFlags } from "./options.ts";
import type { Outcome } from "./outcome.ts";
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

/** A face that was chosen for the user: the largest of a photo, or one that had to be turned upright. */
interface TakenFace extends DetectedFace, Pick<EncodedFace, "turn"> {
  readonly path: string;
}

/** What turns photos into embeddings, for one command. */
export interface PhotoEncoder extends AsyncDisposable {
  readonly card: ModelCard;
  /** So far. */
  readonly taken: readonly TakenFace[];
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
  const taken: TakenFace[] = [];
  return {
    card: encoder.card,
    taken,
    encode: async (path) => {
      const { image, face } = await encodePhoto(encoder, path, MAX_IMAGE_BYTES, flags);
      const { box, score, turn, embedding } = face;
      if (flags.largestFace === true || turn !== 0) taken.push({ path, box, score, turn });
      return { image, embedding };
    },
    [Symbol.asyncDispose]: () => encoder[Symbol.asyncDispose](),
  };
}

interface ReadPhoto {
  readonly image: Buffer;
  readonly face: EncodedFace;
}

async function encodePhoto(
  encoder: FaceEncoder,
  path: string,
  maxBytes: number,
  flags: ModelFlags,
): Promise<ReadPhoto> {
  const image = await readPhoto(path, maxBytes);
  try {
    return { image, face: await encoder.encodeSingle(image, { largestFace: flags.largestFace === true }) };
  } catch (cause) {
    throw cause instanceof ClientError ? new ClientError(cause.reason, `${path}: ${cause.message}`, { cause }) : cause;
  }
}

/** Adds to what a command answers which faces were chosen for the user, where any were. */
export function withTakenFaces({ taken }: PhotoEncoder, outcome: Outcome): Outcome {
  if (taken.length === 0) return outcome;
  return { ...outcome, json: { ...outcome.json, faces: taken }, text: [...outcome.text, ...taken.map(describeTaken)] };
}

function describeTaken({ path, box, score, turn }: TakenFace): string {
  const [left, top, width, height] = [box.left, box.top, box.right - box.left, box.bottom - box.top].map(Math.round);
  const turned = turn === 0 ? "" : `, turned by ${turn} degrees clockwise`;
  const place = `${width} x ${height} pixels at ${left}, ${top}`;
  return `${path}: took the face of ${place} (score ${score.toFixed(2)})${turned}`;
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
