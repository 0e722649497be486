import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { openServices } from "../../../client/remote/channel.ts";
import type { ServerOptions } from "../../../client/remote/channel.ts";
import { decide } from "../../../client/match/decision.ts";
import { ClientError } from "../../../client/errors.ts";
import { checkId } from "../../../client/ids.ts";
import { spaceOf, thresholdOf } from "../../../client/model-space.ts";

const isUsage = (error: unknown): boolean => error instanceof ClientError && error.reason === "USAGE";

test("a distance is accepted exactly up to the threshold, and not being accepted is a value", () => {
  const distance = fc.double({ min: 0, max: 4, noNaN: true });
  fc.assert(
    fc.property(distance, distance, (a, b) => {
      assert.deepEqual(decide(a, b), { accepted: !(a > b), distance: a, threshold: b });
    }),
  );
  assert.equal(decide(0.6, 0.6).accepted, true);
  assert.equal(decide(Infinity, 1e9).accepted, false);
});

test("a threshold that cannot be one, or a distance that is no number, decides nothing", () => {
  for (const threshold of [NaN, -0.1, Infinity]) assert.throws(() => decide(0.5, threshold), isUsage);
  assert.throws(() => decide(NaN, 0.5), isUsage);
});

test("ids are 1 to 64 characters of a-z, 0-9 and a dash", () => {
  const allowed = "abcdefghijklmnopqrstuvwxyz0123456789-";
  for (const id of ["a", "-", "0", "a".repeat(64), allowed.slice(0, 37)]) assert.equal(checkId("subject", id), id);
  for (const id of ["", "a".repeat(65), "A", "a b", "a\n", "ä", "a_b", "../a"])
    assert.throws(() => checkId("subject", id), isUsage, id);
});

test("a model card's similarity threshold becomes the cosine distance that accepts the same pairs", () => {
  const card = { id: "arc", dimension: 512, metric: "cosine" as const, threshold: 0.35 };
  assert.equal(thresholdOf(card), 0.65);
  assert.equal(thresholdOf({ metric: "euclidean", threshold: 0.6 }), 0.6);
  assert.deepEqual(spaceOf(card), { dimension: 512, metric: "cosine", normBound: 1, modelId: "arc" });
  assert.equal(spaceOf({ ...card, metric: "euclidean", normBound: 3 }).normBound, 3);
});

test("plain text goes to this machine only, unless it is spelled out or TLS is used", () => {
  const opens = (options: ServerOptions): void => {
    openServices(options).close();
  };
  for (const address of ["127.0.0.1:1", "127.8.9.1:50051", "localhost:50051", "[::1]:50051"]) opens({ address });
  for (const address of [
    "192.0.2.1:50051",
    "example.org:443",
    "127.0.0.1.example.org:1",
    "localhost.example.org:1",
    "[2001:db8::1]:443",
  ]) {
    assert.throws(
      () => {
        opens({ address });
      },
      isUsage,
      address,
    );
    opens({ address, insecure: true });
    opens({ address, tls: true });
  }
});

test("what is not host:port is refused before anything is sent", () => {
  for (const address of [
    "",
    "localhost",
    ":50051",
    "localhost:",
    "localhost:0",
    "localhost:65536",
    "http://localhost:1",
    "::1:50051",
    "a b:1",
    "unix:/tmp/x",
  ]) {
    assert.throws(() => openServices({ address, insecure: true }), isUsage, address);
  }
});
