// A probe that is an enrolled ciphertext, the first thing that one tries; and templates that fail alone.
import assert from "node:assert/strict";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import { COSINE_128, question, readComparison, readSearch } from "../support/independent/gallery-fixture.ts";
import type {
  CiphertextMessage,
  CompareMessage,
  DistancesMessage,
  Person,
  SearchMessage,
  TemplateMessage,
} from "../support/independent/gallery-fixture.ts";
import { IndependentClient } from "../support/independent/independent-client.ts";
import { CIPHERTEXT_WORDS_AT } from "../support/independent/independent-crypto.ts";
import { randomEmbedding } from "../support/independent/independent-encoding.ts";
import type { Space } from "../support/independent/independent-encoding.ts";
import { ENCODINGS, TestContext, plainResult, sealUpload } from "../support/independent/pairwise-context.ts";
import { PairwiseGallery } from "../support/independent/pairwise-gallery.ts";
import { assertRefused } from "../support/independent/refusals.ts";
import { COMPRESSIONS, SMALL, TensealMaker, smallTolerance, stepsUpTo } from "../support/independent/tenseal-maker.ts";

const { server, client } = await startContractServer();
const DIMENSION = 8;
const PEOPLE = 20;
const EUCLIDEAN: Space = { dimension: DIMENSION, metric: "METRIC_EUCLIDEAN", model_id: "model-a", norm_bound: 1 };
const COSINE: Space = { ...COSINE_128, dimension: DIMENSION };
const maker = await TensealMaker.create(SMALL);
after(() => {
  maker[Symbol.dispose]();
});
const context = await TestContext.create(client, maker, sealUpload(maker, maker.makeKeys(stepsUpTo(4))));
const transparent = { status: "INVALID_ARGUMENT", reason: "CIPHERTEXT_TRANSPARENT" } as const;

const encrypted = (embedding: readonly number[]): CiphertextMessage =>
  context.vector(embedding, "SEAL", { compression: "none" });
const person = (k: number): Person => ({
  template_id: `t-${k}`,
  subject_id: `s-${k % 4}`,
  embedding: randomEmbedding(DIMENSION),
});
const people = Array.from({ length: PEOPLE }, (_, k) => person(k));
const templates = people.map(
  ({ embedding, ...ids }): TemplateMessage => ({ ...ids, ciphertext: encrypted(embedding) }),
);

async function galleryOf(space: Space, enrolled: readonly TemplateMessage[] = templates): Promise<PairwiseGallery> {
  const gallery = await PairwiseGallery.create(context, space);
  await gallery.enrollTemplates(enrolled);
  return gallery;
}

/** By template id. */
type Outcomes = Map<string, number | string>;

/** What a search answers of every template: the distance, or what stands in its place. */
async function searched(gallery: PairwiseGallery, ciphertext: CiphertextMessage): Promise<Outcomes> {
  const request = question(gallery.target, [{ stride: DIMENSION, piece: 0, ciphertext }]);
  const { distances } = readSearch(
    await gallery.client.call<SearchMessage>("MatchingService/SearchGallery", ...request),
  );
  const ids = new Map((await gallery.roster()).map(({ template_id, placement }) => [placement!.block, template_id]));
  return new Map(distances.map((block) => [ids.get(block.block)!, outcome(block)]));
}

/** The same of one subject's templates. */
async function compared(
  gallery: PairwiseGallery,
  subject_id: string,
  ciphertext: CiphertextMessage,
): Promise<Outcomes> {
  const request = question({ ...gallery.target, subject_id }, [{ stride: DIMENSION, piece: 0, ciphertext }]);
  const { comparisons } = readComparison(
    await gallery.client.call<CompareMessage>("MatchingService/CompareTemplates", ...request),
  );
  return new Map(comparisons.map(({ distances, entries }) => [entries[0]!.template_id, outcome(distances)]));
}

interface Distances extends Pick<DistancesMessage, "identical" | "refused"> {
  readonly ciphertext: CiphertextMessage | null;
}

function outcome({ ciphertext, identical, refused }: Distances): number | string {
  const told = [ciphertext !== null, identical, refused !== "ERROR_REASON_UNSPECIFIED"];
  assert.equal(told.filter(Boolean).length, 1, "one of the three");
  if (ciphertext === null) return identical ? "identical" : refused;
  return maker.decrypt(ciphertext.encoding, ciphertext.data);
}

/** Every one of these people has the plain distance to a probe, but for those whose outcome is given. */
function assertOutcomes(
  found: Outcomes,
  who: readonly Person[],
  probe: readonly number[],
  others: Record<string, string>,
): void {
  assert.deepEqual([...found.keys()].sort(), who.map(({ template_id }) => template_id).sort());
  for (const { template_id, embedding } of who) {
    const [given, distance] = [others[template_id], found.get(template_id)!];
    const error = Number(distance) - plainResult("SQUARED_DISTANCE", embedding, probe);
    if (given !== undefined) assert.equal(distance, given, template_id);
    else assert.ok(Math.abs(error) < smallTolerance(DIMENSION), template_id);
  }
}

interface Compared {
  readonly distance: CiphertextMessage | null;
  readonly identical: boolean;
}

const ofSubject = (subject: string): Person[] => people.filter(({ subject_id }) => subject_id === subject);

/** Another first component over the same second one: the difference is bare, and not zero. */
function bareTwin(ciphertext: CiphertextMessage): CiphertextMessage {
  const data = Buffer.from(ciphertext.data);
  data.writeBigUInt64LE(data.readBigUInt64LE(CIPHERTEXT_WORDS_AT) ^ 1n, CIPHERTEXT_WORDS_AT);
  return context.envelope(data);
}

test("a probe that is an enrolled ciphertext is answered as identical to it, and all others with their distances", async () => {
  const gallery = await galleryOf(EUCLIDEAN);
  for (const k of [0, 7, PEOPLE - 1]) {
    const { ciphertext, template_id, subject_id } = templates[k]!;
    const probe = people[k]!.embedding;
    assertOutcomes(await searched(gallery, ciphertext), people, probe, { [template_id]: "identical" });
    const [own, other] = [subject_id, `s-${(k + 1) % 4}`];
    assertOutcomes(await compared(gallery, own, ciphertext), ofSubject(own), probe, { [template_id]: "identical" });
    assertOutcomes(await compared(gallery, other, ciphertext), ofSubject(other), probe, {});
  }
});

test("several templates may be the probe's own ciphertext", async () => {
  const twins = ["a", "b", "c"].map((template_id) => ({ ...templates[3]!, template_id }));
  const found = await searched(await galleryOf(EUCLIDEAN, [...twins, templates[4]!]), templates[3]!.ciphertext);
  assert.deepEqual(
    ["a", "b", "c"].map((id) => found.get(id)),
    ["identical", "identical", "identical"],
  );
  assert.equal(typeof found.get("t-4"), "number");
});

test("an inner product with itself is computed: it hides what a product hides", async () => {
  const found = await searched(await galleryOf(COSINE), templates[5]!.ciphertext);
  assert.ok(Math.abs(Number(found.get("t-5")) - 1) < smallTolerance(DIMENSION));
});

test("a template whose difference from the probe is bare, and not zero, is refused alone", async () => {
  const gallery = await galleryOf(EUCLIDEAN);
  const found = await searched(gallery, bareTwin(templates[9]!.ciphertext));
  // A residue that was changed is noise in every slot: what the others are answered means nothing.
  const expected = people.map(({ template_id }) =>
    template_id === "t-9" ? "ERROR_REASON_CIPHERTEXT_TRANSPARENT" : "number",
  );
  const answered = people.map(({ template_id }) => found.get(template_id));
  assert.deepEqual(
    answered.map((answer) => (typeof answer === "number" ? "number" : answer)),
    expected,
  );
});

test("two ciphertexts that are one are identical, however each is written; those with one other residue are refused", async () => {
  const [
    {
      ciphertext: { data: bytes },
    },
    { embedding },
  ] = [templates[0]!, people[0]!];
  const comparison = { operation: "PAIRWISE_OPERATION_SQUARED_DISTANCE", dimension: DIMENSION };
  const compare = async (first: CiphertextMessage, second: CiphertextMessage, change = {}) => {
    const request = { first, second, ...comparison, ...change };
    const [answer] = await client.call<Compared>("MatchingService/CompareCiphertexts", request);
    return answer!;
  };
  const written = ENCODINGS.flatMap((encoding) =>
    COMPRESSIONS.map((compression) => ({ encoding, compression, dimension: DIMENSION })),
  );
  const forms = written.map((form) => context.envelope(maker.rewrite(bytes, form), form.encoding));
  for (const first of forms) {
    for (const second of forms) {
      for (const norm_bound of [0, 1]) {
        assert.deepEqual(await compare(first, second, { norm_bound }), { distance: null, identical: true });
      }
    }
    const again = await compare(first, context.vector(embedding));
    assert.deepEqual([again.identical, again.distance === null], [false, false]);
    assert.equal((await compare(first, first, { operation: "PAIRWISE_OPERATION_INNER_PRODUCT" })).identical, false);
  }
  await assertRefused(compare(context.envelope(bytes), bareTwin(context.envelope(bytes))), transparent);
});

test("a template that was damaged on disk is refused alone", async () => {
  const gallery = await galleryOf(EUCLIDEAN);
  // The only one of its kind in the store: other galleries hold the other templates too.
  const rotten = { template_id: "rotten", subject_id: "s-0", ciphertext: encrypted(randomEmbedding(DIMENSION)) };
  await gallery.enrollTemplates([rotten]);
  await server.kill("SIGTERM");
  damage(rotten.ciphertext.data.subarray(40_000, 40_040));
  await server.restart();
  using again = new IndependentClient(server.address);
  const moved = new PairwiseGallery(new TestContext(again, maker, context.contextId), EUCLIDEAN, gallery.galleryId);
  const probe = randomEmbedding(DIMENSION);
  const found = await searched(moved, context.vector(probe));
  assert.equal(found.get("rotten"), "ERROR_REASON_STORED_CORRUPT");
  found.delete("rotten");
  assertOutcomes(found, people, probe, {});
  assert.equal((await compared(moved, "s-0", context.vector(probe))).get("rotten"), "ERROR_REASON_STORED_CORRUPT");
});

/** Changes one byte wherever the files of the store have these. */
function damage(bytes: Buffer): void {
  let changed = 0;
  for (const entry of readdirSync(server.dataFolder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const content = readFileSync(path);
    for (let at = content.indexOf(bytes); at >= 0; at = content.indexOf(bytes, at + 1), changed++) content[at]! ^= 1;
    writeFileSync(path, content);
  }
  assert.ok(changed > 0, "the template is stored as it is");
}

testThatTheLogTellsNothing(server);
