import { FaceError } from "./errors.ts";
import type { FaceReading } from "./face-reader.ts";
import { boxArea } from "./geometry.ts";
import type { ScoredBox } from "./geometry.ts";
import { DOUBT_LIMIT } from "./plausibility.ts";
import type { QuarterTurn } from "./quarter-turn.ts";

/**
 * A find this much smaller than the main face is somebody in the background, or an earring: no reason to refuse the
 * photo.
 */
const BYSTANDER_AREA_SHARE = 0.04;

/**
 * Up to this doubt what was found in a turned photo is taken for a face that was not made out, so that the advice is
 * to turn it. Blurs, clothes and covered faces have 2.5 by the median, upright faces 0.46. A choice between them, which
 * only decides about the advice: either way the photo is refused.
 */
const TURNED_FACE_DOUBT = 1.3;

/** Whether the embedding may become a template, or a probe. */
export function isUsable({ doubt, flaw }: FaceReading): boolean {
  return doubt < DOUBT_LIMIT && flaw === undefined;
}

/**
 * The face of a photo that should show one person. `largest`: whether to take the largest of several. Throws FaceError
 * NO_FACE; SEVERAL_FACES unless `largest`; FACE_TURNED, FACE_UNUSABLE.
 */
export function chooseFace(faces: readonly FaceReading[], turn: QuarterTurn, largest: boolean): FaceReading {
  const [main, ...others] = faces.toSorted((a, b) => prominence(b) - prominence(a));
  if (main === undefined) {
    const message = "no face was found in the image; use a sharp photo that shows the whole face from the front";
    throw new FaceError("NO_FACE", message);
  }
  const rivals = others.filter(({ box }) => boxArea(box) >= BYSTANDER_AREA_SHARE * boxArea(main.box));
  if (rivals.length > 0 && !largest) {
    const advice = "expected one; crop it, or ask for the largest face";
    throw new FaceError("SEVERAL_FACES", `${rivals.length + 1} faces were found in the image, ${advice}`);
  }
  if (!isUsable(main)) throw unusable(main, turn);
  return main;
}

/**
 * Area times the fourth power of the score: a dress or a hand, which the detector hardly believes in, has to be
 * several times as large as a face that it is sure of (5.6 times at 0.65 against 1), while of two faces the larger
 * one is taken.
 */
function prominence({ box, score }: ScoredBox): number {
  return boxArea(box) * score ** 4;
}

function unusable({ doubt, flaw }: FaceReading, turn: QuarterTurn): FaceError {
  if (doubt >= DOUBT_LIMIT && doubt < TURNED_FACE_DOUBT && turn !== 0) {
    const advice = "turn the photo, and keep its EXIF orientation when copying it";
    return new FaceError("FACE_TURNED", `the face in the image is not upright; ${advice}`);
  }
  const clear = doubt < DOUBT_LIMIT && flaw !== undefined;
  const found = clear ? `is ${flaw}` : "is not clearly a face seen from the front";
  const advice = "use a sharp photo that shows one whole face, upright, from the front and uncovered";
  return new FaceError("FACE_UNUSABLE", `what was found in the image ${found}; ${advice}`);
}
