import { pointAt } from "./geometry.ts";
import type { Point } from "./geometry.ts";

/** The affine map (x, y) -> (a x + b y + c, d x + e y + f). */
export interface Transform {
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly d: number;
  readonly e: number;
  readonly f: number;
}

/** Where a point goes under a map. */
export function applyTransform(map: Transform, { x, y }: Point): Point {
  return { x: map.a * x + map.b * y + map.c, y: map.d * x + map.e * y + map.f };
}

/** Requires a map that keeps areas from vanishing: a e - b d is not 0. */
export function invertTransform({ a, b, c, d, e, f }: Transform): Transform {
  const k = 1 / (a * e - b * d);
  return { a: e * k, b: -b * k, c: (b * f - c * e) * k, d: -d * k, e: a * k, f: (c * d - a * f) * k };
}

/**
 * The rotation, uniform scale and shift that take `from` closest to `to` (least squares; no reflection). For points in
 * the plane this is Umeyama, "Least-squares estimation of transformation parameters between two point patterns" (1991),
 * in closed form: with both sets centred, scale * (cos, sin) = (sum x u + y v, sum x v - y u) / sum (x^2 + y^2).
 * At least two points that are not all the same, and as many to go to.
 */
export function similarityTransform(from: readonly Point[], to: readonly Point[]): Transform {
  const [origin, target] = [centroid(from), centroid(to)];
  let [cosine, sine, spread] = [0, 0, 0];
  from.forEach((point, i) => {
    const goal = pointAt(to, i);
    const [x, y, u, v] = [point.x - origin.x, point.y - origin.y, goal.x - target.x, goal.y - target.y];
    cosine += x * u + y * v;
    sine += x * v - y * u;
    spread += x * x + y * y;
  });
  const [a, d] = [cosine / spread, sine / spread];
  return { a, b: -d, c: target.x - a * origin.x + d * origin.y, d, e: a, f: target.y - d * origin.x - a * origin.y };
}

/** The mean of at least one point. */
export function centroid(points: readonly Point[]): Point {
  const sum = points.reduce((total, { x, y }) => ({ x: total.x + x, y: total.y + y }), { x: 0, y: 0 });
  return { x: sum.x / points.length, y: sum.y / points.length };
}
