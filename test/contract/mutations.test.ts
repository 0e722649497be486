import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import fc from "fast-check";
import { contractKey, startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import { TestGallery, newPackedContext, question } from "../support/independent/gallery-fixture.ts";
import { CallRefused, closedReasons, serialize } from "../support/independent/independent-client.ts";
import { plainDistance, randomEmbedding } from "../support/independent/independent-encoding.ts";

const { server, client } = await startContractServer();
const key = await contractKey();
const gallery = await TestGallery.create(client, key);
const embedding = randomEmbedding(128);
const [template] = [gallery.template({ template_id: "t", subject_id: "s", embedding })];
await gallery.enrollTemplates([template]);
const probe = randomEmbedding(128);
const pieces = gallery.pieces(probe);
const page = { page_size: 5, page_token: "" };

/** A valid stream of requests for every rpc. */
const VALID: readonly (readonly [string, readonly object[]])[] = [
  ["ContextService/CreateContext", [newPackedContext(key)]],
  ["ContextService/GetContext", [{ context_id: key.contextId }]],
  ["ContextService/ListContexts", [page]],
  ["ContextService/DeleteContext", [{ context_id: "0".repeat(64), force: false }]],
  [
    "GalleryService/CreateGallery",
    [{ gallery: { gallery_id: gallery.galleryId, context_id: key.contextId, space: gallery.space } }],
  ],
  ["GalleryService/GetGallery", [{ gallery_id: gallery.galleryId }]],
  ["GalleryService/ListGalleries", [{ context_id: key.contextId, ...page }]],
  ["GalleryService/ListTemplates", [{ gallery_id: gallery.galleryId, subject_id: "s", ...page }]],
  ["GalleryService/ListSubjects", [{ gallery_id: gallery.galleryId, ...page }]],
  ["GalleryService/ListTemplateChanges", [{ gallery_id: gallery.galleryId, since_revision: 1, ...page }]],
  [
    "GalleryService/EnrollTemplates",
    [{ target: gallery.target }, { template: { ...template, template_id: "fuzzed" } }],
  ],
  [
    "GalleryService/DeleteTemplates",
    [{ gallery_id: gallery.galleryId, template_ids: ["fuzzed"], subject_ids: ["fuzzed"] }],
  ],
  [
    "MatchingService/SearchGallery",
    question({ ...gallery.target, probes: 1, roster: { uid: (await gallery.describe()).uid, revision: 1 } }, pieces),
  ],
  ["MatchingService/CompareTemplates", question({ ...gallery.target, subject_id: "s" }, pieces)],
];

interface Mutation {
  readonly kind: "flip" | "cut" | "insert" | "double" | "drop" | "swap";
  readonly message: number;
  readonly at: number;
  readonly byte: number;
}

const mutation: fc.Arbitrary<Mutation> = fc.record({
  kind: fc.constantFrom("flip", "flip", "cut", "insert", "double", "drop", "swap"),
  message: fc.nat(1),
  // Mutations gather where the fields are: the bulk of a ciphertext is one field.
  at: fc.oneof({ weight: 3, arbitrary: fc.nat(300) }, { weight: 1, arbitrary: fc.nat(100_000) }),
  byte: fc.nat(255),
});

function mutate(messages: readonly Buffer[], { kind, message, at, byte }: Mutation): Buffer[] {
  const index = message % Math.max(1, messages.length);
  const bytes = messages[index];
  if (bytes === undefined) return [Buffer.from([byte])];
  const position = at % Math.max(1, bytes.length);
  const changed = changeOf(bytes, kind, position, byte);
  if (kind === "swap") return messages.toReversed();
  return messages.toSpliced(index, 1, ...(kind === "double" ? [bytes, bytes] : kind === "drop" ? [] : [changed]));
}

function changeOf(bytes: Buffer, kind: Mutation["kind"], position: number, byte: number): Buffer {
  if (kind === "cut") return bytes.subarray(0, position);
  if (kind === "insert")
    return Buffer.concat([bytes.subarray(0, position), Buffer.from([byte]), bytes.subarray(position)]);
  const changed = Buffer.from(bytes);
  if (position < changed.length) changed[position]! ^= byte === 0 ? 1 : byte;
  return changed;
}

test("two hundred damaged requests are each served or refused with a known reason, and the server stays up", async () => {
  const reasons = closedReasons();
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...VALID),
      fc.array(mutation, { minLength: 1, maxLength: 3 }),
      async ([rpc, requests], mutations) => {
        const messages = mutations.reduce(
          mutate,
          requests.map((request) => serialize(rpc, request)),
        );
        const refusal: unknown = await client.callRaw(rpc, ...messages).then(
          () => undefined,
          (error: unknown) => error,
        );
        if (refusal === undefined) return;
        assert.ok(refusal instanceof CallRefused, inspect(refusal));
        if (refusedByGrpc(refusal)) return;
        assert.ok(
          reasons.has(refusal.reason) && refusal.reason !== "INTERNAL",
          `${rpc}: status ${refusal.code}, reason "${refusal.reason}": ${refusal.details}`,
        );
      },
    ),
    { numRuns: 200 },
  );
  assert.ok(server.running);
  const distance = (await gallery.search(probe)).get("t")!;
  assert.ok(Math.abs(distance - plainDistance(gallery.space, embedding, probe)) < 1e-5, "what was there is unharmed");
});

/** What gRPC refuses by itself, without a reason: another number of messages than the rpc takes. */
function refusedByGrpc({ code, reason, details }: CallRefused): boolean {
  return reason === "" && code === 12 && /request message/.test(details);
}

testThatTheLogTellsNothing(server);
