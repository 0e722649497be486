// The conversation of a search: the gallery before the probe, the roster's changes, and several probes at once.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, test } from "node:test";
import { EMBEDDING, SLOTS as MANY, enrollBlock, galleryOfBlocks } from "../support/independent/block-gallery.ts";
import { contractKey, startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import { COSINE_128, TestGallery, freshId, question, readSearch } from "../support/independent/gallery-fixture.ts";
import type { CompareMessage, Person, SearchMessage } from "../support/independent/gallery-fixture.ts";
import { answersOf } from "../support/independent/independent-client.ts";
import { plainDistance, randomEmbedding } from "../support/independent/independent-encoding.ts";
import { PackedGallery, STRIDE } from "../support/independent/packed-gallery.ts";
import { TestContext, sealUpload } from "../support/independent/pairwise-context.ts";
import { PairwiseGallery } from "../support/independent/pairwise-gallery.ts";
import { assertRefused } from "../support/independent/refusals.ts";
import type { ExpectedRefusal } from "../support/independent/refusals.ts";
import { SMALL, TensealMaker, smallTolerance, stepsUpTo } from "../support/independent/tenseal-maker.ts";

const { server, client } = await startContractServer();
const key = await contractKey();
const smallKey = await contractKey("PACKED_N4096_Q30");
const SEARCH = "MatchingService/SearchGallery";
const COMPARE = "MatchingService/CompareTemplates";
const invalid = { status: "INVALID_ARGUMENT", reason: "FIELD_INVALID" } as const;
const incomplete = { status: "INVALID_ARGUMENT", reason: "PROBE_INCOMPLETE" } as const;

const packed = people("p", 20);
const loose = people("l", 3);
const gallery = await PackedGallery.open(client, key);
await gallery.enrollBlock(packed);
await gallery.enroll(loose);

const maker = await TensealMaker.create(SMALL);
after(() => {
  maker[Symbol.dispose]();
});
const context = await TestContext.create(client, maker, sealUpload(maker, maker.makeKeys(stepsUpTo(4))));
const pairwise = await PairwiseGallery.create(context, { ...COSINE_128, dimension: 8 });
const pairwisePerson: Person = { template_id: "t", subject_id: "s", embedding: randomEmbedding(8) };
await pairwise.enroll([pairwisePerson]);

function people(prefix: string, count: number): Person[] {
  return Array.from({ length: count }, (_, i) => ({
    template_id: `${prefix}-${i}`,
    subject_id: `${prefix}-s-${i}`,
    embedding: randomEmbedding(128),
  }));
}

function assertDistances(
  found: ReadonlyMap<string, number>,
  enrolled: readonly Person[],
  probe: readonly number[],
): void {
  assert.deepEqual([...found.keys()].sort(), enrolled.map(({ template_id }) => template_id).sort());
  for (const { template_id, embedding } of enrolled)
    assert.ok(Math.abs(found.get(template_id)! - plainDistance(COSINE_128, embedding, probe)) < 1e-5, template_id);
}

test("a search is answered with the gallery before any piece is sent, so that a client can learn the strides and the space from it", async () => {
  const probe = randomEmbedding(128);
  const call = client.open(SEARCH);
  call.send({ target: { gallery_id: gallery.galleryId } });
  assert.deepEqual(await call.next(), { message: "gallery", gallery: await gallery.describe() });
  call.send({ pieces: { pieces: gallery.pieces(probe) } });
  assert.equal(call.received.length, 0, "nothing more before the probe is there");
  call.send({ pieces: { pieces: gallery.packedProbe(probe) } });
  call.end();
  const steps = (await answersOf(call)).map(({ message }) => message);
  assert.deepEqual(steps, ["start", "distances", "distances"]);
});

test("a comparison is answered with the gallery and the subject's strides before any piece is sent, which are all that the probe needs", async () => {
  const probe = randomEmbedding(128);
  for (const [subject_id, stride, pieces] of [
    ["p-s-4", STRIDE, gallery.packedProbe(probe)],
    ["l-s-1", 128, gallery.pieces(probe)],
  ] as const) {
    const call = client.open(COMPARE);
    call.send({ target: { gallery_id: gallery.galleryId, subject_id } });
    const first = (await call.next()) as unknown as CompareMessage;
    assert.deepEqual(first.subject, { gallery: await gallery.describe(), strides: [stride] });
    call.send({ pieces: { pieces } });
    call.end();
    const answers = (await answersOf(call)) as unknown as CompareMessage[];
    assert.deepEqual(
      answers.flatMap(({ comparison }) => comparison!.entries.map((entry) => entry.subject_id)),
      [subject_id],
    );
  }
});

test("a target without a space takes any probe of the gallery's encryption, and one with a space only its own", async () => {
  const probe = randomEmbedding(128);
  const { gallery_id } = gallery.target;
  assert.equal((await gallery.ask({ gallery_id }, gallery.wholeProbe(probe))).distances.length, 2);
  const space = { ...COSINE_128, model_id: "model-b" };
  await assertRefused(client.call(SEARCH, ...question({ gallery_id, space }, gallery.wholeProbe(probe))), {
    status: "INVALID_ARGUMENT",
    reason: "SPACE_MISMATCH",
    field: "target.space.model_id",
  });
});

/** What a search cannot be of, in both rpcs or in one; `target` on top of a right one. */
const REFUSED: readonly (readonly [
  what: string,
  rpcs: readonly string[],
  target: object,
  expected: ExpectedRefusal,
])[] = [
  [
    "another space",
    [SEARCH, COMPARE],
    { space: { ...COSINE_128, dimension: 64 } },
    { status: "INVALID_ARGUMENT", reason: "SPACE_MISMATCH", field: "target.space.dimension" },
  ],
  [
    "a gallery that is not there",
    [SEARCH, COMPARE],
    { gallery_id: "nowhere" },
    { status: "NOT_FOUND", reason: "GALLERY_NOT_FOUND" },
  ],
  ["no gallery", [SEARCH, COMPARE], { gallery_id: "" }, { ...invalid, field: "target.gallery_id" }],
  [
    "a subject that is not there",
    [COMPARE],
    { subject_id: "nobody" },
    { status: "NOT_FOUND", reason: "SUBJECT_NOT_FOUND" },
  ],
  [
    "an encoding that does not exist",
    [SEARCH, COMPARE],
    { reply_encoding: 99 },
    { ...invalid, field: "target.reply_encoding" },
  ],
  [
    "the other scheme's encoding",
    [SEARCH, COMPARE],
    { reply_encoding: "CIPHERTEXT_ENCODING_TENSEAL_CKKS_VECTOR" },
    { status: "INVALID_ARGUMENT", reason: "SCHEME_MISMATCH", field: "target.reply_encoding" },
  ],
  ["nine probes", [SEARCH], { probes: 9 }, { ...invalid, field: "target.probes", says: /\[1, 8\]/ }],
  ["fewer than no probes", [SEARCH], { probes: -1 }, { ...invalid, field: "target.probes" }],
  ["a uid of 15 bytes", [SEARCH], { roster: { uid: Buffer.alloc(15) } }, { ...invalid, field: "target.roster.uid" }],
  ["a revision of -1", [SEARCH], { roster: { revision: -1 } }, { ...invalid, field: "target.roster.revision" }],
];

for (const [what, rpcs, wrong, expected] of REFUSED) {
  test(`a question of ${what} is refused before the probe is sent`, async () => {
    for (const rpc of rpcs) {
      const call = client.open(rpc);
      const subject = rpc === COMPARE ? { subject_id: "p-s-1" } : {};
      call.send({ target: { ...gallery.target, ...subject, ...wrong } });
      const refusal = await assertRefused(call.next(), expected);
      assert.deepEqual(refusal.received, []);
    }
  });
}

test("a search tells the roster's changes since the state that the client names: later ones for the gallery's uid, else all", async () => {
  const changing = await PackedGallery.open(client, key);
  await changing.enrollBlock(people("p", 5));
  await changing.enroll(people("l", 2));
  const { uid, revision } = await changing.describe();
  await changing.delete({ template_ids: ["p-3"], subject_ids: ["l-s-0"] });
  await changing.enroll([{ template_id: "p-1", subject_id: "renamed", embedding: randomEmbedding(128) }]);
  const now = await changing.describe();
  const probe = changing.wholeProbe(randomEmbedding(128));
  const told = async (roster: object | undefined) => {
    const { changes, ...answer } = await changing.ask({ ...changing.target, roster }, probe);
    assert.deepEqual([answer.gallery, answer.revision, answer.distances.length], [now, now.revision, 2]);
    return changes.flat();
  };
  const later = await changing.roster(revision);
  assert.deepEqual(
    later.map(({ template_id, deleted }) => [template_id, deleted]),
    [
      ["p-3", true],
      ["l-0", true],
      ["p-1", false],
    ],
  );
  const all = await changing.roster();
  assert.deepEqual(await told(undefined), [], "they were not asked for");
  assert.deepEqual(await told({ uid, revision }), later);
  assert.deepEqual(await told({ uid, revision: revision + 1 }), later.slice(1));
  assert.deepEqual(await told({ uid, revision: now.revision }), []);
  assert.deepEqual(await told({ uid, revision: 0 }), all);
  assert.deepEqual(await told({}), all);
  assert.deepEqual(await told({ revision: now.revision }), all, "of no gallery");
  assert.deepEqual(await told({ uid: randomBytes(16), revision: now.revision }), all, "of another gallery");
});

test("a gallery that took the place of another one tells all of its roster to those who knew that one", async () => {
  const old = await TestGallery.create(client, key);
  await old.enroll(people("l", 3));
  const { uid, revision } = await old.describe();
  const draft_id = freshId("draft");
  await client.call("GalleryService/CreateGallery", {
    gallery: { gallery_id: draft_id, context_id: key.contextId, space: COSINE_128, draft_of: old.galleryId },
  });
  await new TestGallery(client, key, COSINE_128, draft_id).enroll(people("new", 4));
  const replace = { gallery_id: old.galleryId, draft_id, expected_revision: revision };
  await client.call("GalleryService/ReplaceGallery", replace);
  const target = { ...old.target, roster: { uid, revision } };
  const { changes } = await old.ask(target, old.pieces(randomEmbedding(128)));
  assert.deepEqual(changes.flat(), await old.roster());
  assert.equal(changes.flat().length, 4);
});

test("what changes while the probe is on its way is told before the search starts, and is of the revision that it starts at", async () => {
  const changing = await TestGallery.create(client, key);
  const [first, second] = [people("a", 1), people("b", 1)];
  await changing.enroll(first);
  const { uid, revision } = await changing.describe();
  const probe = randomEmbedding(128);
  const call = client.open(SEARCH);
  call.send({ target: { ...changing.target, roster: { uid, revision: 0 } } });
  const early = [await call.next(), await call.next()];
  await changing.enroll(second);
  await changing.delete({ template_ids: ["a-0"] });
  call.send({ pieces: { pieces: changing.pieces(probe) } });
  call.end();
  const answer = readSearch([...early, ...(await answersOf(call))] as unknown as SearchMessage[]);
  assert.deepEqual(
    [answer.gallery.revision, answer.revision],
    [revision, (await changing.describe()).revision],
    "the gallery is as it was when it was asked for",
  );
  assert.deepEqual(
    answer.changes.flat().map(({ template_id, deleted }) => [template_id, deleted]),
    [
      ["a-0", false],
      ["b-0", false],
      ["a-0", true],
    ],
  );
  const entries = answer.changes.flat();
  const distances = answer.distances.flatMap((block) => changing.read(block, entries, probe, "packed"));
  assert.ok(Math.abs(new Map(distances).get("b-0")! - plainDistance(COSINE_128, second[0]!.embedding, probe)) < 1e-5);
});

test("a long roster is told in several messages, in the order of its changes", async () => {
  const many = await galleryOfBlocks(client, smallKey);
  await enrollBlock(
    many,
    Array.from({ length: MANY }, (_, i) => ({ template_id: `t-${i}`, subject_id: `s-${i}` })),
  );
  await many.delete({ template_ids: ["t-7", "t-4000"] });
  const polynomial = many.pieces(EMBEDDING)[0]!.ciphertext;
  const pieces = EMBEDDING.map((_, piece) => ({ stride: 1, piece, ciphertext: polynomial }));
  const { changes, revision } = await many.ask({ ...many.target, roster: {} }, pieces);
  assert.ok(changes.length > 1, "one message of all of them would be too large");
  assert.deepEqual(changes.flat(), await many.roster(0, 10_000));
  assert.equal(changes.flat().at(-1)!.revision, revision);
});

for (const count of [2, 8]) {
  test(`${count} probes in one search give the same distances as one by one, and those are the plain ones`, async () => {
    const probes = Array.from({ length: count }, () => randomEmbedding(128));
    const pieces = probes.map((probe) => gallery.wholeProbe(probe));
    const together = await gallery.searchWith(pieces);
    for (const [k, probe] of probes.entries()) {
      const [alone] = await gallery.searchWith([pieces[k]!]);
      assert.deepEqual(together[k], alone, "bit for bit");
      assertDistances(together[k]!, [...packed, ...loose], probe);
    }
  });
}

test("every block answers once for each probe, whose pieces may come in any order", async () => {
  const probes = [randomEmbedding(128), randomEmbedding(128)];
  const pieces = probes.flatMap((embedding, probe) =>
    gallery.wholeProbe(embedding).map((piece) => ({ ...piece, probe })),
  );
  const shuffled = pieces.map((piece, i) => [(7 * i) % pieces.length, piece] as const).sort(([a], [b]) => a - b);
  const { distances } = await gallery.ask(
    { ...gallery.target, probes: 2 },
    shuffled.map(([, piece]) => piece),
  );
  const answered = distances.map(({ stride, probe }) => `${stride}/${probe}`).sort();
  assert.deepEqual(answered, ["128/0", "128/1", "16/0", "16/1"]);
});

test("probes that are not announced, that are missing or that lack a piece are refused", async () => {
  const whole = gallery.wholeProbe(randomEmbedding(128));
  const search = (probes: number, ...sent: readonly (typeof whole)[]): Promise<unknown> =>
    client.call(SEARCH, { target: { ...gallery.target, probes } }, ...sent.map((pieces) => ({ pieces: { pieces } })));
  const of = (probe: number, pieces = whole) => pieces.map((piece) => ({ ...piece, probe }));
  for (const wrong of [-1, 2, 8])
    await assertRefused(search(2, of(wrong)), { ...invalid, field: "pieces.pieces.probe", says: /0 to 1/ });
  await assertRefused(search(0, of(1)), { ...invalid, field: "pieces.pieces.probe" });
  await assertRefused(search(2, of(0)), incomplete);
  await assertRefused(search(2, of(0), of(1, whole.slice(1))), incomplete);
  await assertRefused(search(2, of(1), of(1)), { ...incomplete, says: /twice/ });
});

test("several probes are refused in the pairwise scheme, before they are sent; one, or none named, is served", async () => {
  for (const probes of [2, 8, 9]) {
    const call = client.open(SEARCH);
    call.send({ target: { ...pairwise.target, probes } });
    await assertRefused(call.next(), { ...invalid, field: "target.probes" });
  }
  const probe = randomEmbedding(8);
  const { uid } = await pairwise.describe();
  for (const probes of [0, 1]) {
    const target = { ...pairwise.target, probes, roster: { uid, revision: 0 } };
    const {
      gallery: described,
      changes,
      distances,
    } = readSearch(await client.call<SearchMessage>(SEARCH, ...question(target, pairwise.pieces(probe))));
    assert.deepEqual([described, changes.flat()], [await pairwise.describe(), await pairwise.roster()]);
    const { encoding, data } = distances[0]!.ciphertext;
    const error = maker.decrypt(encoding, data) - pairwise.plain(pairwisePerson.embedding, probe);
    assert.ok(distances.length === 1 && Math.abs(error) < smallTolerance(8));
  }
});

testThatTheLogTellsNothing(server);
