import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { DEFAULT_CARD } from "../../../face/default-pack/card.ts";
import { expectedFalseMatches } from "../../../face/false-matches.ts";
import { identificationThresholdOf, thresholdOf } from "../../../client/model-space.ts";

const EUCLIDEAN = { id: "m", dimension: 4, metric: "euclidean", threshold: 0.6 } as const;
const RATES = [
  { threshold: 0.4, rate: 1e-6 },
  { threshold: 0.5, rate: 1e-4 },
  { threshold: 0.6, rate: 1e-3 },
];

test("false matches are expected in proportion to the templates, by the card's rate at the threshold", () => {
  const card = { ...EUCLIDEAN, falseMatchRates: RATES };
  assert.equal(expectedFalseMatches(card, 0.5, 10_000), 1);
  assert.equal(expectedFalseMatches(card, 0.6, 121), 0.121);
  assert.ok(Math.abs(expectedFalseMatches(card, 0.45, 1)! - 1e-5) < 1e-12, "half way between 1e-6 and 1e-4");
  assert.equal(expectedFalseMatches(card, 5, 3), 3);
  assert.equal(expectedFalseMatches(card, 0.5, 0), 0);
});

test("the rate never falls as the threshold grows, and stays within 0 and 1", () => {
  const threshold = fc.double({ min: 0, max: 4, noNaN: true });
  fc.assert(
    fc.property(threshold, threshold, (a, b) => {
      const [low, high] = [a, b]
        .sort((x, y) => x - y)
        .map((at) => expectedFalseMatches({ ...EUCLIDEAN, falseMatchRates: RATES }, at, 1)!);
      assert.ok(low! >= 0 && low! <= high! && high! <= 1);
    }),
  );
});

test("a cosine card states similarities, and the threshold is a distance", () => {
  const card = {
    ...EUCLIDEAN,
    metric: "cosine" as const,
    falseMatchRates: [
      { threshold: 0.5, rate: 1e-4 },
      { threshold: 0.25, rate: 1e-2 },
    ],
  };
  assert.equal(expectedFalseMatches(card, 0.5, 1), 1e-4);
  assert.equal(expectedFalseMatches(card, 0.75, 1), 1e-2);
});

test("nothing is expected of a card that states no rates", () => {
  assert.equal(expectedFalseMatches(EUCLIDEAN, 0.5, 1000), undefined);
});

test("a search is as strict as the card says, or as a verification where it says nothing", () => {
  assert.equal(identificationThresholdOf(EUCLIDEAN), 0.6);
  assert.equal(identificationThresholdOf({ ...EUCLIDEAN, identificationThreshold: 0.5 }), 0.5);
  assert.equal(identificationThresholdOf({ metric: "cosine", threshold: 0.25, identificationThreshold: 0.5 }), 0.5);
  assert.equal(thresholdOf(DEFAULT_CARD), 0.6);
  assert.equal(identificationThresholdOf(DEFAULT_CARD), 0.5);
});

test("among 121 templates the default pack expects a third of a false match at 0.6, and hardly any at its own threshold", () => {
  assert.ok(Math.abs(expectedFalseMatches(DEFAULT_CARD, 0.6, 121)! - 0.363) < 1e-9);
  assert.ok(expectedFalseMatches(DEFAULT_CARD, identificationThresholdOf(DEFAULT_CARD), 121)! < 0.01);
});
