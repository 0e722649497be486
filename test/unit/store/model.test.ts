import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { RosterEntry, StruckTemplate, SubjectLine, SubjectPage } from "../../../server/store/gallery-store.ts";
import {
  CONTEXT,
  PACKED_STRIDE,
  PLAIN,
  STRIDE,
  StoreFixture,
  chunksOf,
  hasReason,
  placeOf,
  readAll,
  residuesOf,
} from "./fixture.ts";
import { Model } from "./model.ts";
import type { Made } from "./model.ts";

const TEMPLATES = ["t-1", "t-2", "t-3", "t-4", "t-5", "t-6"];
const SUBJECTS = ["s-1", "s-2", "s-3"];

const slot = fc.record({ templateId: fc.constantFrom(...TEMPLATES), subjectId: fc.constantFrom(...SUBJECTS) });
const put = fc.record({ kind: fc.constant("put" as const), slot });
const pack = fc.record({
  kind: fc.constant("pack" as const),
  // A packed block may have the stride of loose templates too.
  stride: fc.constantFrom(PACKED_STRIDE, STRIDE),
  slots: fc.uniqueArray(slot, { selector: ({ templateId }) => templateId, minLength: 1, maxLength: 4 }),
});
const remove = fc.record({
  kind: fc.constant("delete" as const),
  templateIds: fc.array(fc.constantFrom(...TEMPLATES, "unknown"), { maxLength: 3 }),
  subjectIds: fc.array(fc.constantFrom(...SUBJECTS), { maxLength: 1 }),
});
const changes = fc.array(
  fc.oneof({ weight: 3, arbitrary: put }, { weight: 2, arbitrary: pack }, { weight: 2, arbitrary: remove }),
  { minLength: 1, maxLength: 4 },
);
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("changes" as const), changes }) },
  { weight: 1, arbitrary: fc.constant({ kind: "reopen" as const }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("replace" as const), changes, late: fc.option(put, { nil: undefined }) }),
  },
);

type Change = typeof changes extends fc.Arbitrary<(infer T)[]> ? T : never;
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

let versions = 0;

async function change(fixture: StoreFixture, galleryId: string, wanted: Change): Promise<Made> {
  const { store } = fixture;
  const seed = `version ${versions++}`;
  if (wanted.kind === "delete")
    return { named: wanted, ...(await store.deleteTemplates(galleryId, wanted)), kind: "deleted" };
  if (wanted.kind === "pack") {
    const { slots, stride } = wanted;
    return {
      kind: "packed",
      slots,
      chunks: chunksOf(seed),
      entry: await fixture.putPacked(slots, seed, galleryId, stride),
    };
  }
  const { templateId, subjectId } = wanted.slot;
  const residues = residuesOf(seed);
  // Two slots to a block, so that blocks fill up and empty out.
  const placement = store.reservePlacement(galleryId, { templateId, subjectId }, { stride: STRIDE, slots: 2 });
  return {
    kind: "loose",
    residues,
    entry: (await store.putLooseTemplate(galleryId, { templateId, subjectId, placement, residues })).entry,
  };
}

const placesOf = (struck: readonly StruckTemplate[]): string[] =>
  struck.map(({ templateId, block }) => `${templateId} in ${block}`).sort();

/** The changes of one batch, and the templates that it changed last, by revision. */
interface Batch {
  readonly made: readonly Made[];
  readonly lines: ReadonlyMap<number, RosterEntry>;
}

/**
 * Brings the model from where it was to a revision: what was not put or packed at a revision was deleted there, which
 * the template's line says unless it was put anew since. It is then the one of those that were named whose turn to be
 * put comes first; of several, another one than was may be taken.
 */
function applyInOrder(model: Model, { made, lines }: Batch, revision: number): void {
  const puts = new Map(made.flatMap((one) => (one.kind === "deleted" ? [] : [[firstRevision(one), one]])));
  const deletions = made.filter((one) => one.kind === "deleted");
  const blocks: number[] = [];
  let guesses = 0;
  while (model.revision < revision) {
    const next = model.revision + 1;
    const put = puts.get(next);
    if (put !== undefined) {
      model.apply(put);
      continue;
    }
    const line = lines.get(next);
    if (line === undefined) guesses++;
    blocks.push(model.delete(line?.templateId ?? putFirst(model, made, next), next));
  }
  const counted = deletions.reduce((sum, { count }) => sum + count, 0);
  assert.equal(counted, blocks.length, "every deletion counts its own");
  const left = new Set(model.blocks().map(({ block }) => block));
  for (const block of deletions.flatMap(({ erasedBlocks }) => erasedBlocks)) {
    assert.ok(model.packed.has(block) && !left.has(block), "a block goes with its last template");
    if (guesses === 0) assert.ok(blocks.includes(block), "a block goes with the deletion of its last template");
  }
}

/** Of the templates that a deletion named and that were put after a revision, the first one. */
function putFirst(model: Model, made: readonly Made[], revision: number): string {
  const wasNamed = (id: string): boolean => made.some((one) => one.kind === "deleted" && model.isNamed(one.named, id));
  const [first] = TEMPLATES.filter(wasNamed)
    .map((id) => ({ id, put: nextPut(made, id, revision) }))
    .sort((a, b) => a.put - b.put);
  assert.ok(first !== undefined && first.put < Infinity, "what changed without a line was put since");
  return first.id;
}

function nextPut(made: readonly Made[], templateId: string, revision: number): number {
  const puts = made.filter((one) => one.kind !== "deleted").filter((one) => idsOf(one).includes(templateId));
  return Math.min(...puts.map(firstRevision).filter((put) => put > revision));
}

function idsOf(made: Exclude<Made, { kind: "deleted" }>): string[] {
  return made.kind === "packed" ? made.slots.map(({ templateId }) => templateId) : [made.entry.templateId];
}

function firstRevision(made: Exclude<Made, { kind: "deleted" }>): number {
  return made.kind === "packed" ? made.entry.firstRevision : made.entry.revision;
}

// The changes are made at the same time; their revisions tell the order they took.
async function runChanges(
  fixture: StoreFixture,
  model: Model,
  wanted: readonly Change[],
  galleryId = "g",
): Promise<void> {
  const { store } = fixture;
  const usedBefore = new Set(model.owners.keys());
  const deadBefore = TEMPLATES.filter((id) => !model.isLive(id));
  const subjectsBefore = model.subjects().map(({ subjectId }) => subjectId);
  const made = await Promise.all(wanted.map((one) => change(fixture, galleryId, one)));
  const { entries, revision } = await store.listEntries(galleryId, model.revision, 1000);
  const lines = new Map(entries.map((entry) => [entry.revision, entry]));
  for (const one of made) {
    if (one.kind === "loose" && deadBefore.includes(one.entry.templateId))
      assert.ok(!usedBefore.has(placeOf(one.entry)), "a deleted template comes back in a new place");
    if (one.kind === "packed")
      assert.ok(
        ![...model.owners.keys()].some((place) => place.startsWith(`${one.entry.block}/`)),
        "a packed block has a number of its own",
      );
  }
  applyInOrder(model, { made, lines }, revision);
  const [only, ...others] = made;
  if (only?.kind !== "deleted" || others.length > 0) return;
  const { named, struck, unknownTemplateIds, unknownSubjectIds } = only;
  assert.deepEqual(placesOf(struck), placesOf(model.struck(named)));
  const isDead = (id: string): boolean => !TEMPLATES.includes(id) || deadBefore.includes(id);
  assert.deepEqual(unknownTemplateIds, [...new Set(named.templateIds.filter(isDead))]);
  assert.deepEqual(unknownSubjectIds, [...new Set(named.subjectIds.filter((id) => !subjectsBefore.includes(id)))]);
}

async function replace(
  fixture: StoreFixture,
  model: Model,
  { changes: wanted, late }: Step & { kind: "replace" },
): Promise<void> {
  const { store } = fixture;
  const draft = new Model();
  draft.revision = model.revision;
  await store.createGallery({ galleryId: "d", contextId: CONTEXT, ...PLAIN, draftOf: "g" });
  await runChanges(fixture, draft, wanted, "d");
  if (late === undefined) {
    await store.replaceGallery("g", "d", model.revision);
    model.replaceBy(draft);
  } else {
    const expected = model.revision;
    await runChanges(fixture, model, [late]);
    for (const revision of [expected, model.revision])
      await assert.rejects(store.replaceGallery("g", "d", revision), hasReason("GALLERY_CHANGED"));
    await store.deleteGallery("d");
  }
  assert.deepEqual(
    store.listGalleries(undefined, "", 9).galleries.map(({ galleryId }) => galleryId),
    ["g"],
  );
}

async function compare(fixture: StoreFixture, model: Model): Promise<void> {
  const { store } = fixture;
  const live = model.live();
  const { revision, templateCount, strides } = store.getGallery("g");
  const blocks = model.blocks();
  assert.deepEqual(
    [revision, templateCount, strides],
    [model.revision, live.length, [...new Set(blocks.map(({ stride }) => stride))].sort((a, b) => a - b)],
  );
  assert.deepEqual(await store.listBlocks("g"), { blocks, revision });
  for (const subjectId of SUBJECTS)
    assert.deepEqual(
      await store.entriesOfSubject("g", subjectId),
      live.filter((entry) => entry.live!.subjectId === subjectId),
    );
  for (let since = 0; since <= revision; since += 1 + Math.floor(revision / 7)) {
    assert.deepEqual(
      await pages(fixture, since, 1 + (since % 3)),
      model.changes().filter((entry) => entry.revision > since),
    );
  }
  for (const limit of [1, 2, 100]) assert.deepEqual(await subjectPages(fixture, limit), model.subjects());
  assert.deepEqual(await readAll(fixture), model.stored());
  await compareStored(fixture, model);
}

/**
 * As the key holder would read the gallery: one loose template or packed block after the other, in the order of their
 * revisions.
 */
async function compareStored({ store }: StoreFixture, model: Model): Promise<void> {
  const entries: RosterEntry[] = [];
  const found = new Map<string, Uint8Array>();
  for await (const stored of store.readBlocks("g")) {
    entries.push(...(stored.kind === "loose" ? [stored.entry] : stored.entries));
    if (stored.kind === "loose") found.set(placeOf(stored.entry), stored.residues);
    else Array.from(stored.chunks, (chunk, i) => found.set(`${stored.block}#${i}`, Uint8Array.from(chunk)));
  }
  assert.deepEqual(
    entries,
    model.changes().filter((entry) => entry.live !== undefined),
  );
  const byKey = (map: Map<string, Uint8Array>): [string, Uint8Array][] => [...map].sort(([a], [b]) => (a < b ? -1 : 1));
  assert.deepEqual(byKey(found), byKey(model.stored()));
}

async function pages({ store }: StoreFixture, since: number, limit: number): Promise<RosterEntry[]> {
  const entries: RosterEntry[] = [];
  for (let next: number | undefined = since; next !== undefined; ) {
    const page = await store.listEntries("g", next, limit);
    assert.ok(page.entries.length <= limit);
    entries.push(...page.entries);
    next = page.next;
  }
  return entries;
}

async function subjectPages({ store }: StoreFixture, limit: number): Promise<SubjectLine[]> {
  const subjects: SubjectLine[] = [];
  for (let since: number | undefined = 0; since !== undefined; ) {
    const page: SubjectPage = await store.listSubjects("g", since, limit);
    assert.ok(page.subjects.length <= limit);
    subjects.push(...page.subjects);
    since = page.next;
  }
  return subjects;
}

test("after any changes, at the same time or in turn, and any replacements and restarts, the store holds what a plain model holds", {
  timeout: 60_000,
}, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 20 }), async (steps) => {
      await using fixture = await StoreFixture.withGallery();
      const model = new Model();
      for (const next of steps) {
        if (next.kind === "changes") await runChanges(fixture, model, next.changes);
        else if (next.kind === "replace") await replace(fixture, model, next);
        else await fixture.reopen();
        await compare(fixture, model);
      }
    }),
    { numRuns: 40 },
  );
});
