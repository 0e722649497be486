import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FaceError } from "../../../face/errors.ts";
import type { FaceReading } from "../../../face/face-reader.ts";
import { mirrorLandmarks } from "../../../face/landmarks.ts";
import { turnBoxBack, turnPointBack } from "../../../face/quarter-turn.ts";
import type { QuarterTurn } from "../../../face/quarter-turn.ts";
import { lookUpright } from "../../../face/upright-look.ts";
import { chooseFace, isUsable } from "../../../face/usable-face.ts";

/** A square face of a side in pixels; clear unless told otherwise. */
function face(side: number, score: number, rest: Partial<FaceReading> = {}): FaceReading {
  const box = { left: 0, top: 0, right: side, bottom: side };
  return { box, score, landmarks: [], embedding: new Float32Array(), doubt: 0.4, flaw: undefined, ...rest };
}

function reasonOf(work: () => unknown): string | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    assert.ok(error instanceof FaceError);
    return error.reason;
  }
}

test("of a dress that is hardly a face and a sure face a third of its size, the face is the largest", () => {
  const [dress, sure] = [face(173, 0.7, { doubt: 2.5 }), face(100, 0.998)];
  assert.equal(chooseFace([dress, sure], 0, true), sure);
  assert.equal(
    reasonOf(() => chooseFace([dress, sure], 0, false)),
    "SEVERAL_FACES",
  );
});

test("of two sure faces the one of the larger box is taken", () => {
  const [large, small] = [face(120, 0.93), face(100, 0.999)];
  assert.equal(chooseFace([large, small], 0, true), large);
});

test("where the largest face cannot be recognised, no smaller one is taken for it", () => {
  const faces = [face(200, 0.95, { doubt: 0.9 }), face(100, 0.99)];
  assert.equal(
    reasonOf(() => chooseFace(faces, 0, true)),
    "FACE_UNUSABLE",
  );
});

test("a photo without faces, a turned face and an unusable one are refused by their own names", () => {
  assert.equal(
    reasonOf(() => chooseFace([], 0, false)),
    "NO_FACE",
  );
  assert.equal(
    reasonOf(() => chooseFace([face(100, 1, { doubt: 0.9 })], 90, false)),
    "FACE_TURNED",
  );
  assert.equal(
    reasonOf(() => chooseFace([face(100, 1, { doubt: 0.9 })], 0, false)),
    "FACE_UNUSABLE",
  );
  assert.equal(
    reasonOf(() => chooseFace([face(100, 1, { doubt: 2.5 })], 90, false)),
    "FACE_UNUSABLE",
  );
  assert.equal(
    reasonOf(() => chooseFace([face(100, 1, { flaw: "blurred" })], 90, false)),
    "FACE_UNUSABLE",
  );
});

test("a doubt that is no number is the greatest doubt", () => {
  assert.equal(isUsable(face(100, 1, { doubt: NaN })), false);
});

async function turnTaken(doubts: Record<QuarterTurn, number>): Promise<{ turn: QuarterTurn; looked: QuarterTurn[] }> {
  const looked: QuarterTurn[] = [];
  const { turn } = await lookUpright((quarter) => {
    looked.push(quarter);
    return Promise.resolve({ turn: quarter, faces: [face(100, 1, { doubt: doubts[quarter] })] });
  });
  return { turn, looked };
}

test("a clear photo is looked at once, another in all turns for the clearest", async () => {
  assert.deepEqual(await turnTaken({ 0: 0.5, 90: 0.1, 180: 0.1, 270: 0.1 }), { turn: 0, looked: [0] });
  assert.equal((await turnTaken({ 0: 0.65, 90: 0.7, 180: 0.9, 270: 2 })).turn, 0);
  assert.equal((await turnTaken({ 0: 0.65, 90: 0.7, 180: 0.5, 270: 2 })).turn, 180);
  assert.equal((await turnTaken({ 0: NaN, 90: 0.7, 180: 0.9, 270: 0.4 })).turn, 270);
});

const SIZE = fc.record({ width: fc.integer({ min: 1, max: 500 }), height: fc.integer({ min: 1, max: 500 }) });
const POINT = fc.record({ x: fc.integer({ min: 0, max: 500 }), y: fc.integer({ min: 0, max: 500 }) });

test("four quarter turns, or two halves, bring a point back", () => {
  fc.assert(
    fc.property(POINT, SIZE, ({ x, y }, size) => {
      const point = { x, y };
      const other = { width: size.height, height: size.width };
      const quarter = (at: typeof point, i: number) => turnPointBack(at, 90, i % 2 === 0 ? size : other);
      assert.deepEqual([0, 1, 2, 3].reduce(quarter, point), point);
      assert.deepEqual(turnPointBack(turnPointBack(point, 180, size), 180, size), point);
      assert.deepEqual(turnPointBack(turnPointBack(point, 90, size), 270, other), point);
    }),
  );
});

test("the top left of a photo is found again in each of its turns", () => {
  const size = { width: 300, height: 200 };
  const corner = { left: 0, top: 0, right: 30, bottom: 20 };
  assert.deepEqual(turnBoxBack({ left: 180, top: 0, right: 200, bottom: 30 }, 90, size), corner);
  assert.deepEqual(turnBoxBack({ left: 270, top: 180, right: 300, bottom: 200 }, 180, size), corner);
  assert.deepEqual(turnBoxBack({ left: 0, top: 270, right: 20, bottom: 300 }, 270, size), corner);
});

test("mirroring landmarks twice gives them back, and exchanges left and right", () => {
  const points = Array.from({ length: 68 }, (_, i) => ({ x: i, y: 2 * i }));
  const mirrored = mirrorLandmarks(points, 100);
  assert.deepEqual(mirrorLandmarks(mirrored, 100), points);
  // Ends of the jaw, outer corners of the eyes, corners of the mouth; the bridge of the nose stays.
  for (const [left, right] of [
    [0, 16],
    [36, 45],
    [48, 54],
    [27, 27],
  ] as const) {
    assert.deepEqual(mirrored[left], { x: 100 - right, y: 2 * right });
  }
});
