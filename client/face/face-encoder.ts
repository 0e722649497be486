import { ClientError } from "../errors.ts";
import { alignFace } from "./alignment.ts";
import { describeFace } from "./descriptor.ts";
import { detectFaces } from "./detector.ts";
import { boxArea, scaleBox } from "./geometry.ts";
import type { Box, Point, ScoredBox } from "./geometry.ts";
import { decodeImage } from "./image.ts";
import type { DecodedImage } from "./image.ts";
import { locateLandmarks } from "./landmarks.ts";
import type { ModelCard } from "./model-card.ts";
import type { ModelPack } from "./model-pack.ts";
import { ModelSession } from "./session.ts";

/** A face found in an image. Coordinates are pixels of the upright image, that is, after its EXIF orientation is applied. */
export interface DetectedFace {
  readonly box: Box;
  /** The detector's confidence, [0.5, 1]. */
  readonly score: number;
}

export interface EncodedFace extends DetectedFace {
  /** The 68 points of the iBUG 300-W markup. */
  readonly landmarks: readonly Point[];
  /** `card.dimension` numbers, to be compared under `card.metric`. As personal as the photo: encrypt before it leaves. */
  readonly embedding: Float32Array;
}

export interface EncodeSingleOptions {
  /** Take the face with the largest box where there are several, instead of refusing. */
  readonly largestFace?: boolean;
}

/** A find this much smaller than the main face is somebody in the background, or an earring: no reason to refuse the photo. */
const BYSTANDER_AREA_SHARE = 0.04;

/**
 * Turns photos into embeddings with the networks of one model pack. A photo takes 0.1 to 0.15 s of one core, in which
 * JavaScript is partly blocked: a service should keep its encoder in a worker thread.
 */
export class FaceEncoder implements AsyncDisposable {
  readonly card: ModelCard;
  readonly #detector: ModelSession;
  readonly #landmarks: ModelSession;
  readonly #descriptor: ModelSession;

  private constructor(card: ModelCard, [detector, landmarks, descriptor]: [ModelSession, ModelSession, ModelSession]) {
    this.card = card;
    this.#detector = detector;
    this.#landmarks = landmarks;
    this.#descriptor = descriptor;
  }

  /**
   * Loads the pack's networks and tries each once, so that a pack that does not fit its card is refused here.
   * @throws ClientError MODEL_PACK_INVALID
   */
  static async open(pack: ModelPack): Promise<FaceEncoder> {
    const opened: ModelSession[] = [];
    try {
      for (const path of [pack.detectorPath, pack.landmarksPath, pack.descriptorPath]) opened.push(await ModelSession.open(path));
      const encoder = new FaceEncoder(pack.card, opened as [ModelSession, ModelSession, ModelSession]);
      await encoder.#tryNetworks();
      return encoder;
    } catch (error) {
      await Promise.all(opened.map((session) => session[Symbol.asyncDispose]()));
      throw error;
    }
  }

  /**
   * Finds faces without encoding them.
   * @param image - the bytes of an image file; `decodeImage` says which
   * @returns the faces, largest box first; none is an empty list
   * @throws ClientError NOT_AN_IMAGE, IMAGE_TOO_LARGE
   */
  async detect(image: Uint8Array): Promise<DetectedFace[]> {
    const decoded = await decodeImage(image);
    return (await this.#detect(decoded)).map(({ box, score }) => ({ box: scaleBox(box, decoded.pixelRatio), score }));
  }

  /**
   * Finds and encodes every face.
   * @param image - the bytes of an image file; `decodeImage` says which
   * @returns the faces, largest box first; none is an empty list
   * @throws ClientError NOT_AN_IMAGE, IMAGE_TOO_LARGE
   */
  async encode(image: Uint8Array): Promise<EncodedFace[]> {
    const decoded = await decodeImage(image);
    const encoded: EncodedFace[] = [];
    for (const found of await this.#detect(decoded)) encoded.push(await this.#encodeFace(decoded, found));
    return encoded;
  }

  /**
   * Encodes the face of a photo that should show one person. Faces of under 4 % of the largest one's area do not count.
   * @throws ClientError NO_FACE; SEVERAL_FACES, unless `largestFace` is set; NOT_AN_IMAGE, IMAGE_TOO_LARGE
   */
  async encodeSingle(image: Uint8Array, options: EncodeSingleOptions = {}): Promise<EncodedFace> {
    const decoded = await decodeImage(image);
    const [largest, ...others] = await this.#detect(decoded);
    if (largest === undefined) {
      throw new ClientError("NO_FACE", "no face was found in the image; use a sharp photo that shows the whole face from the front");
    }
    const rivals = others.filter(({ box }) => boxArea(box) >= BYSTANDER_AREA_SHARE * boxArea(largest.box));
    if (rivals.length > 0 && options.largestFace !== true) {
      const message = `${rivals.length + 1} faces were found in the image, expected one; crop it, or ask for the largest face`;
      throw new ClientError("SEVERAL_FACES", message);
    }
    return this.#encodeFace(decoded, largest);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#detector, this.#landmarks, this.#descriptor].map((session) => session[Symbol.asyncDispose]()));
  }

  async #detect(image: DecodedImage): Promise<ScoredBox[]> {
    return (await detectFaces(this.#detector, image)).toSorted((a, b) => boxArea(b.box) - boxArea(a.box));
  }

  async #encodeFace(image: DecodedImage, { box, score }: ScoredBox): Promise<EncodedFace> {
    const { input, alignment } = this.card.descriptor;
    const landmarks = await locateLandmarks(this.#landmarks, image, box);
    const chip = await alignFace(image, landmarks, alignment, input.width, input.height);
    return {
      box: scaleBox(box, image.pixelRatio),
      score,
      landmarks: landmarks.map(({ x, y }) => ({ x: x * image.pixelRatio, y: y * image.pixelRatio })),
      embedding: await describeFace(this.#descriptor, this.card, chip),
    };
  }

  async #tryNetworks(): Promise<void> {
    const { width, height } = this.card.descriptor.input;
    const grey = { width, height, data: new Uint8Array(width * height * 3).fill(128) };
    await detectFaces(this.#detector, grey);
    await locateLandmarks(this.#landmarks, grey, { left: 0, top: 0, right: width, bottom: height });
    await describeFace(this.#descriptor, this.card, grey);
  }
}
