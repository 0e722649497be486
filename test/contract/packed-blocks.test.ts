import assert from "node:assert/strict";
import { test } from "node:test";
import { contractKey, startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import { COSINE_128, question } from "../support/independent/gallery-fixture.ts";
import type {
  CiphertextMessage,
  EntryMessage,
  GalleryMessage,
  Person,
  PieceMessage,
} from "../support/independent/gallery-fixture.ts";
import { plainDistance, randomEmbedding } from "../support/independent/independent-encoding.ts";
import { PIECES, PackedGallery, SLOTS, STRIDE } from "../support/independent/packed-gallery.ts";
import { assertRefused } from "../support/independent/refusals.ts";

const { server, client } = await startContractServer();
const key = await contractKey();
const otherKey = await contractKey();
const blockInvalid = { status: "INVALID_ARGUMENT", reason: "BLOCK_INVALID" } as const;
const changed = { status: "ABORTED", reason: "GALLERY_CHANGED" } as const;

const open = (asked: object = {}, under = key): Promise<PackedGallery> => PackedGallery.open(client, under, asked);

function people(prefix: string, count: number): Person[] {
  return Array.from({ length: count }, (_, i) => ({
    template_id: `${prefix}-${i}`,
    subject_id: `${prefix}-s-${i}`,
    embedding: randomEmbedding(128),
  }));
}

async function assertHolds(gallery: PackedGallery, expected: readonly Person[]): Promise<void> {
  const probe = randomEmbedding(128);
  const found = await gallery.searchAll(probe);
  assert.deepEqual([...found.keys()].sort(), expected.map(({ template_id }) => template_id).sort());
  for (const { template_id, embedding } of expected)
    assert.ok(Math.abs(found.get(template_id)! - plainDistance(COSINE_128, embedding, probe)) < 1e-5);
  assert.equal((await gallery.describe()).template_count, expected.length);
}

test("a packed block and loose templates are found in one search, at their plain distances", async () => {
  const gallery = await open();
  const packed = people("p", SLOTS);
  const loose = people("l", 3);
  const ack = await gallery.enrollBlock(packed);
  assert.deepEqual(
    { stride: ack.stride, count: ack.count, first_revision: ack.first_revision },
    { stride: STRIDE, count: SLOTS, first_revision: 1 },
  );
  await gallery.enroll(loose);
  assert.deepEqual((await gallery.describe()).strides, [STRIDE, 128]);
  await assertHolds(gallery, [...packed, ...loose]);
  const entries = await gallery.roster(0, 100);
  assert.deepEqual(
    entries.map(({ revision }) => revision),
    Array.from({ length: SLOTS + 3 }, (_, i) => i + 1),
  );
  assert.deepEqual(entries[7]!.placement, { block: ack.block, slot: 7, stride: STRIDE });
});

test("templates of a block are replaced and deleted one by one, and sending a block again leaves no duplicates", async () => {
  const gallery = await open();
  const block = people("p", 20);
  await gallery.enrollBlock(block);
  await gallery.enrollBlock(block);
  await assertHolds(gallery, block);
  const renewed = { ...block[4]!, embedding: randomEmbedding(128) };
  await gallery.enroll([renewed]);
  await assertHolds(gallery, block.with(4, renewed));
  const deleted = await gallery.delete({ template_ids: ["p-4", "p-5"], subject_ids: ["p-s-6"] });
  assert.equal(deleted.deleted_count, 3);
  assert.deepEqual(
    deleted.struck_template_ids.toSorted(),
    ["p-4", "p-5", "p-6"],
    "of p-4 the replaced form is in the block still",
  );
  await assertHolds(
    gallery,
    block.filter((_, i) => i < 4 || i > 6),
  );
});

test("a packed subject is compared alone", async () => {
  const gallery = await open();
  const block = people("p", 5);
  await gallery.enrollBlock(block);
  const probe = randomEmbedding(128);
  await gallery.enroll(people("l", 1));
  const target = { ...gallery.target, subject_id: "p-s-2" };
  const { gallery: described, strides, comparisons } = await gallery.askSubject(target, gallery.packedProbe(probe));
  assert.deepEqual(described, await gallery.describe());
  assert.deepEqual([described.strides, strides], [[STRIDE, 128], [STRIDE]], "the probe is needed at one stride alone");
  assert.deepEqual(
    comparisons.flatMap(({ entries }) => entries.map(({ template_id }) => template_id)),
    ["p-2"],
  );
});

test("a block that lies about its slots, its polynomials or its stride is refused whole, and the next one is served", async () => {
  const gallery = await open();
  const block = people("p", 2);
  const pieces = gallery.blockPieces(block);
  const target = { target: gallery.target };
  const head = gallery.head(block);
  const send = (...messages: object[]): Promise<unknown> =>
    client.call("GalleryService/EnrollTemplates", target, ...messages);
  const slots = (count: number): object[] =>
    Array.from({ length: count }, (_, i) => ({ template_id: `x-${i}`, subject_id: "x" }));
  await assertRefused(send({ block: { stride: STRIDE, slots: slots(SLOTS + 1) } }), {
    ...blockInvalid,
    field: "block.slots",
    says: /257.*1 to 256/,
  });
  await assertRefused(send({ block: { stride: STRIDE, slots: [] } }), { ...blockInvalid, field: "block.slots" });
  for (const stride of [0, -1, 8, 128, 129, 4096])
    await assertRefused(send({ block: { stride, slots: slots(2) } }), {
      ...blockInvalid,
      field: "block.stride",
      says: /16/,
    });
  await assertRefused(send({ pieces: { pieces } }), blockInvalid);
  await assertRefused(send(head), { ...blockInvalid, says: /0 of the block's 8/ });
  await assertRefused(send(head, { pieces: { pieces: pieces.slice(1) } }), {
    ...blockInvalid,
    says: /7 of the block's 8/,
  });
  await assertRefused(send(head, head), blockInvalid);
  await assertRefused(send(head, { pieces: { pieces: [...pieces, pieces[0]!] } }), {
    ...blockInvalid,
    field: "pieces.pieces",
  });
  await assertRefused(
    send({ block: { stride: STRIDE, slots: [...slots(1), ...slots(1)] } }, { pieces: { pieces } }),
    blockInvalid,
  );
  await assertRefused(send({ block: { stride: STRIDE, slots: [{ template_id: "UPPER", subject_id: "x" }] } }), {
    status: "INVALID_ARGUMENT",
    reason: "FIELD_INVALID",
  });
  const damaged = { ...pieces[3]!, data: Buffer.from(pieces[3]!.data).fill(255, 100, 110) };
  await assertRefused(send(head, { pieces: { pieces: pieces.with(3, damaged) } }), {
    status: "INVALID_ARGUMENT",
    reason: "CIPHERTEXT_CORRUPT",
  });
  assert.equal((await gallery.describe()).revision, 0);
  await gallery.enrollBlock(block);
  await assertHolds(gallery, block);
});

test("a probe that lacks a stride of the gallery is refused, and so is one of a stride it does not have", async () => {
  const gallery = await open();
  await gallery.enrollBlock(people("p", 2));
  const probe = randomEmbedding(128);
  const search = (pieces: PieceMessage[]): Promise<unknown> =>
    client.call("MatchingService/SearchGallery", ...question(gallery.target, pieces));
  await assertRefused(search(gallery.pieces(probe)), {
    status: "INVALID_ARGUMENT",
    reason: "PROBE_INCOMPLETE",
    says: /0 of 8 pieces at stride 16/,
  });
  await assertRefused(search(gallery.packedProbe(probe).slice(1)), {
    status: "INVALID_ARGUMENT",
    reason: "PROBE_INCOMPLETE",
    says: /7 of 8/,
  });
  const foreign = gallery.packedProbe(probe).map((piece) => ({ ...piece, stride: 8 }));
  await assertRefused(search(foreign), {
    status: "INVALID_ARGUMENT",
    reason: "FIELD_INVALID",
    field: "pieces.pieces.stride",
  });
});

test("a gallery packs at the stride that suits its expected size, unless told otherwise", async () => {
  const strideFor = async (asked: object): Promise<number> =>
    ((await (await open(asked)).describe()) as GalleryMessage & { packed_stride: number }).packed_stride;
  assert.equal(await strideFor({ packed_stride: 0, expected_templates: 1000 }), 16);
  assert.equal(await strideFor({ packed_stride: 0, expected_templates: 1_000_000 }), 1);
  assert.equal(await strideFor({ packed_stride: 37, expected_templates: 1_000_000 }), 37);
  for (const packed_stride of [-1, 129])
    await assertRefused(strideFor({ packed_stride }), {
      status: "INVALID_ARGUMENT",
      reason: "FIELD_INVALID",
      field: "gallery.packed_stride",
    });
  await assertRefused(strideFor({ expected_templates: -1 }), {
    status: "INVALID_ARGUMENT",
    reason: "FIELD_INVALID",
    field: "gallery.expected_templates",
  });
});

test("what is read back decrypts to what was enrolled, and a draft under another key takes the gallery's place", async () => {
  const gallery = await open();
  const block = people("p", 3);
  await gallery.enrollBlock(block);
  await gallery.enroll(people("l", 1));
  const steps = await client.call<{
    gallery?: GalleryMessage;
    block?: { entries: EntryMessage[]; pieces: number };
    pieces?: { pieces: CiphertextMessage[] };
  }>("GalleryService/ReadTemplates", { gallery_id: gallery.galleryId });
  assert.equal(steps[0]!.gallery!.revision, 4);
  assert.deepEqual(
    steps.flatMap(({ block: head }) => (head === undefined ? [] : [[head.entries.length, head.pieces]])),
    [
      [3, PIECES],
      [1, 1],
    ],
  );
  assert.equal(steps.flatMap(({ pieces }) => pieces?.pieces ?? []).length, PIECES + 1);

  const draft = await open({ draft_of: gallery.galleryId }, otherKey);
  const renewed = people("n", 4);
  await draft.enrollBlock(renewed);
  const replace = (expected_revision: number, draft_id = draft.galleryId): Promise<unknown> =>
    client.call("GalleryService/ReplaceGallery", { gallery_id: gallery.galleryId, draft_id, expected_revision });
  const before = await gallery.describe();
  await assertRefused(replace(3), changed);
  await assertRefused(replace(4, "nobody"), { status: "NOT_FOUND", reason: "GALLERY_NOT_FOUND" });
  assert.deepEqual(await gallery.describe(), before);
  await replace(4);
  const after = await gallery.describe();
  assert.equal(after.context_id, otherKey.contextId);
  assert.notDeepEqual(after.create_time, before.create_time);
  await assertHolds(new PackedGallery(client, otherKey, COSINE_128, gallery.galleryId), renewed);
  await assertRefused(draft.describe(), { status: "NOT_FOUND", reason: "GALLERY_NOT_FOUND" });
  await assertRefused(replace(4), { status: "NOT_FOUND", reason: "GALLERY_NOT_FOUND" });
});

test("a draft of a gallery that changed since is refused, and both stay as they are", async () => {
  const gallery = await open();
  const block = people("p", 2);
  await gallery.enrollBlock(block);
  const draft = await open({ draft_of: gallery.galleryId });
  await draft.enrollBlock(block);
  const late = people("late", 1);
  await gallery.enroll(late);
  await assertRefused(
    client.call("GalleryService/ReplaceGallery", {
      gallery_id: gallery.galleryId,
      draft_id: draft.galleryId,
      expected_revision: 2,
    }),
    changed,
  );
  await assertHolds(gallery, [...block, ...late]);
  await assertHolds(draft, block);
});

testThatTheLogTellsNothing(server);
