import assert from "node:assert/strict";
import { test } from "node:test";
import { contractKey, startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import { TestGallery, freshId } from "../support/independent/gallery-fixture.ts";
import type { EntryMessage } from "../support/independent/gallery-fixture.ts";
import { serializeReply } from "../support/independent/independent-client.ts";
import type { Space } from "../support/independent/independent-encoding.ts";
import { assertRefused } from "../support/independent/refusals.ts";

const { server, client } = await startContractServer();
const key = await contractKey("PACKED_N4096_Q30");
const SPACE: Space = { dimension: 8, metric: "METRIC_COSINE", model_id: "model-a", norm_bound: 1 };
const SLOTS = 4096;
/** gRPC's default limit of a message that a client takes. */
const MOST_BYTES = 4 * 2 ** 20;

interface Deleted {
  readonly revision: number;
  readonly entries: readonly EntryMessage[];
  readonly struck_template_ids: readonly string[];
  readonly struck_blocks: readonly number[];
  readonly erased_blocks: readonly number[];
  readonly unknown_subject_ids: readonly string[];
  readonly more: boolean;
  readonly deleted_count: number;
}

/** A gallery whose blocks have 4096 slots at stride 1. */
async function galleryOfBlocks(): Promise<TestGallery> {
  const gallery_id = freshId("deletions");
  await client.call("ContextService/CreateContext", {
    context: { packed: { parameter_set: `PARAMETER_SET_${key.set}`, key_id: key.keyId } },
  });
  await client.call("GalleryService/CreateGallery", {
    gallery: { gallery_id, context_id: key.contextId, space: SPACE, packed_stride: 1 },
  });
  return new TestGallery(client, key, SPACE, gallery_id);
}

/** Ids as long as they may be. */
const longId = (prefix: string, i: number): string => `${prefix}-${i}`.padEnd(64, "x");

/** Enrolls a block of templates; their vectors do not matter. Returns the acknowledgement. */
async function enrollBlock(gallery: TestGallery, slots: readonly { template_id: string; subject_id: string }[]) {
  const piece = gallery.template({ template_id: "t", subject_id: "s", embedding: [1, 0, 0, 0, 0, 0, 0, 0] }).ciphertext;
  const messages = [
    { target: gallery.target },
    { block: { stride: 1, slots } },
    { pieces: { pieces: Array.from({ length: 8 }, () => piece) } },
  ];
  const [ack] = await client.call<{ block: { block: number }; struck_template_ids: string[] }>(
    "GalleryService/EnrollTemplates",
    ...messages,
  );
  return ack!;
}

async function deleteTemplates(gallery: TestGallery, request: object): Promise<Deleted> {
  const [reply] = await client.call<Deleted>("GalleryService/DeleteTemplates", {
    gallery_id: gallery.galleryId,
    ...request,
  });
  return reply!;
}

async function count(gallery: TestGallery): Promise<number> {
  const [reply] = await client.call<{ gallery: { template_count: number } }>("GalleryService/GetGallery", {
    gallery_id: gallery.galleryId,
  });
  return reply!.gallery.template_count;
}

test("more templates than one call may delete are deleted call by call, or by one call without a limit, each with a reply of bounded size", {
  timeout: 120_000,
}, async () => {
  const gallery = await galleryOfBlocks();
  const subjects = Array.from({ length: SLOTS }, (_, i) => longId("s", i));
  for (const round of ["a", "b", "c", "d"])
    await enrollBlock(
      gallery,
      subjects.map((subject_id, i) => ({ template_id: longId(round, i), subject_id })),
    );
  assert.equal(await count(gallery), 4 * SLOTS);
  const all = { subject_ids: [...subjects, longId("nobody", 0)] };
  await assertRefused(deleteTemplates(gallery, { ...all, max_templates: 10_001 }), {
    status: "INVALID_ARGUMENT",
    reason: "FIELD_INVALID",
    field: "max_templates",
  });
  assert.equal(await count(gallery), 4 * SLOTS, "a refused call deletes nothing");
  const first = await deleteTemplates(gallery, { ...all, max_templates: 10_000 });
  assert.deepEqual([first.entries.length, first.more, first.erased_blocks], [10_000, true, [0, 1]]);
  assert.deepEqual(first.unknown_subject_ids, [longId("nobody", 0)]);
  // The third block has lost 10,000 - 2 * 4096 of its templates.
  const struck = subjects.slice(0, 10_000 - 2 * SLOTS).map((_, i) => longId("c", i));
  assert.deepEqual([first.struck_template_ids, new Set(first.struck_blocks)], [struck, new Set([2])]);
  assert.equal(await count(gallery), 4 * SLOTS - 10_000);
  const second = await deleteTemplates(gallery, { ...all, max_templates: 10_000 });
  assert.deepEqual(
    [second.entries.length, second.more, second.erased_blocks, second.struck_template_ids],
    [4 * SLOTS - 10_000, false, [2, 3], []],
  );
  assert.equal(await count(gallery), 0);
  const ids = new Set([...first.entries, ...second.entries].map(({ template_id }) => template_id));
  assert.equal(ids.size, 4 * SLOTS, "every template is named once");
  assert.deepEqual([first.deleted_count, second.deleted_count], [10_000, 4 * SLOTS - 10_000]);
  const { revision } = second;
  for (const round of ["a", "b", "c", "d"])
    await enrollBlock(
      gallery,
      subjects.map((subject_id, i) => ({ template_id: longId(round, i), subject_id })),
    );
  const whole = await deleteTemplates(gallery, all);
  assert.deepEqual([whole.entries.length, whole.deleted_count, whole.more], [10_000, 4 * SLOTS, false]);
  assert.deepEqual([whole.erased_blocks, whole.struck_template_ids, await count(gallery)], [[4, 5, 6, 7], [], 0]);
  const changes = await gallery.roster(revision);
  assert.equal(changes.filter(({ deleted }) => deleted).length, 4 * SLOTS, "the change list names the others");
});

test("a deletion that is asked again, because its reply was lost, says again whose bits stay in packed blocks", async () => {
  const gallery = await galleryOfBlocks();
  await enrollBlock(
    gallery,
    [1, 2, 3].map((i) => ({ template_id: `t-${i}`, subject_id: `s-${i}` })),
  );
  await gallery.enroll([{ template_id: "loose", subject_id: "s-2", embedding: [1, 0, 0, 0, 0, 0, 0, 0] }]);
  const request = { template_ids: ["t-1", "not-there"], subject_ids: ["s-2", "nobody"] };
  const first = await deleteTemplates(gallery, request);
  assert.deepEqual(
    first.entries.map(({ template_id }) => template_id),
    ["t-1", "loose", "t-2"],
  );
  assert.deepEqual(
    [first.struck_template_ids, first.struck_blocks, first.unknown_subject_ids],
    [["t-1", "t-2"], [0, 0], ["nobody"]],
  );
  const again = await deleteTemplates(gallery, request);
  assert.deepEqual(
    [again.entries, again.struck_template_ids, again.unknown_subject_ids],
    [[], ["t-1", "t-2"], ["s-2", "nobody"]],
  );
  const last = await deleteTemplates(gallery, { template_ids: ["t-3"] });
  assert.deepEqual([last.struck_template_ids, last.erased_blocks], [[], [0]]);
  assert.deepEqual((await deleteTemplates(gallery, request)).struck_template_ids, []);
});

test("an enrollment names the templates that it replaced in packed blocks which stay, until they are deleted too", async () => {
  const gallery = await galleryOfBlocks();
  const slots = ["a", "b", "c"].map((template_id) => ({ template_id, subject_id: "s" }));
  assert.deepEqual((await enrollBlock(gallery, slots)).struck_template_ids, []);
  assert.deepEqual((await enrollBlock(gallery, slots.slice(0, 1))).struck_template_ids, ["a"]);
  const template = gallery.template({ template_id: "b", subject_id: "s", embedding: [1, 0, 0, 0, 0, 0, 0, 0] });
  const [ack] = await client.call<{ struck_template_ids: string[] }>(
    "GalleryService/EnrollTemplates",
    ...gallery.enrollment([template]),
  );
  assert.deepEqual(ack!.struck_template_ids, ["b"]);
  const { entries, struck_template_ids } = await deleteTemplates(gallery, { template_ids: ["b"] });
  assert.deepEqual([entries.length, struck_template_ids], [1, ["b"]], "of the deleted template an older form is left");
  assert.deepEqual(
    (await enrollBlock(gallery, slots.slice(2))).struck_template_ids,
    [],
    "the last one takes the block along",
  );
});

test("the largest replies that the contract's limits allow are below what gRPC's clients take", () => {
  const id = longId("i", 0);
  const [revision, block] = [2 ** 48, 2 ** 32 - 1];
  const live = {
    template_id: id,
    subject_id: id,
    placement: { block, slot: 4095, stride: 2049 },
    revision,
    deleted: false,
  };
  const gone = { template_id: id, subject_id: "", placement: null, revision, deleted: true };
  const many = <T>(length: number, item: T): T[] => Array.from({ length }, () => item);
  const largest = {
    "GalleryService/DeleteTemplates": {
      entries: many(10_000, gone),
      revision,
      struck_template_ids: many(20_000, id),
      more: true,
      struck_blocks: many(20_000, block),
      erased_blocks: many(10_000, block),
      unknown_subject_ids: many(10_000, id),
    },
    "GalleryService/ListTemplates": { entries: many(10_000, live), next_page_token: String(revision), revision },
    "GalleryService/ListGalleries": { galleries: many(1000, largestGallery(id)), next_page_token: id },
    "GalleryService/EnrollTemplates": {
      block: { block, stride: 2049, count: SLOTS, first_revision: revision },
      struck_template_ids: many(SLOTS, id),
    },
    "GalleryService/ReadTemplates": { block: { block, stride: 1, entries: many(SLOTS, live), pieces: 2049 } },
    "MatchingService/CompareTemplates": {
      distances: {
        block,
        stride: 1,
        ciphertext: { context_id: id, encoding: 1, data: Buffer.alloc(1_900_000), sha256: Buffer.alloc(32) },
      },
      entries: many(SLOTS, live),
    },
    "MatchingService/CompareCiphertexts": {
      distance: { context_id: id, encoding: 1, data: Buffer.alloc(1_900_000), sha256: Buffer.alloc(32) },
    },
  };
  for (const [rpc, reply] of Object.entries(largest))
    assert.ok(serializeReply(rpc, reply).length < MOST_BYTES, `${rpc}: ${serializeReply(rpc, reply).length} bytes`);
});

function largestGallery(id: string): object {
  return {
    gallery_id: id,
    context_id: id,
    space: { dimension: 16384, metric: 2, model_id: id, norm_bound: 1 },
    strides: [1, 2049],
    template_count: 2 ** 48,
    revision: 2 ** 48,
    create_time: { seconds: 2 ** 33, nanos: 999_999_999 },
    packed_stride: 2048,
    expected_templates: 1e9,
    draft_of: id,
  };
}

testThatTheLogTellsNothing(server);
