/* eslint-disable @typescript-eslint/no-non-null-assertion -- typed arrays, read inside their bounds */
import sharp from "sharp";
import type { Sharp } from "sharp";
import { FaceError } from "./errors.ts";
import type { Box } from "./geometry.ts";
import type { QuarterTurn } from "./quarter-turn.ts";

/** Larger files are refused unread: 64 MiB holds any photo a camera or telephone writes. */
export const MAX_IMAGE_BYTES = 64 * 1024 * 1024;

/** Larger images are refused after their header: a 120-megapixel photo already unpacks to 360 MB. */
export const MAX_IMAGE_PIXELS = 120_000_000;

/**
 * Longer sides are reduced while decoding. The detector looks at 512 pixels and finds faces from about 16 of them, so a
 * face it can find in a photo of this size is still 128 pixels wide, close to the 150 a descriptor looks at.
 */
const MAX_DECODED_SIDE = 4096;

/**
 * What cameras, telephones and browsers write. SVG and PDF are programs rather than photos, so they are not on the
 * list.
 */
const ACCEPTED_FORMATS: ReadonlySet<string> = new Set(["jpeg", "png", "webp", "gif", "tiff", "heif"]);
const ACCEPTED_NAMES = "JPEG, PNG, WebP, GIF, TIFF or AVIF";

/** 8-bit sRGB pixels, row by row, 3 bytes each: `data.length === width * height * 3`. */
export interface RgbImage {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

export interface DecodedImage extends RgbImage {
  /** Pixels of the upright original per pixel here, >= 1: multiply a coordinate by this to place it in the original. */
  readonly pixelRatio: number;
}

interface Rgb {
  readonly r: number;
  readonly g: number;
  readonly b: number;
}

/**
 * Decodes a JPEG, PNG, WebP, GIF (first frame), TIFF or AVIF file to upright sRGB: the EXIF orientation is applied,
 * transparency is laid on white, grey becomes RGB and 16-bit channels become 8-bit. Throws FaceError NOT_AN_IMAGE where
 * the bytes are not such an image or are damaged; IMAGE_TOO_LARGE beyond MAX_IMAGE_BYTES or MAX_IMAGE_PIXELS, before
 * anything is unpacked.
 */
export async function decodeImage(file: Uint8Array): Promise<DecodedImage> {
  const original = await readHeader(file);
  const pipeline = sharp(file, { failOn: "error", limitInputPixels: MAX_IMAGE_PIXELS })
    .autoOrient()
    .flatten({ background: "#fff" })
    .resize(MAX_DECODED_SIDE, MAX_DECODED_SIDE, { fit: "inside", withoutEnlargement: true })
    .toColourspace("srgb")
    .raw({ depth: "uchar" });
  const { data, info } = await pipeline.toBuffer({ resolveWithObject: true }).catch(refuseAsDamaged);
  const pixelRatio = Math.max(original.width, original.height) / Math.max(info.width, info.height);
  return { width: info.width, height: info.height, data: toThreeChannels(data, info.channels), pixelRatio };
}

async function readHeader(file: Uint8Array): Promise<{ width: number; height: number }> {
  if (file.length === 0) throw new FaceError("NOT_AN_IMAGE", "the image is empty (0 bytes)");
  if (file.length > MAX_IMAGE_BYTES) {
    throw new FaceError(
      "IMAGE_TOO_LARGE",
      `the image file has ${file.length} bytes, expected at most ${MAX_IMAGE_BYTES}`,
    );
  }
  // The limit is checked here rather than by sharp, so that the message can name the size.
  const header = await sharp(file, { limitInputPixels: false }).metadata().catch(refuseAsUnknown);
  if (!ACCEPTED_FORMATS.has(header.format)) {
    throw new FaceError("NOT_AN_IMAGE", `${header.format} files are not accepted; use ${ACCEPTED_NAMES}`);
  }
  if (header.compression === "hevc") {
    throw new FaceError(
      "NOT_AN_IMAGE",
      "HEIC photos (HEIF with HEVC compression) cannot be read; export the photo as JPEG",
    );
  }
  if (header.width * header.height > MAX_IMAGE_PIXELS) {
    throw new FaceError(
      "IMAGE_TOO_LARGE",
      `the image is ${header.width} x ${header.height} pixels, expected at most ${MAX_IMAGE_PIXELS} in all; scale it down first`,
    );
  }
  return header;
}

function refuseAsUnknown(cause: unknown): never {
  throw new FaceError("NOT_AN_IMAGE", `the bytes are not an image that can be read; expected ${ACCEPTED_NAMES}`, {
    cause,
  });
}

function refuseAsDamaged(cause: unknown): never {
  throw new FaceError("NOT_AN_IMAGE", "the image file is damaged or cut short; export or copy it again", { cause });
}

function toThreeChannels(data: Uint8Array, channels: number): Uint8Array {
  if (channels === 3) return data;
  const rgb = new Uint8Array((data.length / channels) * 3);
  for (let pixel = 0; pixel * channels < data.length; pixel++)
    rgb.fill(data[pixel * channels]!, pixel * 3, pixel * 3 + 3);
  return rgb;
}

/** Scales to exactly `width` x `height`. Reductions average the pixels they drop, so fine texture does not alias. */
export async function resizeImage(image: RgbImage, width: number, height: number): Promise<RgbImage> {
  if (image.width === width && image.height === height) return image;
  const data = await open(image).resize(width, height, { fit: "fill", kernel: "linear" }).raw().toBuffer();
  return { width, height, data };
}

/** Adds a border of one colour, in whole pixels on each side. */
export async function padImage(image: RgbImage, border: Box, background: Rgb): Promise<RgbImage> {
  const data = await open(image)
    .extend({ ...border, background })
    .raw()
    .toBuffer();
  return { width: image.width + border.left + border.right, height: image.height + border.top + border.bottom, data };
}

/** Cuts out a rectangle of whole pixels that lies inside the image. */
export async function cropImage(image: RgbImage, box: Box): Promise<RgbImage> {
  const [width, height] = [box.right - box.left, box.bottom - box.top];
  const data = await open(image).extract({ left: box.left, top: box.top, width, height }).raw().toBuffer();
  return { width, height, data };
}

/** Turns clockwise by 90, 180 or 270 degrees; every pixel is kept. */
export async function turnImage(image: RgbImage, turn: QuarterTurn): Promise<RgbImage> {
  if (turn === 0) return image;
  const { data, info } = await open(image).rotate(turn).raw().toBuffer({ resolveWithObject: true });
  return { width: info.width, height: info.height, data };
}

/** Left and right exchanged. */
export async function mirrorImage(image: RgbImage): Promise<RgbImage> {
  return { ...image, data: await open(image).flop().raw().toBuffer() };
}

/** Brightness (luma), one byte a pixel, of the image blurred by a Gaussian of `sigma` pixels; 0 leaves it sharp. */
export async function blurredLuma(image: RgbImage, sigma: number): Promise<Uint8Array> {
  const luma = open(image).toColourspace("b-w");
  return (sigma > 0 ? luma.blur(sigma) : luma).raw().toBuffer();
}

function open(image: RgbImage): Sharp {
  return sharp(image.data, { raw: { width: image.width, height: image.height, channels: 3 } });
}
