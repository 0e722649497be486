import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { RosterEntry } from "../../server/store/gallery-store.ts";
import { STRIDE, StoreFixture, placeOf, readAll, residuesOf } from "./store-fixture.ts";

const TEMPLATES = ["t-1", "t-2", "t-3", "t-4", "t-5", "t-6"];
const SUBJECTS = ["s-1", "s-2", "s-3"];

type Change = { readonly kind: "put"; readonly templateId: string; readonly subjectId: string } | { readonly kind: "delete"; readonly templateIds: readonly string[]; readonly subjectIds: readonly string[] };
type Step = { readonly kind: "changes"; readonly changes: readonly Change[] } | { readonly kind: "reopen" };

const put = fc.record({ kind: fc.constant("put" as const), templateId: fc.constantFrom(...TEMPLATES), subjectId: fc.constantFrom(...SUBJECTS) });
const remove = fc.record({ kind: fc.constant("delete" as const), templateIds: fc.array(fc.constantFrom(...TEMPLATES, "unknown"), { maxLength: 3 }), subjectIds: fc.array(fc.constantFrom(...SUBJECTS), { maxLength: 1 }) });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("changes" as const), changes: fc.array(fc.oneof({ weight: 3, arbitrary: put }, { weight: 1, arbitrary: remove }), { minLength: 1, maxLength: 4 }) }) },
  { weight: 1, arbitrary: fc.constant({ kind: "reopen" as const }) },
);

/** The plain model: a roster line per template, its ciphertext, and who ever held each place. */
class Model {
  readonly lines = new Map<string, RosterEntry>();
  readonly ciphertexts = new Map<string, Uint8Array>();
  readonly owners = new Map<string, string>();
  revision = 0;

  isLive(templateId: string): boolean {
    return this.lines.get(templateId)?.live !== undefined;
  }

  apply(entry: RosterEntry, residues: Uint8Array | undefined): void {
    assert.equal(entry.revision, this.revision + 1, "every change has the next revision");
    this.revision = entry.revision;
    this.lines.set(entry.templateId, entry);
    if (entry.live === undefined) return;
    const owner = `${entry.templateId} of ${entry.live.subjectId}`;
    assert.equal(this.owners.get(placeOf(entry)) ?? owner, owner, "a place belongs to one template of one subject for ever");
    this.owners.set(placeOf(entry), owner);
    this.ciphertexts.set(entry.templateId, residues!);
  }

  live(): RosterEntry[] {
    return [...this.lines.values()].filter((entry) => entry.live !== undefined);
  }
}

let versions = 0;

async function change({ store }: StoreFixture, wanted: Change): Promise<{ entry: RosterEntry; residues: Uint8Array | undefined }[]> {
  if (wanted.kind === "delete") {
    const { entries } = await store.deleteTemplates("g", wanted.templateIds, wanted.subjectIds);
    return entries.map((entry) => ({ entry, residues: undefined }));
  }
  const residues = residuesOf(`version ${versions++}`);
  // Two slots to a block, so that blocks fill up and empty out.
  const placement = store.reservePlacement("g", wanted.templateId, wanted.subjectId, STRIDE, 2);
  return [{ entry: await store.putLooseTemplate("g", { ...wanted, placement, residues }), residues }];
}

async function run(fixture: StoreFixture, model: Model, steps: readonly Step[]): Promise<void> {
  for (const next of steps) {
    if (next.kind === "reopen") await fixture.reopen();
    else await runChanges(fixture, model, next.changes);
    await compare(fixture, model);
  }
}

// The changes of a step are made at the same time; their revisions tell the order they took.
async function runChanges(fixture: StoreFixture, model: Model, changes: readonly Change[]): Promise<void> {
  const usedBefore = new Set(model.owners.keys());
  const deadBefore = TEMPLATES.filter((id) => !model.isLive(id));
  const made = (await Promise.all(changes.map((wanted) => change(fixture, wanted)))).flat();
  for (const { entry, residues } of made.sort((a, b) => a.entry.revision - b.entry.revision)) {
    if (entry.live !== undefined && deadBefore.includes(entry.templateId)) assert.ok(!usedBefore.has(placeOf(entry)), "a deleted template comes back in a new place");
    model.apply(entry, residues);
  }
}

async function compare(fixture: StoreFixture, model: Model): Promise<void> {
  const { store } = fixture;
  const live = model.live();
  const { revision, templateCount, strides } = store.getGallery("g");
  assert.deepEqual([revision, templateCount, strides], [model.revision, live.length, live.length > 0 ? [STRIDE] : []]);
  const blocks = new Set(live.map((entry) => entry.live!.placement.block));
  assert.deepEqual(store.listBlocks("g"), { blocks: [...blocks].sort((a, b) => a - b).map((block) => ({ block, stride: STRIDE })), revision });
  for (const subjectId of SUBJECTS) {
    const own = live.filter((entry) => entry.live!.subjectId === subjectId).sort((a, b) => order(a) - order(b));
    assert.deepEqual(store.entriesOfSubject("g", subjectId), own);
  }
  const changes = [...model.lines.values()].sort((a, b) => a.revision - b.revision);
  for (const since of [0, Math.floor(revision / 2)]) assert.deepEqual(pages(fixture, since, 2), changes.filter((entry) => entry.revision > since));
  assert.deepEqual(await readAll(fixture), new Map(live.sort((a, b) => order(a) - order(b)).map((entry) => [placeOf(entry), model.ciphertexts.get(entry.templateId)])));
}

function order({ live }: RosterEntry): number {
  return live!.placement.block * 2 + live!.placement.slot;
}

function pages({ store }: StoreFixture, since: number, limit: number): RosterEntry[] {
  const entries: RosterEntry[] = [];
  for (let next: number | undefined = since; next !== undefined; ) {
    const page = store.listEntries("g", next, limit);
    assert.ok(page.entries.length <= limit);
    entries.push(...page.entries);
    next = page.next;
  }
  return entries;
}

test("after any changes, at the same time or in turn, and any restarts, the store holds what a plain model holds", { timeout: 60_000 }, async () => {
  await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async (steps) => {
    await using fixture = await StoreFixture.withGallery();
    await run(fixture, new Model(), steps);
  }), { numRuns: 25 });
});
