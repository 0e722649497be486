import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync, crc32 } from "node:zlib";
import sharp from "sharp";
import type { Sharp } from "sharp";
import { FaceError } from "../../../face/errors.ts";
import type { FaceErrorReason } from "../../../face/errors.ts";
import { MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS, decodeImage } from "../../../face/image.ts";
import { PEOPLE, readPhoto } from "../../../scripts/dev/photos.ts";

/** Four flat quarters: red, green, blue, white, so that every orientation is told apart. */
async function quarters(): Promise<Sharp> {
  const tile = (background: string) =>
    sharp({ create: { width: 20, height: 10, channels: 3, background } })
      .png()
      .toBuffer();
  const [green, blue, white] = await Promise.all([tile("#0f0"), tile("#00f"), tile("#fff")]);
  return sharp({ create: { width: 40, height: 20, channels: 3, background: "#f00" } }).composite([
    { input: green, left: 20, top: 0 },
    { input: blue, left: 0, top: 10 },
    { input: white, left: 20, top: 10 },
  ]);
}

function pixelAt(image: { width: number; data: Uint8Array }, x: number, y: number): number[] {
  return [...image.data.subarray((y * image.width + x) * 3, (y * image.width + x) * 3 + 3)];
}

async function assertRefused(bytes: Uint8Array, reason: FaceErrorReason, message: RegExp): Promise<void> {
  await assert.rejects(decodeImage(bytes), (error) => {
    assert.ok(error instanceof FaceError);
    assert.equal(error.reason, reason);
    assert.match(error.message, message);
    return true;
  });
}

for (const format of ["png", "tiff", "webp", "gif", "avif"] as const) {
  test(`a ${format} image is decoded to its pixels`, async () => {
    const lossless = {
      png: {},
      tiff: { compression: "lzw" },
      gif: {},
      webp: { lossless: true },
      avif: { lossless: true },
    }[format];
    const image = await decodeImage(await (await quarters()).toFormat(format, lossless).toBuffer());
    assert.deepEqual([image.width, image.height, image.data.length, image.pixelRatio], [40, 20, 40 * 20 * 3, 1]);
    const seen = [pixelAt(image, 5, 5), pixelAt(image, 35, 5), pixelAt(image, 5, 15), pixelAt(image, 35, 15)];
    const expected = [
      [255, 0, 0],
      [0, 255, 0],
      [0, 0, 255],
      [255, 255, 255],
    ];
    seen.flat().forEach((value, i) => {
      assert.ok(Math.abs(value - expected.flat()[i]!) <= 3);
    });
  });
}

test("the EXIF orientation is applied: a photo stored on its side stands upright", async () => {
  // Orientation 6 says: turn the stored pixels a quarter clockwise, so the stored bottom left (blue) is shown at the
  // top left.
  const image = await decodeImage(await (await quarters()).withMetadata({ orientation: 6 }).png().toBuffer());
  assert.deepEqual([image.width, image.height], [20, 40]);
  assert.deepEqual(pixelAt(image, 5, 5), [0, 0, 255]);
  assert.deepEqual(pixelAt(image, 15, 5), [255, 0, 0]);
});

test("gray, 16-bit and transparent images become plain 8-bit RGB", async () => {
  const gray = sharp({ create: { width: 8, height: 6, channels: 3, background: "#808080" } });
  const half = { create: { width: 8, height: 6, channels: 4 as const, background: { r: 0, g: 0, b: 0, alpha: 0 } } };
  const images = {
    gray: await decodeImage(await gray.clone().toColourspace("b-w").png().toBuffer()),
    deep: await decodeImage(await gray.clone().toColourspace("rgb16").png().toBuffer()),
    clear: await decodeImage(await sharp(half).png().toBuffer()),
  };
  assert.deepEqual(pixelAt(images.gray, 3, 3), [128, 128, 128]);
  assert.deepEqual(pixelAt(images.deep, 3, 3), [128, 128, 128]);
  assert.deepEqual(pixelAt(images.clear, 3, 3), [255, 255, 255]);
  for (const image of Object.values(images)) assert.equal(image.data.length, 8 * 6 * 3);
});

test("a photo longer than 4096 pixels is reduced, and says by how much", async () => {
  const wide = await sharp({ create: { width: 8192, height: 1000, channels: 3, background: "#456" } })
    .jpeg()
    .toBuffer();
  const image = await decodeImage(wide);
  assert.deepEqual([image.width, image.height, image.pixelRatio], [4096, 500, 2]);
});

test("what is not an image is refused with the list of what is", async () => {
  await assertRefused(
    new TextEncoder().encode("Dear face recogniser, this is a letter."),
    "NOT_AN_IMAGE",
    /expected JPEG, PNG/,
  );
  await assertRefused(new Uint8Array(0), "NOT_AN_IMAGE", /empty/);
  await assertRefused(new Uint8Array(1000), "NOT_AN_IMAGE", /expected JPEG, PNG/);
});

test("an SVG is refused, as it is a program rather than a photo", async () => {
  const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>';
  await assertRefused(new TextEncoder().encode(svg), "NOT_AN_IMAGE", /svg files are not accepted/);
});

test("a JPEG cut short is refused as damaged, wherever it is cut", async () => {
  const photo = await readPhoto(PEOPLE.cage[0]);
  for (const share of [0.1, 0.5, 0.95])
    await assertRefused(photo.subarray(0, photo.length * share), "NOT_AN_IMAGE", /damaged|cannot|not an image/);
});

/** A valid PNG header and hardly any data behind it. */
function pngBomb(width: number, height: number): Uint8Array {
  const chunk = (type: string, body: Uint8Array) => {
    const typed = Buffer.concat([Buffer.from(type, "latin1"), body]);
    const [length, check] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(body.length);
    check.writeUInt32BE(crc32(typed));
    return Buffer.concat([length, typed, check]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([
    signature,
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(Buffer.alloc(1000))),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

test("a small file that would unpack to billions of pixels is refused by its header", async () => {
  await assertRefused(pngBomb(60_000, 60_000), "IMAGE_TOO_LARGE", /60000 x 60000 pixels, expected at most 120000000/);
  await assertRefused(pngBomb(MAX_IMAGE_PIXELS / 10_000 + 1, 10_000), "IMAGE_TOO_LARGE", /12001 x 10000/);
});

test("a file over the size limit is refused unread", async () => {
  await assertRefused(new Uint8Array(MAX_IMAGE_BYTES + 1), "IMAGE_TOO_LARGE", /at most 67108864/);
});
