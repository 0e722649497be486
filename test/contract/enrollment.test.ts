import assert from "node:assert/strict";
import { test } from "node:test";
import { COSINE_128, TestGallery, enrolledEntry, question } from "../support/independent/gallery-fixture.ts";
import type { EntryMessage, Person, RosterMessage } from "../support/independent/gallery-fixture.ts";
import { contractKey, startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import type { CallRefused } from "../support/independent/independent-client.ts";
import { plainDistance, randomEmbedding } from "../support/independent/independent-encoding.ts";
import type { Space } from "../support/independent/independent-encoding.ts";
import { assertRefused } from "../support/independent/refusals.ts";

const { server, client } = await startContractServer();
const key = await contractKey();
const RPC = "GalleryService/EnrollTemplates";
const invalid = { status: "INVALID_ARGUMENT", reason: "FIELD_INVALID" } as const;
const SMALL: Space = { ...COSINE_128, dimension: 1024 };

function person(i: number, subject = `subject-${i}`): Person {
  return { template_id: `template-${i}`, subject_id: subject, embedding: randomEmbedding(SMALL.dimension) };
}

const place = (entry: EntryMessage): string => `${entry.placement!.block}/${entry.placement!.slot}`;

async function assertHolds(gallery: TestGallery, people: readonly Person[]): Promise<void> {
  const probe = randomEmbedding(SMALL.dimension);
  const found = await gallery.search(probe);
  assert.deepEqual([...found.keys()].sort(), people.map(({ template_id }) => template_id).sort());
  for (const { template_id, embedding } of people)
    assert.ok(Math.abs(found.get(template_id)! - plainDistance(SMALL, embedding, probe)) < 1e-5, template_id);
  assert.equal((await gallery.describe()).template_count, people.length);
}

test("templates are acknowledged in the order sent, each with its place and a revision of its own", async () => {
  const gallery = await TestGallery.create(client, key, SMALL);
  const people = Array.from({ length: 10 }, (_, i) => person(i));
  const entries = await gallery.enroll(people);
  assert.deepEqual(
    entries.map(({ template_id, subject_id, deleted }) => ({ template_id, subject_id, deleted })),
    people.map(({ template_id, subject_id }) => ({ template_id, subject_id, deleted: false })),
  );
  assert.equal(new Set(entries.map(place)).size, 10);
  assert.equal(new Set(entries.map(({ revision }) => revision)).size, 10);
  for (const { placement, revision } of entries) {
    assert.equal(placement!.stride, 1024);
    assert.ok(placement!.block >= 0 && placement!.slot >= 0 && placement!.slot < 4 && revision >= 1);
  }
  const { strides, template_count } = await gallery.describe();
  assert.deepEqual({ strides, template_count }, { strides: [1024], template_count: 10 });
  await assertHolds(gallery, people);
});

test("a template is acknowledged while the stream is still open", async () => {
  const gallery = await TestGallery.create(client, key, SMALL);
  const call = client.open(RPC);
  call.send({ target: gallery.target });
  for (let i = 0; i < 3; i++) {
    call.send({ template: gallery.template(person(i)) });
    assert.equal(enrolledEntry(await call.next()).template_id, `template-${i}`);
    assert.equal((await gallery.describe()).template_count, i + 1);
  }
  call.end();
  assert.equal(await call.next(), undefined);
});

test("sending an id again replaces its template and keeps the count", async () => {
  const gallery = await TestGallery.create(client, key, SMALL);
  const others = [person(0), person(2)];
  await gallery.enroll([others[0]!, person(1), others[1]!]);
  const before = await gallery.describe();
  const renewed = { ...person(1), subject_id: "someone-else" };
  const [entry] = await gallery.enroll([renewed]);
  assert.equal(entry!.subject_id, "someone-else");
  assert.ok(entry!.revision > before.revision);
  await assertHolds(gallery, [...others, renewed]);
  await assertRefused(gallery.compare("subject-1", randomEmbedding(1024)), {
    status: "NOT_FOUND",
    reason: "SUBJECT_NOT_FOUND",
  });
});

test("the same id twice in one stream leaves the last one sent", async () => {
  const gallery = await TestGallery.create(client, key, SMALL);
  const versions = Array.from({ length: 6 }, () => person(0));
  const entries = await gallery.enroll(versions);
  assert.equal(entries.length, 6);
  await assertHolds(gallery, [versions[5]!]);
  assert.deepEqual(
    (await gallery.roster()).map(({ template_id }) => template_id),
    ["template-0"],
  );
});

test("a place is never given to another template again", async () => {
  const gallery = await TestGallery.create(client, key, SMALL);
  const first = await gallery.enroll([person(0), person(1), person(2)]);
  await gallery.delete({ template_ids: ["template-1", "template-2"] });
  const later = await gallery.enroll([person(3), person(4), person(1)]);
  const taken = new Set(first.map(place));
  assert.ok(later.every((entry) => !taken.has(place(entry))));
});

test("a stream that broke off is resumed by sending again what was not acknowledged", async () => {
  const gallery = await TestGallery.create(client, key, SMALL);
  const people = Array.from({ length: 12 }, (_, i) => person(i));
  const broken = client.open(RPC);
  for (const message of gallery.enrollment(people.slice(0, 8).map((p) => gallery.template(p)))) broken.send(message);
  const acknowledged: string[] = [];
  for (let i = 0; i < 4; i++) acknowledged.push(enrolledEntry(await broken.next()).template_id);
  broken.hangUp();
  await assert.rejects(
    async () => {
      while ((await broken.next()) !== undefined);
    },
    { code: 1 },
  );
  assert.deepEqual(
    acknowledged,
    people.slice(0, 4).map((p) => p.template_id),
  );
  const live = new Set((await gallery.roster()).map((entry) => entry.template_id));
  for (const id of acknowledged) assert.ok(live.has(id));
  await gallery.enroll(people.filter((p) => !acknowledged.includes(p.template_id)));
  await assertHolds(gallery, people);
});

test("a refused template ends the stream; those before it are acknowledged and stay, those after it leave nothing", async () => {
  const gallery = await TestGallery.create(client, key, SMALL);
  const people = Array.from({ length: 9 }, (_, i) => person(i));
  const templates = people.map((p) => gallery.template(p));
  templates[5] = {
    ...templates[5]!,
    ciphertext: { ...templates[5]!.ciphertext, data: templates[5]!.ciphertext.data.subarray(1) },
  };
  const refusal: CallRefused = await assertRefused(gallery.enrollTemplates(templates), {
    status: "INVALID_ARGUMENT",
    reason: "CIPHERTEXT_CORRUPT",
  });
  assert.deepEqual(
    refusal.received.map((message) => enrolledEntry(message).template_id),
    people.slice(0, 5).map((p) => p.template_id),
  );
  const live = (await gallery.roster()).map((entry) => entry.template_id);
  assert.ok(!live.includes("template-5"));
  assert.deepEqual(
    live,
    people.slice(0, 5).map((p) => p.template_id),
  );
  await assertHolds(gallery, people.slice(0, 5));
});

test("two streams that enroll the same ids at once end with one live template each", async () => {
  const gallery = await TestGallery.create(client, key, SMALL);
  const [left, right] = [0, 1].map(() => Array.from({ length: 8 }, (_, i) => person(i, "shared"))) as [
    Person[],
    Person[],
  ];
  await Promise.all([gallery.enroll(left), gallery.enroll(right)]);
  const probe = randomEmbedding(1024);
  const found = await gallery.search(probe);
  assert.equal(found.size, 8);
  left.forEach(({ template_id, embedding }, i) => {
    const either = [embedding, right[i]!.embedding].map((x) =>
      Math.abs(plainDistance(SMALL, x, probe) - found.get(template_id)!),
    );
    assert.ok(Math.min(...either) < 1e-5, "the place holds one of the two, not their sum");
  });
  assert.equal((await gallery.describe()).template_count, 8);
});

test("the roster by revision tells exactly what changed, oldest first, deletions too", async () => {
  const gallery = await TestGallery.create(client, key, SMALL);
  await gallery.enroll(Array.from({ length: 6 }, (_, i) => person(i)));
  const { revision } = await gallery.describe();
  assert.deepEqual(await gallery.roster(revision), []);
  await gallery.delete({ template_ids: ["template-2"] });
  const [added] = await gallery.enroll([person(6)]);
  await gallery.enroll([person(0, "renamed")]);
  const changes = await gallery.roster(revision);
  assert.deepEqual(
    changes.map((entry) => [entry.template_id, entry.subject_id, entry.deleted]),
    [
      ["template-2", "", true],
      ["template-6", "subject-6", false],
      ["template-0", "renamed", false],
    ],
  );
  assert.deepEqual(changes[1], added);
  assert.equal(changes[2]!.revision, (await gallery.describe()).revision);
  const whole = await gallery.roster();
  assert.deepEqual(
    whole.map((entry) => entry.revision),
    whole.map((entry) => entry.revision).sort((a, b) => a - b),
  );
  assert.deepEqual(
    whole
      .filter((entry) => !entry.deleted)
      .map((entry) => entry.template_id)
      .sort(),
    [0, 1, 3, 4, 5, 6].map((i) => `template-${i}`),
  );
  assert.deepEqual(await gallery.roster(0, 2), whole);
  const [page] = await client.call<RosterMessage>("GalleryService/ListTemplateChanges", {
    gallery_id: gallery.galleryId,
    page_size: 2,
  });
  assert.equal(page!.entries.length, 2);
  assert.equal(page!.revision, (await gallery.describe()).revision);
});

test("an enrollment of nothing is served", async () => {
  const gallery = await TestGallery.create(client, key, SMALL);
  assert.deepEqual(await gallery.enroll([]), []);
  assert.equal((await gallery.describe()).revision, 0);
});

test("a stream that does not begin with one target is refused", async () => {
  const gallery = await TestGallery.create(client, key, SMALL);
  const template = gallery.template(person(0));
  const [target] = gallery.enrollment([]);
  await assertRefused(client.call(RPC), { ...invalid, field: "target" });
  await assertRefused(client.call(RPC, {}), { ...invalid, field: "target" });
  await assertRefused(client.call(RPC, { template }, target!), { ...invalid, field: "target", says: /first message/ });
  await assertRefused(client.call(RPC, target!, target!), { ...invalid, says: /first message/ });
  await assertRefused(client.call(RPC, target!, {}), { ...invalid, says: /first message/ });
  assert.equal((await gallery.describe()).revision, 0);
});

test("templates of another kind than the gallery's are refused, naming the field that differs", async () => {
  const gallery = await TestGallery.create(client, key, SMALL);
  const differences: [object, string][] = [
    [{ dimension: 512 }, "dimension"],
    [{ metric: "METRIC_EUCLIDEAN" }, "metric"],
    [{ model_id: "model-b" }, "model_id"],
    [{ model_version: "2" }, "model_version"],
    [{ metric: "METRIC_EUCLIDEAN", norm_bound: 2 }, "metric"],
  ];
  for (const [difference, field] of differences) {
    const target = { ...gallery.target, space: { ...SMALL, ...difference } };
    const expected = {
      status: "INVALID_ARGUMENT",
      reason: "SPACE_MISMATCH",
      field: `target.space.${field}`,
      says: /gallery has/,
    } as const;
    await assertRefused(client.call(RPC, { target }, { template: gallery.template(person(0)) }), expected);
    await assertRefused(
      client.call("MatchingService/SearchGallery", ...question(target, gallery.pieces(person(0).embedding))),
      expected,
    );
    await assertRefused(
      client.call("MatchingService/CompareTemplates", ...question({ ...target, subject_id: "s" }, [])),
      expected,
    );
  }
  await assertRefused(client.call(RPC, { target: { gallery_id: gallery.galleryId } }), {
    ...invalid,
    field: "target.space",
  });
});

test("a norm bound that is not the gallery's is refused", async () => {
  const gallery = await TestGallery.create(client, key, { ...SMALL, metric: "METRIC_EUCLIDEAN", norm_bound: 2 });
  const target = { ...gallery.target, space: { ...gallery.space, norm_bound: 2.5 } };
  await assertRefused(client.call(RPC, { target }), {
    status: "INVALID_ARGUMENT",
    reason: "SPACE_MISMATCH",
    field: "target.space.norm_bound",
    says: /2\.5.*2/,
  });
});

test("template ids and subject ids that cannot be one are refused and leave nothing", async () => {
  const gallery = await TestGallery.create(client, key, SMALL);
  const template = gallery.template(person(0));
  for (const field of ["template_id", "subject_id"]) {
    for (const id of ["", "Upper", "i".repeat(65), "é", "a b"]) {
      await assertRefused(gallery.enrollTemplates([{ ...template, [field]: id }]), {
        ...invalid,
        field: `template.${field}`,
        says: /1 to 64 characters/,
      });
    }
  }
  const { template_count, revision } = await gallery.describe();
  assert.deepEqual({ template_count, revision }, { template_count: 0, revision: 0 });
});

testThatTheLogTellsNothing(server);
