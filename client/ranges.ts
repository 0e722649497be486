import { ClientError } from "./errors.ts";

/** Throws ClientError USAGE unless a number is whole and in a range, both ends included. */
export function checkWhole(
  name: string,
  value: number,
  { least, most }: { readonly least: number; readonly most: number },
): void {
  if (Number.isInteger(value) && value >= least && value <= most) return;
  throw new ClientError("USAGE", `${name} ${value} is out of range: expected a whole number in [${least}, ${most}]`);
}
