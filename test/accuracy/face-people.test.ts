import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { FaceEncoder } from "../../client/face/face-encoder.ts";
import { loadDefaultModelPack } from "../../client/face/model-pack.ts";
import { PEOPLE, readPhoto } from "../support/photos.ts";

interface Portrait {
  readonly person: string;
  readonly photo: string;
  readonly embedding: Float32Array;
}

interface Pair {
  readonly photos: string;
  readonly genuine: boolean;
  readonly distance: number;
}

let cache = "";
let pairs: readonly Pair[];
let threshold = NaN;

before(async () => {
  cache = await mkdtemp(join(tmpdir(), "veilface-people-"));
  process.env["VEILFACE_CACHE"] = cache;
  await using encoder = await FaceEncoder.open(await loadDefaultModelPack());
  threshold = encoder.card.threshold;
  const portraits: Portrait[] = [];
  for (const [person, photos] of Object.entries(PEOPLE)) {
    for (const photo of photos) portraits.push({ person, photo, embedding: (await encoder.encodeSingle(await readPhoto(photo))).embedding });
  }
  pairs = portraits.flatMap((a, i) => portraits.slice(0, i).map((b) => compare(a, b)));
});

after(async () => {
  delete process.env["VEILFACE_CACHE"];
  await rm(cache, { recursive: true, force: true });
});

function compare(a: Portrait, b: Portrait): Pair {
  const distance = Math.hypot(...a.embedding.map((value, i) => value - b.embedding[i]!));
  return { photos: `${a.photo} / ${b.photo}`, genuine: a.person === b.person, distance };
}

function summarise(name: string, chosen: readonly Pair[]): void {
  const sorted = chosen.map(({ distance }) => distance).sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.round(share * (sorted.length - 1))]!.toFixed(3);
  console.log(`${name}: ${sorted.length} pairs, distance ${at(0)} to ${at(1)}, median ${at(0.5)}`);
}

test("every pair of photos of one person is nearer than the threshold", () => {
  const genuine = pairs.filter((pair) => pair.genuine);
  summarise("genuine", genuine);
  assert.equal(genuine.length, 55 + 4);
  assert.deepEqual(genuine.filter(({ distance }) => distance > threshold), []);
});

test("every pair of photos of two people is further than the threshold", () => {
  const impostor = pairs.filter((pair) => !pair.genuine);
  summarise("impostor", impostor);
  assert.equal(impostor.length, (24 * 23) / 2 - 59);
  assert.deepEqual(impostor.filter(({ distance }) => distance <= threshold), []);
});
