import { readInput, systemErrorText } from "@veilface/client/advanced";
import { CliError, isKnown, reworded } from "./errors.ts";
import type { DetectedFace, EncodedFace, FaceEncoder } from "@veilface/face";
import type { ModelCard } from "@veilface/face";
import type { ModelPack } from "@veilface/face";
import type { ModelFlags } from "./options.ts";
import type { Outcome } from "./outcome.ts";
import { showProgress } from "./progress.ts";

/** A photo's embedding, with the bytes it was made from. */
interface EncodedPhoto {
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
  /** Throws CliError with the reasons of FaceEncoder.encodeSingle, naming the file; USAGE where it cannot be read. */
  readonly encode: (path: string) => Promise<EncodedPhoto>;
  /** The same, of bytes that were read from there already. */
  readonly encodeBytes: (path: string, image: Buffer) => Promise<EncodedPhoto>;
}

/** Loads the model pack that the flags name, without its networks. */
export async function loadPack({ model }: ModelFlags): Promise<ModelPack> {
  const { loadDefaultModelPack, loadModelPack } = await import("@veilface/face");
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

/**
 * Loads the model pack that the flags name. Photo libraries are loaded here, so that commands without photos start
 * fast.
 */
export async function openPhotoEncoder(flags: ModelFlags): Promise<PhotoEncoder> {
  const pack = await loadPack(flags);
  const { FaceEncoder: Encoder } = await import("@veilface/face");
  const encoder = await Encoder.open(pack);
  const taken: TakenFace[] = [];
  const take = async (path: string, bytes: Buffer): Promise<EncodedPhoto> => {
    const { box, score, turn, embedding } = await encodePhoto(encoder, { path, bytes }, flags);
    if (flags.largestFace === true || turn !== 0) taken.push({ path, box, score, turn });
    return { image: bytes, embedding };
  };
  return {
    card: encoder.card,
    taken,
    encode: async (path) => take(path, await readPhoto(path)),
    encodeBytes: take,
    [Symbol.asyncDispose]: () => encoder[Symbol.asyncDispose](),
  };
}

interface ReadPhoto {
  readonly path: string;
  readonly bytes: Buffer;
}

async function encodePhoto(
  encoder: FaceEncoder,
  { path, bytes }: ReadPhoto,
  { largestFace }: ModelFlags,
): Promise<EncodedFace> {
  try {
    return await encoder.encodeSingle(bytes, { largestFace: largestFace === true });
  } catch (cause) {
    throw isKnown(cause) ? reworded(cause, `${path}: ${cause.message}`) : cause;
  }
}

/** Adds to what a command answers which faces were chosen for the user, where any were. */
export function withTakenFaces({ taken }: Pick<PhotoEncoder, "taken">, outcome: Outcome): Outcome {
  if (taken.length === 0) return outcome;
  return { ...outcome, json: { ...outcome.json, faces: taken }, text: [...outcome.text, ...taken.map(describeTaken)] };
}

function describeTaken({ path, box, score, turn }: TakenFace): string {
  const [left, top, width, height] = [box.left, box.top, box.right - box.left, box.bottom - box.top].map(Math.round);
  const turned = turn === 0 ? "" : `, turned by ${turn} degrees clockwise`;
  const place = `${width} x ${height} pixels at ${left}, ${top}`;
  return `${path}: took the face of ${place} (score ${score.toFixed(2)})${turned}`;
}

/** The bytes of a photo. Throws CliError IMAGE_TOO_LARGE, USAGE where it cannot be read, both naming the file. */
export async function readPhoto(path: string): Promise<Buffer> {
  const { MAX_IMAGE_BYTES: maxBytes } = await import("@veilface/face");
  try {
    return await readInput(path, { maxBytes, tooLarge: (size) => tooLarge(path, size, maxBytes) });
  } catch (cause) {
    if (isKnown(cause)) throw cause;
    throw new CliError("USAGE", `${path} cannot be read: ${systemErrorText(cause)}`, { cause });
  }
}

function tooLarge(path: string, size: string, maxBytes: number): CliError {
  return new CliError("IMAGE_TOO_LARGE", `${path}: has ${size}, expected at most ${maxBytes}`);
}
