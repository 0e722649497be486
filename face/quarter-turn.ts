import type { Box, Point, Size } from "./geometry.ts";

/** Degrees clockwise that an image is turned by. */
export type QuarterTurn = 0 | 90 | 180 | 270;

/** Where a point of a turned image was before. `original`: the image before it was turned clockwise by `turn`. */
export function turnPointBack({ x, y }: Point, turn: QuarterTurn, original: Size): Point {
  if (turn === 90) return { x: y, y: original.height - x };
  if (turn === 180) return { x: original.width - x, y: original.height - y };
  return turn === 270 ? { x: original.width - y, y: x } : { x, y };
}

/** Where a box of a turned image was before; as `turnPointBack`. */
export function turnBoxBack(box: Box, turn: QuarterTurn, original: Size): Box {
  const a = turnPointBack({ x: box.left, y: box.top }, turn, original);
  const b = turnPointBack({ x: box.right, y: box.bottom }, turn, original);
  const [left, right] = [Math.min(a.x, b.x), Math.max(a.x, b.x)];
  return { left, right, top: Math.min(a.y, b.y), bottom: Math.max(a.y, b.y) };
}
