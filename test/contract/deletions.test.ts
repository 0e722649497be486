import assert from "node:assert/strict";
import { test } from "node:test";
import { contractKey, startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import { EMBEDDING, SLOTS, enrollBlock, galleryOfBlocks } from "../support/independent/block-gallery.ts";
import type { TestGallery } from "../support/independent/gallery-fixture.ts";
import type { DeletedMessage, EnrolledMessage } from "../support/independent/gallery-fixture.ts";
import { serializeReply } from "../support/independent/independent-client.ts";
import { assertRefused } from "../support/independent/refusals.ts";

const { server, client } = await startContractServer();
const key = await contractKey("PACKED_N4096_Q30");
/** gRPC's default limit of a message that a client takes. */
const MOST_BYTES = 4 * 2 ** 20;
/** As long as a page token may be. */
const TOKEN = "x".repeat(256);

/** Ids as long as they may be. */
const longId = (prefix: string, i: number): string => `${prefix}-${i}`.padEnd(64, "x");

async function deleteTemplates(gallery: TestGallery, request: object): Promise<DeletedMessage> {
  const [reply] = await client.call<DeletedMessage>("GalleryService/DeleteTemplates", {
    gallery_id: gallery.galleryId,
    ...request,
  });
  return reply!;
}

/** Of what is gone since a revision, each once, in the order of their deletion. */
async function deletedSince(gallery: TestGallery, revision: number): Promise<string[]> {
  return (await gallery.roster(revision, 10_000))
    .filter(({ deleted }) => deleted)
    .map(({ template_id }) => template_id);
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
  const gallery = await galleryOfBlocks(client, key);
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
  const enrolled = (await gallery.describe()).revision;
  const first = await deleteTemplates(gallery, { ...all, max_templates: 10_000 });
  assert.deepEqual([first.deleted_count, first.more, first.erased_blocks], [10_000, true, [0, 1]]);
  assert.deepEqual(first.unknown_subject_ids, [longId("nobody", 0)]);
  // The third block has lost 10,000 - 2 * 4096 of its templates.
  const struck = subjects.slice(0, 10_000 - 2 * SLOTS).map((_, i) => longId("c", i));
  assert.deepEqual([first.struck_template_ids, new Set(first.struck_blocks)], [struck, new Set([2])]);
  assert.equal(await count(gallery), 4 * SLOTS - 10_000);
  const second = await deleteTemplates(gallery, { ...all, max_templates: 10_000 });
  assert.deepEqual(
    [second.deleted_count, second.more, second.erased_blocks, second.struck_template_ids],
    [4 * SLOTS - 10_000, false, [2, 3], []],
  );
  assert.equal(await count(gallery), 0);
  const ids = await deletedSince(gallery, enrolled);
  assert.deepEqual([ids.length, new Set(ids).size], [4 * SLOTS, 4 * SLOTS], "every template is told once");
  const { revision } = second;
  for (const round of ["a", "b", "c", "d"])
    await enrollBlock(
      gallery,
      subjects.map((subject_id, i) => ({ template_id: longId(round, i), subject_id })),
    );
  const whole = await deleteTemplates(gallery, all);
  assert.deepEqual([whole.deleted_count, whole.more], [4 * SLOTS, false]);
  assert.deepEqual([whole.erased_blocks, whole.struck_template_ids, await count(gallery)], [[4, 5, 6, 7], [], 0]);
  assert.equal(new Set(await deletedSince(gallery, revision)).size, 4 * SLOTS, "the change list names all of them");
});

test("a deletion that is asked again, because its reply was lost, says again whose bits stay in packed blocks", async () => {
  const gallery = await galleryOfBlocks(client, key);
  await enrollBlock(
    gallery,
    [1, 2, 3].map((i) => ({ template_id: `t-${i}`, subject_id: `s-${i}` })),
  );
  await gallery.enroll([{ template_id: "loose", subject_id: "s-2", embedding: EMBEDDING }]);
  const request = { template_ids: ["t-1", "not-there"], subject_ids: ["s-2", "nobody"] };
  const { revision } = await gallery.describe();
  const first = await deleteTemplates(gallery, request);
  assert.deepEqual([first.deleted_count, await deletedSince(gallery, revision)], [3, ["t-1", "loose", "t-2"]]);
  assert.deepEqual(
    [first.struck_template_ids, first.struck_blocks, first.unknown_subject_ids, first.unknown_template_ids],
    [["t-1", "t-2"], [0, 0], ["nobody"], ["not-there"]],
  );
  const again = await deleteTemplates(gallery, request);
  assert.deepEqual(
    [again.deleted_count, again.revision, again.struck_template_ids, again.struck_blocks],
    [0, first.revision, ["t-1", "t-2"], [0, 0]],
  );
  assert.deepEqual(
    [again.unknown_subject_ids, again.unknown_template_ids],
    [
      ["s-2", "nobody"],
      ["t-1", "not-there"],
    ],
  );
  const last = await deleteTemplates(gallery, { template_ids: ["t-3"] });
  assert.deepEqual([last.struck_template_ids, last.erased_blocks], [[], [0]]);
  assert.deepEqual((await deleteTemplates(gallery, request)).struck_template_ids, []);
});

test("an enrollment names the templates that it replaced in packed blocks which stay, until they are deleted too", async () => {
  const gallery = await galleryOfBlocks(client, key);
  const slots = ["a", "b", "c"].map((template_id) => ({ template_id, subject_id: "s" }));
  assert.deepEqual((await enrollBlock(gallery, slots)).struck_template_ids, []);
  assert.deepEqual((await enrollBlock(gallery, slots.slice(0, 1))).struck_template_ids, ["a"]);
  const template = gallery.template({ template_id: "b", subject_id: "s", embedding: EMBEDDING });
  const [ack] = await client.call<EnrolledMessage>("GalleryService/EnrollTemplates", ...gallery.enrollment([template]));
  assert.deepEqual(ack!.template!.struck_template_ids, ["b"]);
  const { deleted_count, struck_template_ids } = await deleteTemplates(gallery, { template_ids: ["b"] });
  assert.deepEqual([deleted_count, struck_template_ids], [1, ["b"]], "of the deleted template an older form is left");
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
  const many = <T>(length: number, item: T): T[] => Array.from({ length }, () => item);
  const largest = {
    "GalleryService/DeleteTemplates": {
      deleted_count: 2 ** 48,
      revision,
      struck_template_ids: many(20_000, id),
      more: true,
      struck_blocks: many(20_000, block),
      erased_blocks: many(10_000, block),
      unknown_subject_ids: many(10_000, id),
      unknown_template_ids: many(10_000, id),
    },
    "GalleryService/ListTemplates": { entries: many(10_000, live), next_page_token: TOKEN },
    "GalleryService/ListSubjects": {
      subjects: many(10_000, { subject_id: id, template_count: 2 ** 48 }),
      next_page_token: TOKEN,
    },
    "GalleryService/ListTemplateChanges": { entries: many(10_000, live), next_page_token: TOKEN, revision },
    "GalleryService/ListGalleries": { galleries: many(1000, largestGallery(id)), next_page_token: TOKEN },
    "GalleryService/EnrollTemplates": {
      block: {
        block,
        stride: 2049,
        count: SLOTS,
        first_revision: revision,
        struck_template_ids: many(SLOTS, id),
      },
    },
    "GalleryService/ReadTemplates": { block: { block, stride: 1, entries: many(SLOTS, live), pieces: 2049 } },
    "MatchingService/CompareTemplates": {
      comparison: {
        distances: {
          block,
          stride: 1,
          ciphertext: { context_id: id, encoding: 1, data: Buffer.alloc(1_900_000), sha256: Buffer.alloc(32) },
        },
        entries: many(SLOTS, live),
      },
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
