import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { alignFace } from "../../../face/alignment.ts";
import { applyTransform, invertTransform, similarityTransform } from "../../../face/transform.ts";
import { warpImage } from "../../../face/warp.ts";
import { clipBox, intersectionOverUnion, suppressNonMaxima } from "../../../face/geometry.ts";
import type { Box, Point, ScoredBox } from "../../../face/geometry.ts";

const GRID = 12;
const smallBox = fc
  .tuple(fc.nat(GRID - 2), fc.nat(GRID - 2), fc.integer({ min: 1, max: GRID }), fc.integer({ min: 1, max: GRID }))
  .map(
    ([left, top, width, height]): Box => ({
      left,
      top,
      right: Math.min(GRID, left + width),
      bottom: Math.min(GRID, top + height),
    }),
  );

/** The cells of a small grid that a box covers: an oracle for areas that knows no formula. */
function cells(box: Box): Set<number> {
  const covered = new Set<number>();
  for (let y = box.top; y < box.bottom; y++) for (let x = box.left; x < box.right; x++) covered.add(y * GRID + x);
  return covered;
}

test("intersection over union is what counting cells gives", () => {
  fc.assert(
    fc.property(smallBox, smallBox, (a, b) => {
      const [inA, inB] = [cells(a), cells(b)];
      const expected = inA.intersection(inB).size / inA.union(inB).size;
      assert.ok(Math.abs(intersectionOverUnion(a, b) - expected) < 1e-12);
    }),
  );
});

test("empty boxes overlap nothing, and clipping keeps just the part inside", () => {
  const empty = { left: 3, top: 3, right: 3, bottom: 9 };
  assert.equal(intersectionOverUnion(empty, empty), 0);
  assert.deepEqual(clipBox({ left: -4, top: 2, right: 30, bottom: 40 }, 20, 10), {
    left: 0,
    top: 2,
    right: 20,
    bottom: 10,
  });
});

test("suppression keeps a box unless a better one that is kept overlaps it", () => {
  const scored = fc
    .tuple(smallBox, fc.double({ min: 0, max: 1, noNaN: true }))
    .map(([box, score]): ScoredBox => ({ box, score }));
  fc.assert(
    fc.property(fc.array(scored, { maxLength: 12 }), (found) => {
      const kept = suppressNonMaxima(found, 0.4);
      for (const candidate of found) {
        const rivals = kept.filter(
          (other) => other !== candidate && intersectionOverUnion(other.box, candidate.box) > 0.4,
        );
        if (kept.includes(candidate)) assert.equal(rivals.length, 0);
        else assert.ok(rivals.some((other) => other.score >= candidate.score));
      }
    }),
  );
});

const coordinate = fc.double({ min: -500, max: 500, noNaN: true });
const points = fc
  .array(fc.record({ x: coordinate, y: coordinate }), { minLength: 2, maxLength: 8 })
  .filter((list) => spread(list) > 1);

function spread(list: readonly Point[]): number {
  return Math.max(...list.map(({ x, y }) => Math.hypot(x - list[0]!.x, y - list[0]!.y)));
}

function assertClose(actual: Point, expected: Point): void {
  assert.ok(
    Math.hypot(actual.x - expected.x, actual.y - expected.y) < 1e-6,
    `${JSON.stringify(actual)}, expected ${JSON.stringify(expected)}`,
  );
}

test("a known turn, scale and shift is recovered from the points it moved, and inverted", () => {
  const angle = fc.double({ min: -Math.PI, max: Math.PI, noNaN: true });
  const scale = fc.double({ min: 0.05, max: 20, noNaN: true });
  fc.assert(
    fc.property(points, angle, scale, coordinate, coordinate, (from, turn, size, dx, dy) => {
      const move = ({ x, y }: Point) => ({
        x: size * (Math.cos(turn) * x - Math.sin(turn) * y) + dx,
        y: size * (Math.sin(turn) * x + Math.cos(turn) * y) + dy,
      });
      const found = similarityTransform(from, from.map(move));
      for (const point of [...from, { x: 17, y: -3 }]) {
        assertClose(applyTransform(found, point), move(point));
        assertClose(applyTransform(invertTransform(found), move(point)), point);
      }
    }),
  );
});

test("where points do not fit, no nearby turn, scale or shift fits better", () => {
  const from = [
    { x: 0, y: 0 },
    { x: 10, y: 1 },
    { x: 3, y: 8 },
    { x: -4, y: 5 },
  ];
  const to = [
    { x: 5, y: 5 },
    { x: 9, y: 17 },
    { x: -6, y: 12 },
    { x: 2, y: 0 },
  ];
  const best = similarityTransform(from, to);
  const residual = (map: typeof best) =>
    from.reduce(
      (sum, point, i) =>
        sum + (applyTransform(map, point).x - to[i]!.x) ** 2 + (applyTransform(map, point).y - to[i]!.y) ** 2,
      0,
    );
  const step = fc.double({ min: -0.05, max: 0.05, noNaN: true });
  fc.assert(
    fc.property(step, step, step, step, (a, d, c, f) => {
      const nearby = { a: best.a + a, b: best.b - d, c: best.c + c, d: best.d + d, e: best.e + a, f: best.f + f };
      assert.ok(residual(nearby) >= residual(best) - 1e-9);
    }),
  );
});

/** Red tells the column, green the row. */
function rampImage(side: number) {
  const data = new Uint8Array(side * side * 3);
  const level = (position: number) => Math.round((255 * position) / (side - 1));
  for (let y = 0; y < side; y++) for (let x = 0; x < side; x++) data.set([level(x), level(y), 0], (y * side + x) * 3);
  return { width: side, height: side, data };
}

test("a warp by whole pixels copies pixels, and is black outside the image", () => {
  const image = rampImage(16);
  const moved = warpImage(image, { a: 1, b: 0, c: 3, d: 0, e: 1, f: -2 }, { width: 16, height: 16 });
  for (let y = 0; y < 16; y++) {
    for (let x = 0; x < 16; x++) {
      const [sx, sy] = [x - 3, y + 2];
      const inside = sx >= 0 && sy < 16;
      const expected = inside ? image.data.subarray((sy * 16 + sx) * 3, (sy * 16 + sx) * 3 + 3) : new Uint8Array(3);
      assert.deepEqual([...moved.data.subarray((y * 16 + x) * 3, (y * 16 + x) * 3 + 3)], [...expected]);
    }
  }
});

for (const [side, chip] of [
  [120, 100],
  [250, 20],
] as const) {
  test(`a face turned by 90 degrees is upright after alignment from ${side} to ${chip} pixels, each pixel where it belongs`, async () => {
    const landmarks = Array.from({ length: 68 }, (_, i) => ({
      x: side * (0.3 + 0.4 * Number(i % 2 === 0)),
      y: side * (0.3 + 0.005 * i),
    }));
    const quarter = ({ x, y }: Point) => ({ x: (chip * y) / side, y: chip - (chip * x) / side });
    const anchors = [36, 45, 48, 54, 30].map((index) => ({ landmarks: [index], ...quarter(landmarks[index]!) }));
    const aligned = await alignFace(rampImage(side), landmarks, { anchors, width: chip, height: chip });
    for (const [u, v] of [
      [0.2, 0.3],
      [0.5, 0.5],
      [0.75, 0.6],
    ] as const) {
      const [x, y] = [Math.round(u * chip), Math.round(v * chip)];
      const [column, row] = [side - (y * side) / chip, (x * side) / chip];
      const [red, green] = aligned.data.subarray((y * chip + x) * 3, (y * chip + x) * 3 + 2) as unknown as [
        number,
        number,
      ];
      // One level is one source pixel (of 250) or half of one (of 120); three roundings to whole levels may add up to
      // 1.5.
      assert.ok(
        Math.abs(red - (255 * column) / (side - 1)) <= 1.6,
        `column: ${red}, expected ${(255 * column) / (side - 1)}`,
      );
      assert.ok(
        Math.abs(green - (255 * row) / (side - 1)) <= 1.6,
        `row: ${green}, expected ${(255 * row) / (side - 1)}`,
      );
    }
  });
}

test("alignment averages fine texture away instead of picking pixels from it", async () => {
  const side = 800;
  const checkers = new Uint8Array(side * side * 3).map(
    (_, i) => 255 * ((Math.floor(i / 3) + Math.floor(i / 3 / side)) % 2),
  );
  const landmarks = Array.from({ length: 68 }, (_, i) => ({ x: 100 + 9 * i, y: 100 + 5 * ((i * 37) % 68) }));
  const anchors = [0, 20, 67].map((index) => ({
    landmarks: [index],
    x: landmarks[index]!.x / 8,
    y: landmarks[index]!.y / 8,
  }));
  const aligned = await alignFace({ width: side, height: side, data: checkers }, landmarks, {
    anchors,
    width: 100,
    height: 100,
  });
  const inner = aligned.data.subarray(30 * 300, 70 * 300).filter((_, i) => i % 300 > 60 && i % 300 < 240);
  assert.ok(Math.min(...inner) > 112 && Math.max(...inner) < 144);
});
