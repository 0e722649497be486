import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { DEFAULT_CARD } from "../../face/default-pack/card.ts";
import { FaceEncoder } from "../../face/face-encoder.ts";
import { loadDefaultModelPack } from "../../face/model-pack.ts";
import { PEOPLE, readPhoto } from "../../scripts/dev/photos.ts";

type Person = keyof typeof PEOPLE;

interface Portrait {
  readonly person: Person;
  readonly photo: string;
  readonly embedding: Float32Array;
}

interface Pair {
  readonly photos: string;
  readonly people: readonly [Person, Person];
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
  for (const [person, photos] of Object.entries(PEOPLE) as [Person, readonly string[]][]) {
    for (const photo of photos)
      portraits.push({ person, photo, embedding: (await encoder.encodeSingle(await readPhoto(photo))).embedding });
  }
  pairs = portraits.flatMap((a, i) => portraits.slice(0, i).map((b) => compare(a, b)));
});

after(async () => {
  delete process.env["VEILFACE_CACHE"];
  await rm(cache, { recursive: true, force: true });
});

function compare(a: Portrait, b: Portrait): Pair {
  const distance = Math.hypot(...a.embedding.map((value, i) => value - b.embedding[i]!));
  return { photos: `${a.photo} / ${b.photo}`, people: [a.person, b.person], genuine: a.person === b.person, distance };
}

function summarize(name: string, chosen: readonly Pair[]): void {
  const sorted = chosen.map(({ distance }) => distance).sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.round(share * (sorted.length - 1))]!.toFixed(3);
  console.log(`${name}: ${sorted.length} pairs, distance ${at(0)} to ${at(1)}, median ${at(0.5)}`);
}

test("every pair of photos of one person is nearer than the threshold", () => {
  const genuine = pairs.filter((pair) => pair.genuine);
  summarize("genuine", genuine);
  assert.equal(genuine.length, 55 + 4);
  assert.deepEqual(
    genuine.filter(({ distance }) => distance > threshold),
    [],
  );
});

test("every pair of photos of two people is further than the threshold", () => {
  const impostor = pairs.filter((pair) => !pair.genuine);
  summarize("impostor", impostor);
  assert.equal(impostor.length, (24 * 23) / 2 - 59);
  assert.deepEqual(
    impostor.filter(({ distance }) => distance <= threshold),
    [],
  );
});

test("the default card's false match rates are those of a normal distribution fitted to the distances of different people", () => {
  const { mean, deviation } = fitImpostors();
  console.log(
    `impostors, every pair of people with the same weight: mean ${mean.toFixed(3)}, deviation ${deviation.toFixed(3)}`,
  );
  for (const { threshold: at, rate } of DEFAULT_CARD.falseMatchRates) {
    const fitted = normalTail((at - mean) / deviation);
    assert.ok(
      Math.abs(Math.log(rate / fitted)) < Math.log(1.25),
      `${at}: card ${rate}, fitted ${fitted.toExponential(2)}`,
    );
  }
});

interface Fit {
  readonly mean: number;
  readonly deviation: number;
}

/** Weighted by one over the number of photos of the two people, as one of them has eleven. */
function fitImpostors(): Fit {
  const impostor = pairs.filter((pair) => !pair.genuine);
  const weights = impostor.map(({ people }) => 1 / (PEOPLE[people[0]].length * PEOPLE[people[1]].length));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const average = (value: (distance: number) => number): number =>
    impostor.reduce((sum, { distance }, i) => sum + weights[i]! * value(distance), 0) / total;
  const mean = average((distance) => distance);
  return { mean, deviation: Math.sqrt(average((distance) => (distance - mean) ** 2)) };
}

/** The probability of a standard normal variable to be below z, by the trapezoidal rule from 12 deviations on. */
function normalTail(z: number): number {
  const step = 1e-3;
  let sum = 0;
  for (let x = -12; x < z; x += step) sum += Math.exp(-(x ** 2) / 2) * step;
  return sum / Math.sqrt(2 * Math.PI);
}
