import { describeFace } from "./descriptor.ts";
import { detectFaces } from "./detector.ts";
import { readFace } from "./face-reader.ts";
import type { FaceReading } from "./face-reader.ts";
import { boxArea, scaleBox } from "./geometry.ts";
import type { Box, Point, ScoredBox } from "./geometry.ts";
import { decodeImage, turnImage } from "./image.ts";
import type { DecodedImage, RgbImage } from "./image.ts";
import { locateLandmarks } from "./landmarks.ts";
import type { ModelCard } from "./model-card.ts";
import type { ModelPack } from "./model-pack.ts";
import { turnBoxBack, turnPointBack } from "./quarter-turn.ts";
import type { QuarterTurn } from "./quarter-turn.ts";
import { ModelSession } from "./session.ts";
import { lookUpright } from "./upright-look.ts";
import type { Look } from "./upright-look.ts";
import { chooseFace, isUsable } from "./usable-face.ts";

/**
 * A face found in an image. Coordinates are pixels of the image as it is shown, that is, after its EXIF orientation
 * is applied.
 */
export interface DetectedFace {
  /** Around the face; inside the image. */
  readonly box: Box;
  /** The detector's confidence, [0.65, 1]. */
  readonly score: number;
}

/** A face with its embedding. */
export interface EncodedFace extends DetectedFace {
  /** The 68 points of the iBUG 300-W markup. */
  readonly landmarks: readonly Point[];
  /**
   * `card.dimension` numbers, to be compared under `card.metric`. As personal as the photo: encrypt before it leaves.
   */
  readonly embedding: Float32Array;
  /**
   * By how many degrees clockwise the image was turned to stand the face upright; `box` and `landmarks` are of the
   * image before.
   */
  readonly turn: QuarterTurn;
}

/** Which face of several is encoded. */
export interface EncodeSingleOptions {
  /** Take the face that is largest, and surely one, where there are several, instead of refusing. */
  readonly largestFace?: boolean;
}

interface Networks {
  readonly detector: ModelSession;
  readonly landmarks: ModelSession;
  readonly descriptor: ModelSession;
}

/**
 * Turns photos into embeddings with the networks of one model pack. A photo takes 0.15 to 0.2 s of one core, one that
 * has to be turned four times as long, in which JavaScript is partly blocked: a service should keep its encoder in a
 * worker thread.
 */
export class FaceEncoder implements AsyncDisposable {
  /** The card of the pack that it was opened with. */
  readonly card: ModelCard;
  readonly #networks: Networks;

  private constructor(card: ModelCard, networks: Networks) {
    this.card = card;
    this.#networks = networks;
  }

  /**
   * Loads the pack's networks and tries each once, so that a pack that does not fit its card is refused here. Throws
   * FaceError MODEL_PACK_INVALID.
   */
  static async open(pack: ModelPack): Promise<FaceEncoder> {
    await using opened = new AsyncDisposableStack();
    const networks = {
      detector: opened.use(await ModelSession.open(pack.detectorPath)),
      landmarks: opened.use(await ModelSession.open(pack.landmarksPath)),
      descriptor: opened.use(await ModelSession.open(pack.descriptorPath)),
    };
    const encoder = new FaceEncoder(pack.card, networks);
    await encoder.#tryNetworks();
    // They are the encoder's now.
    opened.move();
    return encoder;
  }

  /**
   * Finds faces without encoding them, in the image as it stands: largest box first, none is an empty list. `image`:
   * the bytes of a JPEG, PNG, WebP, GIF (first frame), TIFF or AVIF file, at most MAX_IMAGE_BYTES. Throws FaceError
   * NOT_AN_IMAGE, IMAGE_TOO_LARGE.
   */
  async detect(image: Uint8Array): Promise<DetectedFace[]> {
    const decoded = await decodeImage(image);
    return (await this.#detect(decoded)).map(({ box, score }) => ({ box: scaleBox(box, decoded.pixelRatio), score }));
  }

  /**
   * Finds and encodes every face that can be recognised. An image whose faces stand on their side or upside down is
   * turned. Left out is what gives no embedding of meaning: blurred, drawn or covered faces, profiles, and what is
   * none (docs/faces.md). Largest box first; none is an empty list. `image`: as for {@link detect}. Throws FaceError
   * NOT_AN_IMAGE, IMAGE_TOO_LARGE.
   */
  async encode(image: Uint8Array): Promise<EncodedFace[]> {
    const decoded = await decodeImage(image);
    const { turn, faces } = await lookUpright(async (quarter) => this.#look(decoded, quarter));
    return faces.filter(isUsable).map((face) => toEncodedFace(face, turn, decoded));
  }

  /**
   * Encodes the face of a photo that should show one person. Faces of under 4 % of the largest one's area do not
   * count. A photo that stands on its side or upside down is turned where that is clear, and refused where it is not.
   * `image`: as for {@link detect}. Throws FaceError NO_FACE; SEVERAL_FACES, unless `largestFace` is set; FACE_TURNED,
   * FACE_UNUSABLE; NOT_AN_IMAGE, IMAGE_TOO_LARGE.
   */
  async encodeSingle(image: Uint8Array, options: EncodeSingleOptions = {}): Promise<EncodedFace> {
    const decoded = await decodeImage(image);
    const { turn, faces } = await lookUpright(async (quarter) => this.#look(decoded, quarter));
    return toEncodedFace(chooseFace(faces, turn, options.largestFace === true), turn, decoded);
  }

  /** Frees the networks, which nothing can be encoded without. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { detector, landmarks, descriptor } = this.#networks;
    await Promise.all([detector, landmarks, descriptor].map((session) => session[Symbol.asyncDispose]()));
  }

  async #detect(image: RgbImage): Promise<ScoredBox[]> {
    return (await detectFaces(this.#networks.detector, image)).toSorted((a, b) => boxArea(b.box) - boxArea(a.box));
  }

  async #look(image: RgbImage, turn: QuarterTurn): Promise<Look> {
    const turned = await turnImage(image, turn);
    const networks = { card: this.card, ...this.#networks };
    const faces: FaceReading[] = [];
    for (const found of await this.#detect(turned)) faces.push(await readFace(networks, turned, found));
    return { turn, faces };
  }

  async #tryNetworks(): Promise<void> {
    const { width, height } = this.card.descriptor.input;
    const { detector, landmarks, descriptor } = this.#networks;
    const gray = { width, height, data: new Uint8Array(width * height * 3).fill(128) };
    await detectFaces(detector, gray);
    await locateLandmarks(landmarks, gray, { left: 0, top: 0, right: width, bottom: height });
    await describeFace(descriptor, this.card, gray);
  }
}

function toEncodedFace(face: FaceReading, turn: QuarterTurn, image: DecodedImage): EncodedFace {
  const { box, score, landmarks, embedding } = face;
  const points = landmarks.map((point) => turnPointBack(point, turn, image));
  return {
    box: scaleBox(turnBoxBack(box, turn, image), image.pixelRatio),
    score,
    landmarks: points.map(({ x, y }) => ({ x: x * image.pixelRatio, y: y * image.pixelRatio })),
    embedding,
    turn,
  };
}
