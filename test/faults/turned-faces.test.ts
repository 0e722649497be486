import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import sharp from "sharp";
import { FaceError } from "../../face/errors.ts";
import { FaceEncoder } from "../../face/face-encoder.ts";
import type { EncodedFace } from "../../face/face-encoder.ts";
import { intersectionOverUnion } from "../../face/geometry.ts";
import type { Box } from "../../face/geometry.ts";
import { loadDefaultModelPack } from "../../face/model-pack.ts";
import { PEOPLE, readPhoto } from "../../scripts/dev/photos.ts";

const THRESHOLD = 0.6;
const PORTRAITS = [PEOPLE.cage[0], PEOPLE.connery[0], PEOPLE.hepburn[0]];
const REFUSALS = ["NO_FACE", "SEVERAL_FACES", "FACE_TURNED", "FACE_UNUSABLE"];

let cache = "";
let encoder: FaceEncoder;

before(async () => {
  cache = await mkdtemp(join(tmpdir(), "veilface-turned-"));
  process.env["VEILFACE_CACHE"] = cache;
  encoder = await FaceEncoder.open(await loadDefaultModelPack());
});

after(async () => {
  await encoder[Symbol.asyncDispose]();
  delete process.env["VEILFACE_CACHE"];
  await rm(cache, { recursive: true, force: true });
});

/** Grey fills the corners; the pixels are those of the photo at quarter turns. */
async function turn(name: string, angle: number): Promise<Uint8Array> {
  return sharp(await readPhoto(name))
    .rotate(angle, { background: "#808080" })
    .png()
    .toBuffer();
}

function distance(a: EncodedFace, b: EncodedFace): number {
  return Math.hypot(...a.embedding.map((value, i) => value - b.embedding[i]!));
}

async function encodeOrRefuse(photo: Uint8Array): Promise<EncodedFace | undefined> {
  try {
    return await encoder.encodeSingle(photo);
  } catch (error) {
    assert.ok(error instanceof FaceError && REFUSALS.includes(error.reason), String(error));
    return undefined;
  }
}

test("a photo at any angle gives its upright embedding or is refused, and no stranger matches it", async () => {
  const upright = await Promise.all(PORTRAITS.map(async (name) => encoder.encodeSingle(await readPhoto(name))));
  let encoded = 0;
  for (const [i, name] of PORTRAITS.entries()) {
    for (const angle of [60, 90, 180, 270]) {
      const face = await encodeOrRefuse(await turn(name, angle));
      if (face === undefined) continue;
      encoded++;
      upright.forEach((other, j) => {
        assert.equal(distance(face, other) <= THRESHOLD, i === j, `${name} at ${angle} degrees and ${PORTRAITS[j]!}`);
      });
    }
  }
  assert.ok(encoded >= 9, "most are turned upright rather than refused");
});

test("a head tilted by up to 45 degrees is recognised", async () => {
  for (const name of PORTRAITS) {
    const upright = await encoder.encodeSingle(await readPhoto(name));
    for (const angle of [-45, -30, 30, 45]) {
      const tilted = await encoder.encodeSingle(await turn(name, angle));
      assert.ok(distance(tilted, upright) < 0.4, `${name} at ${angle} degrees`);
    }
  }
});

test("a photo on its side or head is turned, with the face's place told in the photo as it was given", async () => {
  const upright = await encoder.encodeSingle(await readPhoto(PEOPLE.cage[0]));
  assert.equal(upright.turn, 0);
  const { width, height } = await sharp(await readPhoto(PEOPLE.cage[0])).metadata();
  const { left, top, right, bottom } = upright.box;
  const boxes: readonly [number, number, Box][] = [
    [90, 270, { left: height - bottom, right: height - top, top: left, bottom: right }],
    [180, 180, { left: width - right, right: width - left, top: height - bottom, bottom: height - top }],
    [270, 90, { left: top, right: bottom, top: width - right, bottom: width - left }],
  ];
  for (const [angle, back, box] of boxes) {
    const [face] = await encoder.encode(await turn(PEOPLE.cage[0], angle));
    assert.ok(face !== undefined && distance(face, upright) < 0.05);
    assert.equal(face.turn, back);
    assert.ok(intersectionOverUnion(face.box, box) > 0.9);
    const inside = face.landmarks.filter(({ x, y }) => x > box.left && x < box.right && y > box.top && y < box.bottom);
    assert.ok(inside.length >= 60);
  }
});

const DRAWN_FACE = `<svg width="420" height="480"><rect width="100%" height="100%" fill="#fff"/>
  <ellipse cx="210" cy="230" rx="150" ry="190" fill="#f2c9a0" stroke="#333" stroke-width="4"/>
  <ellipse cx="150" cy="180" rx="30" ry="18" fill="#fff" stroke="#000"/><circle cx="150" cy="180" r="11"/>
  <ellipse cx="270" cy="180" rx="30" ry="18" fill="#fff" stroke="#000"/><circle cx="270" cy="180" r="11"/>
  <path d="M200 190 l-14 60 l24 4 M150 310 q60 50 120 0 q-60 20 -120 0" stroke="#733" stroke-width="5"/></svg>`;

/** A part of the face, as parts of its box, under paint. */
async function paintOver(name: string, part: Box): Promise<Uint8Array> {
  const { box } = await encoder.encodeSingle(await readPhoto(name));
  const [width, height] = [box.right - box.left, box.bottom - box.top];
  const across = Math.round((part.right - part.left) * width);
  const paint = { width: across, height: Math.round((part.bottom - part.top) * height) };
  const input = await sharp({ create: { ...paint, channels: 3, background: "#c8a080" } })
    .png()
    .toBuffer();
  const place = { left: Math.round(box.left + part.left * width), top: Math.round(box.top + part.top * height) };
  return sharp(await readPhoto(name))
    .composite([{ input, ...place }])
    .png()
    .toBuffer();
}

async function blur(name: string, share: number): Promise<Uint8Array> {
  const { box } = await encoder.encodeSingle(await readPhoto(name));
  return sharp(await readPhoto(name))
    .blur((box.right - box.left) * share)
    .png()
    .toBuffer();
}

test("what is no face, or none that can be recognised, gives no template", async () => {
  const wrong: readonly [string, Uint8Array][] = [
    ["a drawing by Picasso", await readPhoto("picasso_drawing_crop.jpg")],
    ["a painted mask of a skull", await readPhoto("skullmask.jpg")],
    ["a drawn face", await sharp(Buffer.from(DRAWN_FACE)).png().toBuffer()],
    ["a face blurred by 8 % of its width", await blur(PEOPLE.obama[0], 0.08)],
    ["a face blurred by 6 % of its width", await blur(PEOPLE.hepburn[1], 0.06)],
    ["a face without eyes", await paintOver(PEOPLE.cage[0], { left: 0, top: 0, right: 1, bottom: 0.5 })],
    ["a face without nose and mouth", await paintOver(PEOPLE.cage[0], { left: 0, top: 0.5, right: 1, bottom: 1 })],
    ["a head without a face", await paintOver(PEOPLE.connery[0], { left: 0.1, top: 0.2, right: 0.9, bottom: 0.95 })],
  ];
  for (const [what, photo] of wrong) {
    assert.equal(await encodeOrRefuse(photo), undefined, what);
    assert.deepEqual(await encoder.encode(photo), [], what);
  }
});

test("the refusal of a drawing says what was found and what to use instead", async () => {
  await assert.rejects(encoder.encodeSingle(await readPhoto("picasso_drawing_crop.jpg")), (error) => {
    assert.ok(error instanceof FaceError);
    assert.equal(error.reason, "FACE_UNUSABLE");
    assert.match(error.message, /drawn; use a sharp photo/);
    return true;
  });
});
