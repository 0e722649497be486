import assert from "node:assert/strict";
import { test } from "node:test";
import { COSINE_128, EUCLIDEAN_128, TestGallery, readSearch } from "../support/independent/gallery-fixture.ts";
import type { Person, SearchMessage } from "../support/independent/gallery-fixture.ts";
import { contractKey, startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import { IndependentClient } from "../support/independent/independent-client.ts";
import type { Form, SetName } from "../support/independent/independent-crypto.ts";
import { plainDistance, randomEmbedding, similarEmbedding } from "../support/independent/independent-encoding.ts";
import type { Space } from "../support/independent/independent-encoding.ts";
import { assertRefused } from "../support/independent/refusals.ts";

const { server, client } = await startContractServer();
const keys = {
  PACKED_N4096_Q60: await contractKey("PACKED_N4096_Q60"),
  PACKED_N4096_Q30: await contractKey("PACKED_N4096_Q30"),
};

/** How far an encrypted distance may be from the plain one. */
const TOLERANCE: Readonly<Record<SetName, number>> = { PACKED_N4096_Q60: 1e-5, PACKED_N4096_Q30: 1.2e-2 };
const SPACES: readonly Space[] = [COSINE_128, EUCLIDEAN_128];

function people(space: Space, count: number): Person[] {
  return Array.from({ length: count }, (_, i) => ({
    template_id: `template-${i}`,
    subject_id: `subject-${Math.floor(i / 2)}`,
    embedding: randomEmbedding(space.dimension, space.norm_bound * (0.6 + 0.4 * Math.random())),
  }));
}

/**
 * Fails unless the distances are those of exactly these people, to within the set's tolerance. Gives the largest
 * difference.
 */
function assertDistances(
  actual: Map<string, number>,
  expected: readonly Person[],
  gallery: TestGallery,
  probe: readonly number[],
): void {
  assert.deepEqual([...actual.keys()].sort(), expected.map((person) => person.template_id).sort());
  for (const { template_id, embedding } of expected) {
    const plain = plainDistance(gallery.space, embedding, probe);
    const difference = Math.abs(actual.get(template_id)! - plain);
    assert.ok(
      difference < TOLERANCE[gallery.key.set],
      `${gallery.key.set} ${gallery.space.metric}: the distance is off by ${difference}`,
    );
  }
}

for (const set of ["PACKED_N4096_Q60", "PACKED_N4096_Q30"] as const) {
  for (const space of SPACES) {
    test(`${set}, ${space.metric}: distances over three blocks equal the plain ones, by search and by comparison`, async () => {
      const gallery = await TestGallery.create(client, keys[set], space);
      const enrolled = people(space, 70);
      const entries = await gallery.enroll(enrolled);
      assert.equal(new Set(entries.map((entry) => entry.placement!.block)).size, 3);
      const probe = similarEmbedding(enrolled[40]!.embedding);
      const found = await gallery.search(probe);
      assertDistances(found, enrolled, gallery, probe);
      const nearest = [...found].reduce((best, pair) => (pair[1] < best[1] ? pair : best));
      assert.equal(nearest[0], "template-40");
      for (const subject of ["subject-0", "subject-20", "subject-34"]) {
        assertDistances(
          await gallery.compare(subject, probe),
          enrolled.filter((person) => person.subject_id === subject),
          gallery,
          probe,
        );
      }
    });
  }
}

for (const set of ["PACKED_N4096_Q60", "PACKED_N4096_Q30"] as const) {
  test(`${set}: templates and probes in every form, answers in both encodings, give the same distances`, async () => {
    const gallery = await TestGallery.create(client, keys[set]);
    const forms: Form[] = ["packed", "none", "zlib", "zstd"];
    const enrolled = people(COSINE_128, 8);
    for (const [i, form] of forms.entries()) await gallery.enroll(enrolled.slice(2 * i, 2 * i + 2), form);
    const probe = randomEmbedding(128);
    for (const form of forms) {
      assertDistances(await gallery.search(probe, form, "packed"), enrolled, gallery, probe);
      assertDistances(await gallery.search(probe, form, "none"), enrolled, gallery, probe);
      assertDistances(await gallery.compare("subject-1", probe, form, "none"), enrolled.slice(2, 4), gallery, probe);
    }
  });
}

test("dimensions from 1 to 2048 are served", async () => {
  for (const [dimension, metric] of [
    [1, "METRIC_EUCLIDEAN"],
    [3, "METRIC_COSINE"],
    [512, "METRIC_EUCLIDEAN"],
    [2048, "METRIC_COSINE"],
    [2048, "METRIC_EUCLIDEAN"],
  ] as const) {
    const space: Space = { ...COSINE_128, dimension, metric };
    const gallery = await TestGallery.create(client, keys.PACKED_N4096_Q60, space);
    const enrolled = people(space, 3);
    await gallery.enroll(enrolled);
    const probe = randomEmbedding(dimension, 0.9);
    // In one dimension a probe may lie on top of a template, where a square root turns 1e-7 into 3e-4: such pairs say
    // nothing.
    const far = enrolled.filter(
      (person) => metric === "METRIC_COSINE" || plainDistance(space, person.embedding, probe) > 0.1,
    );
    const found = await gallery.search(probe);
    assert.equal(found.size, 3);
    assertDistances(new Map(far.map(({ template_id }) => [template_id, found.get(template_id)!])), far, gallery, probe);
  }
});

test("a search answers with the gallery first, then with its revision, and each block answers once", async () => {
  const gallery = await TestGallery.create(client, keys.PACKED_N4096_Q60);
  await gallery.enroll(people(COSINE_128, 40));
  const answer = await gallery.ask(gallery.target, gallery.pieces(randomEmbedding(128)));
  const described = await gallery.describe();
  assert.deepEqual([answer.gallery, answer.revision, answer.changes], [described, described.revision, []]);
  assert.deepEqual(
    answer.distances.map(({ stride, probe }) => [stride, probe]),
    [
      [128, 0],
      [128, 0],
    ],
  );
  assert.equal(new Set(answer.distances.map(({ block }) => block)).size, 2);
});

test("a probe may come in several messages, also in ones of no piece", async () => {
  const gallery = await TestGallery.create(client, keys.PACKED_N4096_Q60);
  const enrolled = people(COSINE_128, 1);
  await gallery.enroll(enrolled);
  const probe = randomEmbedding(128);
  const messages = await client.call<SearchMessage>(
    "MatchingService/SearchGallery",
    { target: gallery.target },
    { pieces: {} },
    { pieces: { pieces: gallery.pieces(probe) } },
    { pieces: { pieces: [] } },
  );
  assertDistances(
    new Map(gallery.read(readSearch(messages).distances[0]!, await gallery.roster(), probe, "packed")),
    enrolled,
    gallery,
    probe,
  );
});

test("a search of an empty gallery answers with the gallery, its revision and nothing else", async () => {
  const gallery = await TestGallery.create(client, keys.PACKED_N4096_Q60);
  for (const pieces of [[], gallery.pieces(randomEmbedding(128))]) {
    const answer = await gallery.ask(gallery.target, pieces);
    assert.deepEqual(answer, { gallery: await gallery.describe(), changes: [], revision: 0, distances: [] });
  }
});

test("a deleted person is gone from search, comparison and roster; the others' distances stay right", async () => {
  const gallery = await TestGallery.create(client, keys.PACKED_N4096_Q60);
  const enrolled = people(COSINE_128, 10);
  await gallery.enroll(enrolled);
  const before = await gallery.describe();
  const deleted = await gallery.delete({
    subject_ids: ["subject-2", "nobody"],
    template_ids: ["template-9", "nothing"],
  });
  assert.deepEqual(
    [deleted.deleted_count, deleted.unknown_subject_ids, deleted.unknown_template_ids],
    [3, ["nobody"], ["nothing"]],
  );
  const entries = await gallery.roster(before.revision);
  assert.deepEqual(entries.map((entry) => entry.template_id).sort(), ["template-4", "template-5", "template-9"]);
  assert.ok(entries.every((entry) => entry.deleted && entry.subject_id === "" && entry.placement === null));
  const after = await gallery.describe();
  assert.deepEqual([after.template_count, after.revision], [7, deleted.revision]);
  const probe = similarEmbedding(enrolled[4]!.embedding);
  const rest = enrolled.filter((person) => !["template-4", "template-5", "template-9"].includes(person.template_id));
  assertDistances(await gallery.search(probe), rest, gallery, probe);
  await assertRefused(gallery.compare("subject-2", probe), {
    status: "NOT_FOUND",
    reason: "SUBJECT_NOT_FOUND",
    says: /subject-2/,
  });
  assertDistances(
    await gallery.compare("subject-4", probe),
    rest.filter((person) => person.subject_id === "subject-4"),
    gallery,
    probe,
  );
});

test("the place of a deleted template decrypts to nothing of the person", async () => {
  const gallery = await TestGallery.create(client, keys.PACKED_N4096_Q60);
  const enrolled = people(COSINE_128, 3);
  const places = await gallery.enroll(enrolled);
  await gallery.delete({ template_ids: ["template-1"] });
  const probe = enrolled[1]!.embedding;
  const { distances } = await gallery.ask(gallery.target, gallery.pieces(probe));
  const [[, distance]] = gallery.read(distances[0]!, [places[1]!], probe, "packed") as [[string, number]];
  assert.ok(Math.abs(distance - 1) < 1e-5, "the inner product at an empty place is zero");
});

test("a comparison answers nothing of other subjects in the same block", async () => {
  const gallery = await TestGallery.create(client, keys.PACKED_N4096_Q60);
  const enrolled = people(COSINE_128, 6);
  const places = await gallery.enroll(enrolled);
  const probe = enrolled[0]!.embedding;
  const target = { ...gallery.target, subject_id: "subject-2" };
  const { comparisons } = await gallery.askSubject(target, gallery.pieces(probe));
  const others = new Map(gallery.read(comparisons[0]!.distances, places.slice(0, 4), probe, "packed"));
  for (const distance of others.values())
    assert.ok(Math.abs(distance - 1) < 1e-5, "the slots of other subjects hold nothing");
});

test("an unknown subject is refused, and so is a subject id that cannot be one", async () => {
  const gallery = await TestGallery.create(client, keys.PACKED_N4096_Q60);
  await gallery.enroll(people(COSINE_128, 2));
  await assertRefused(gallery.compare("stranger", randomEmbedding(128)), {
    status: "NOT_FOUND",
    reason: "SUBJECT_NOT_FOUND",
    says: /stranger/,
  });
  for (const subject of ["", "Upper", "s".repeat(65), "é"]) {
    await assertRefused(gallery.compare(subject, randomEmbedding(128)), {
      status: "INVALID_ARGUMENT",
      reason: "FIELD_INVALID",
      field: "target.subject_id",
      says: /1 to 64/,
    });
  }
});

test("ten searches at once each get their own answer", async () => {
  const gallery = await TestGallery.create(client, keys.PACKED_N4096_Q60);
  const enrolled = people(COSINE_128, 40);
  await gallery.enroll(enrolled);
  await Promise.all(
    Array.from({ length: 10 }, async () => {
      const probe = randomEmbedding(128);
      assertDistances(await gallery.search(probe), enrolled, gallery, probe);
    }),
  );
});

test("after a restart everything is there: contexts, galleries, places and distances", async () => {
  const gallery = await TestGallery.create(client, keys.PACKED_N4096_Q60, EUCLIDEAN_128);
  const enrolled = people(EUCLIDEAN_128, 35);
  await gallery.enroll(enrolled);
  await gallery.delete({ subject_ids: ["subject-0"] });
  const [before, roster] = [await gallery.describe(), await gallery.roster()];
  await server.restart();
  using again = new IndependentClient(server.address);
  const reopened = new TestGallery(again, gallery.key, gallery.space, gallery.galleryId);
  assert.deepEqual(await reopened.describe(), before);
  assert.deepEqual(await reopened.roster(), roster);
  const probe = similarEmbedding(enrolled[10]!.embedding);
  assertDistances(await reopened.search(probe), enrolled.slice(2), reopened, probe);
});

testThatTheLogTellsNothing(server);
