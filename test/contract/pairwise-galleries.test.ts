import assert from "node:assert/strict";
import { after, test } from "node:test";
import { contractKey, startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import { COSINE_128, TestGallery, enrolledEntry, freshId, question } from "../support/independent/gallery-fixture.ts";
import type { EntryMessage, Person } from "../support/independent/gallery-fixture.ts";
import { CallRefused, IndependentClient } from "../support/independent/independent-client.ts";
import { randomEmbedding } from "../support/independent/independent-encoding.ts";
import type { Space } from "../support/independent/independent-encoding.ts";
import { ENCODINGS, TestContext, sealUpload } from "../support/independent/pairwise-context.ts";
import { PairwiseGallery } from "../support/independent/pairwise-gallery.ts";
import type { Sent } from "../support/independent/pairwise-gallery.ts";
import { tracesIn } from "../support/pairwise-traces.ts";
import { assertRefused } from "../support/independent/refusals.ts";
import { COMPRESSIONS, SMALL, TensealMaker, smallTolerance, stepsUpTo } from "../support/independent/tenseal-maker.ts";

const { server, client } = await startContractServer();
const packedKey = await contractKey();
const maker = await newMaker();
const context = await TestContext.create(client, maker, sealUpload(maker, maker.makeKeys(stepsUpTo(1024))));
const EUCLIDEAN: Space = { dimension: 100, metric: "METRIC_EUCLIDEAN", model_id: "model-a", norm_bound: 1.5 };
const COSINE: Space = { ...COSINE_128, dimension: 512 };
const ENROLL = "GalleryService/EnrollTemplates";
const invalid = { status: "INVALID_ARGUMENT", reason: "FIELD_INVALID" } as const;
const otherScheme = { status: "INVALID_ARGUMENT", reason: "SCHEME_MISMATCH" } as const;

/** Every way in which a ciphertext can be sent. */
const FORMS: readonly Sent[] = ENCODINGS.flatMap((encoding) =>
  COMPRESSIONS.flatMap((compression) =>
    [false, true].map((seeded) => ({ encoding, compression, seeded, fill: "others" as const })),
  ),
);

async function newMaker(): Promise<TensealMaker> {
  const made = await TensealMaker.create(SMALL);
  after(() => {
    made[Symbol.dispose]();
  });
  return made;
}

function person(index: number, dimension: number, subject = `subject-${index}`): Person {
  return { template_id: `template-${index}`, subject_id: subject, embedding: randomEmbedding(dimension) };
}

const crowd = (count: number, { dimension }: Space): Person[] =>
  Array.from({ length: count }, (_, i) => person(i, dimension));

function assertClose(
  found: ReadonlyMap<string, number>,
  gallery: PairwiseGallery,
  people: readonly Person[],
  probe: readonly number[],
): void {
  assert.deepEqual([...found.keys()].sort(), people.map(({ template_id }) => template_id).sort());
  for (const { template_id, embedding } of people) {
    const error = found.get(template_id)! - gallery.plain(embedding, probe);
    assert.ok(Math.abs(error) < smallTolerance(probe.length), `${template_id} is off by ${error}`);
  }
}

/** The gallery holds exactly these people: the roster, the count and a search say so. */
async function assertHolds(gallery: PairwiseGallery, people: readonly Person[]): Promise<void> {
  const probe = randomEmbedding(gallery.space.dimension);
  assertClose(await gallery.search(probe), gallery, people, probe);
  assert.equal((await gallery.describe()).template_count, people.length);
}

for (const space of [EUCLIDEAN, COSINE]) {
  test(`${space.metric}: every template's result is the plain one, however template, probe and answer are written`, async () => {
    const gallery = await PairwiseGallery.create(context, space);
    const people = crowd(FORMS.length, space);
    for (const [i, form] of FORMS.entries()) await gallery.enroll([people[i]!], form);
    for (const [i, form] of FORMS.entries()) {
      const probe = randomEmbedding(space.dimension);
      const reply = [undefined, ...ENCODINGS][i % 3];
      assertClose(await gallery.search(probe, form, reply), gallery, people, probe);
      assertClose(await gallery.compare(`subject-${i}`, probe, form, reply), gallery, [people[i]!], probe);
    }
  });
}

test("every template has a block of its own at the stride of the dimension", async () => {
  const gallery = await PairwiseGallery.create(context, EUCLIDEAN);
  const empty = await gallery.describe();
  assert.deepEqual(
    [empty.strides, empty.template_count, empty.revision, empty.packed_stride, empty.context_id],
    [[], 0, 0, 0, context.contextId],
  );
  const entries = await gallery.enroll(crowd(5, EUCLIDEAN));
  assert.deepEqual(
    entries.map(({ template_id, subject_id, revision, deleted }) => ({ template_id, subject_id, revision, deleted })),
    Array.from({ length: 5 }, (_, i) => ({
      template_id: `template-${i}`,
      subject_id: `subject-${i}`,
      revision: i + 1,
      deleted: false,
    })),
  );
  for (const { placement } of entries) assert.deepEqual({ ...placement, block: 0 }, { block: 0, slot: 0, stride: 100 });
  assert.equal(new Set(entries.map(({ placement }) => placement!.block)).size, 5);
  assert.deepEqual(await gallery.roster(), entries);
  const { strides, template_count, revision, packed_stride } = await gallery.describe();
  assert.deepEqual([strides, template_count, revision, packed_stride], [[100], 5, 5, 0]);
});

test("a subject with several templates is compared with all of them, and one that is not there is refused", async () => {
  const gallery = await PairwiseGallery.create(context, EUCLIDEAN);
  const people = [0, 1, 2, 3].map((i) => person(i, 100, i < 3 ? "ann" : "bob"));
  await gallery.enroll(people);
  const probe = randomEmbedding(100);
  assertClose(await gallery.compare("ann", probe), gallery, people.slice(0, 3), probe);
  await assertRefused(gallery.compare("cid", probe), { status: "NOT_FOUND", reason: "SUBJECT_NOT_FOUND" });
});

test("a template that is sent again replaces its own, in the same place for the same subject", async () => {
  const gallery = await PairwiseGallery.create(context, EUCLIDEAN);
  const people = crowd(3, EUCLIDEAN);
  const before = await gallery.enroll(people);
  const again = [person(0, 100), person(1, 100, "renamed")];
  const replaced = await gallery.enroll(again);
  assert.deepEqual(replaced[0]!.placement, before[0]!.placement);
  assert.notDeepEqual(replaced[1]!.placement, before[1]!.placement);
  await assertHolds(gallery, [...again, people[2]!]);
});

test("deleted templates are found no more, and their ciphertexts leave the data files", async () => {
  const gallery = await PairwiseGallery.create(context, EUCLIDEAN);
  const people = [0, 1, 2, 3, 4].map((i) => person(i, 100, i < 2 ? "ann" : `subject-${i}`));
  const templates = people.map((p) => gallery.template(p, { compression: "none" }));
  await gallery.enrollTemplates(templates);
  const [gone, kept] = [templates.slice(0, 3), templates.slice(3)].map((some) =>
    some.map(({ ciphertext }) => ciphertext.data),
  );
  assert.ok(
    (await tracesIn(server.dataFolder, gone!)) > 0,
    "ciphertexts are stored as they are, or this test sees nothing",
  );
  const { revision } = await gallery.describe();
  const deleted = await gallery.delete({ subject_ids: ["ann"], template_ids: ["template-2", "no-such"] });
  assert.deepEqual([deleted.deleted_count, deleted.unknown_template_ids], [3, ["no-such"]]);
  const changes = await gallery.roster(revision);
  assert.deepEqual(changes.map((entry) => entry.deleted && entry.template_id).sort(), [
    "template-0",
    "template-1",
    "template-2",
  ]);
  assert.equal(await tracesIn(server.dataFolder, gone!), 0);
  assert.ok((await tracesIn(server.dataFolder, kept!)) > 0);
  await assertHolds(gallery, people.slice(3));
  await gallery.enroll([people[0]!]);
  await assertHolds(gallery, [people[0]!, ...people.slice(3)]);
});

test("stored templates are read back as SEAL ciphertexts without compression, bit for bit", async () => {
  const gallery = await PairwiseGallery.create(context, COSINE);
  const people = crowd(3, COSINE);
  const sent = people.map((p) => gallery.template(p, { compression: "none" }));
  const seeded = person(3, 512);
  const entries = [
    ...(await gallery.enrollTemplates(sent)),
    ...(await gallery.enroll([seeded], { seeded: true, encoding: "TENSEAL_CKKS_VECTOR" })),
  ];
  const blocks = (await gallery.read()).sort((a, b) => a.block - b.block);
  assert.deepEqual(
    blocks.map(({ block, stride, entries: [entry] }) => ({ block, stride, entry })),
    entries.map((entry) => ({ block: entry.placement!.block, stride: 512, entry })),
  );
  for (const [i, { pieces }] of blocks.entries()) {
    assert.equal(pieces.length, 1);
    const { encoding, data } = pieces[0]!;
    assert.equal(encoding, "CIPHERTEXT_ENCODING_SEAL");
    if (i < sent.length) assert.ok(data.equals(sent[i]!.ciphertext.data));
    const slots = maker.decryptSlots(data);
    [...people, seeded][i]!.embedding.forEach((x, k) => {
      assert.ok(Math.abs(slots[k]! - x) < 1e-5);
    });
  }
  // What was read can be enrolled and compared again.
  const other = await PairwiseGallery.create(context, COSINE);
  await other.enrollTemplates(
    entries.map(({ template_id, subject_id }, i) => ({ template_id, subject_id, ciphertext: blocks[i]!.pieces[0]! })),
  );
  await assertHolds(other, [...people, seeded]);
});

test("a draft takes the place of its gallery in one step, also under another key", async () => {
  const gallery = await PairwiseGallery.create(context, EUCLIDEAN);
  await gallery.enroll(crowd(2, EUCLIDEAN));
  const newKey = await newMaker();
  const under = await TestContext.create(client, newKey, sealUpload(newKey, newKey.makeKeys(stepsUpTo(64))));
  const draft_id = freshId("draft");
  await client.call("GalleryService/CreateGallery", {
    gallery: { gallery_id: draft_id, context_id: under.contextId, space: EUCLIDEAN, draft_of: gallery.galleryId },
  });
  const people = crowd(4, EUCLIDEAN);
  await new PairwiseGallery(under, EUCLIDEAN, draft_id).enroll(people);
  await client.call("GalleryService/ReplaceGallery", {
    gallery_id: gallery.galleryId,
    draft_id,
    expected_revision: (await gallery.describe()).revision,
  });
  await assertHolds(new PairwiseGallery(under, EUCLIDEAN, gallery.galleryId), people);
});

test("a dimension that the context has no rotations for is refused, and so is a stride for packing", async () => {
  const few = await TestContext.create(client, maker, sealUpload(maker, maker.makeKeys(stepsUpTo(32))));
  await PairwiseGallery.create(few, { ...COSINE, dimension: 64 });
  const field = "gallery.space.dimension";
  for (const dimension of [65, 100, 2048]) {
    await assertRefused(PairwiseGallery.create(few, { ...COSINE, dimension }), {
      status: "INVALID_ARGUMENT",
      reason: "ROTATION_KEYS_MISSING",
      field,
      says: /\b64\b/,
    });
  }
  for (const dimension of [-1, 0, 2049])
    await assertRefused(PairwiseGallery.create(few, { ...COSINE, dimension }), { ...invalid, field, says: /2048/ });
  const gallery = { gallery_id: freshId("packed"), context_id: context.contextId, space: COSINE, packed_stride: 16 };
  await assertRefused(client.call("GalleryService/CreateGallery", { gallery }), {
    status: "INVALID_ARGUMENT",
    reason: "SCHEME_MISMATCH",
  });
});

test("what belongs to the packed scheme is refused under a pairwise context", async () => {
  const gallery = await PairwiseGallery.create(context, COSINE_128);
  const packed = await TestGallery.create(client, packedKey);
  const template = packed.template(person(0, 128));
  const ciphertext = { ...template.ciphertext, context_id: context.contextId };
  await assertRefused(gallery.enrollTemplates([{ ...template, ciphertext }]), otherScheme);
  await assertRefused(
    client.call(
      ENROLL,
      { target: gallery.target },
      { block: { stride: 16, slots: [{ template_id: "t", subject_id: "s" }] } },
    ),
    otherScheme,
  );
  const pieces = [{ stride: 128, piece: 0, ciphertext }];
  await gallery.enroll([person(0, 128, "s")]);
  for (const [rpc, subject] of [
    ["SearchGallery", {}],
    ["CompareTemplates", { subject_id: "s" }],
  ] as const) {
    const target = { ...gallery.target, ...subject };
    await assertRefused(client.call(`MatchingService/${rpc}`, ...question(target, pieces)), otherScheme);
    const wish = { ...target, reply_encoding: "CIPHERTEXT_ENCODING_PACKED_RESIDUES" };
    await assertRefused(
      client.call(`MatchingService/${rpc}`, ...question(wish, gallery.pieces(randomEmbedding(128)))),
      otherScheme,
    );
  }
  assert.equal((await gallery.describe()).template_count, 1);
});

test("TenSEAL's encoding is refused under a packed context", async () => {
  const gallery = await TestGallery.create(client, packedKey);
  await gallery.enroll([{ template_id: "t", subject_id: "s", embedding: randomEmbedding(128) }]);
  const ciphertext = {
    ...context.vector(randomEmbedding(128), "TENSEAL_CKKS_VECTOR"),
    context_id: packedKey.contextId,
  };
  await assertRefused(gallery.enrollTemplates([{ template_id: "u", subject_id: "s", ciphertext }]), otherScheme);
  const good = gallery.pieces(randomEmbedding(128));
  for (const [rpc, subject] of [
    ["SearchGallery", {}],
    ["CompareTemplates", { subject_id: "s" }],
  ] as const) {
    const target = { ...gallery.target, ...subject };
    await assertRefused(
      client.call(`MatchingService/${rpc}`, ...question(target, [{ ...good[0]!, ciphertext }])),
      otherScheme,
    );
    await assertRefused(
      client.call(
        `MatchingService/${rpc}`,
        ...question({ ...target, reply_encoding: "CIPHERTEXT_ENCODING_TENSEAL_CKKS_VECTOR" }, good),
      ),
      otherScheme,
    );
  }
  assert.equal((await gallery.describe()).template_count, 1);
});

test("a probe of no piece, of two, of another stride or another key's is refused", async () => {
  const gallery = await PairwiseGallery.create(context, EUCLIDEAN);
  await gallery.enroll(crowd(2, EUCLIDEAN));
  const [piece] = gallery.pieces(randomEmbedding(100));
  const search = (...pieces: object[]): Promise<unknown> =>
    client.call("MatchingService/SearchGallery", ...question(gallery.target, pieces));
  const incomplete = { status: "INVALID_ARGUMENT", reason: "PROBE_INCOMPLETE" } as const;
  await assertRefused(search(), { ...incomplete, says: /0 of 1/ });
  await assertRefused(search(piece, piece), { ...incomplete, says: /twice/ });
  for (const stride of [0, 1, 99, 101, 2048])
    await assertRefused(search({ ...piece, stride }), { ...invalid, field: "pieces.pieces.stride", says: /100/ });
  await assertRefused(search({ ...piece, piece: 1 }), { ...invalid, field: "pieces.pieces.piece" });
  await assertRefused(search({ ...piece, ciphertext: { ...piece.ciphertext, context_id: packedKey.contextId } }), {
    status: "INVALID_ARGUMENT",
    reason: "CONTEXT_MISMATCH",
  });
});

test("a refused template ends the stream; those before it stay, and it leaves nothing", async () => {
  const gallery = await PairwiseGallery.create(context, EUCLIDEAN);
  const people = crowd(4, EUCLIDEAN);
  const templates = people.map((p) => gallery.template(p));
  const damaged = Buffer.from(templates[2]!.ciphertext.data);
  damaged[500]! ^= 1;
  templates[2] = { ...templates[2]!, ciphertext: { ...templates[2]!.ciphertext, data: damaged } };
  const refusal: CallRefused = await assertRefused(gallery.enrollTemplates(templates), {
    status: "INVALID_ARGUMENT",
    reason: "CIPHERTEXT_CORRUPT",
  });
  assert.deepEqual(
    refusal.received.map((message) => enrolledEntry(message).template_id),
    ["template-0", "template-1"],
  );
  const live = (await gallery.roster()).map(({ template_id }) => template_id);
  assert.ok(!live.includes("template-2"));
  assert.equal(await tracesIn(server.dataFolder, [damaged]), 0);
  await assertHolds(
    gallery,
    people.filter(({ template_id }) => live.includes(template_id)),
  );
});

test("a context with galleries is deleted only by force, and its galleries go with it", async () => {
  const doomedKey = await newMaker();
  const doomed = await TestContext.create(client, doomedKey, sealUpload(doomedKey, doomedKey.makeKeys([1])));
  const gallery = await PairwiseGallery.create(doomed, { ...COSINE, dimension: 2 });
  const people = [person(0, 2)];
  await gallery.enroll(people);
  await assertRefused(client.call("ContextService/DeleteContext", { context_id: doomed.contextId }), {
    status: "FAILED_PRECONDITION",
    reason: "CONTEXT_IN_USE",
  });
  await assertHolds(gallery, people);
  await client.call("ContextService/DeleteContext", { context_id: doomed.contextId, force: true });
  await assertRefused(gallery.describe(), { status: "NOT_FOUND", reason: "GALLERY_NOT_FOUND" });
});

test("a killed server has everything that it acknowledged, and a restarted one answers as before", async () => {
  const gallery = await PairwiseGallery.create(context, EUCLIDEAN);
  const people = crowd(40, EUCLIDEAN);
  const call = client.open(ENROLL);
  call.send({ target: gallery.target });
  for (const p of people) call.send({ template: gallery.template(p) });
  const acknowledged: EntryMessage[] = [];
  while (acknowledged.length < 12) acknowledged.push(enrolledEntry(await call.next()));
  await server.kill("SIGKILL");
  await assert.rejects(async () => {
    for (let answer = await call.next(); ; answer = await call.next()) acknowledged.push(enrolledEntry(answer));
  }, CallRefused);
  await server.restart();
  using again = new IndependentClient(server.address);
  const revived = new PairwiseGallery(new TestContext(again, maker, context.contextId), EUCLIDEAN, gallery.galleryId);
  const roster = await revived.roster();
  for (const entry of acknowledged)
    assert.deepEqual(
      roster.find(({ template_id }) => template_id === entry.template_id),
      entry,
    );
  await assertHolds(
    revived,
    people.filter(({ template_id }) => roster.some((entry) => entry.template_id === template_id)),
  );
  await revived.enroll(people);
  await assertHolds(revived, people);
});

testThatTheLogTellsNothing(server);
