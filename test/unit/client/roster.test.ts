import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ClientError } from "../../../client/errors.ts";
import { CallBounds } from "../../../client/remote/call-bounds.ts";
import { rankCandidates } from "../../../client/match/rank-candidates.ts";
import type { BlockDistances } from "../../../client/match/search-answer.ts";
import { Roster } from "../../../client/roster/roster.ts";
import type { ReadRosterPage } from "../../../client/roster/roster.ts";
import type { RosterChange } from "../../../client/remote/wire.ts";
import type { RosterEntry } from "../../../client/remote/wire.ts";

const entry = (templateId: string, subjectId: string, slot: number, revision: number): RosterEntry => ({
  templateId,
  subjectId,
  placement: { block: 0, slot, stride: 1 },
  revision,
});

/** A server's side of a roster: what it is now, and pages of what changed. */
class ServedRoster {
  readonly live = new Map<string, RosterEntry>();
  readonly #changes = new Map<string, { readonly revision: number; readonly change: RosterChange }>();
  revision = 0;
  reads = 0;

  put(templateId: string, subjectId: string): void {
    this.revision++;
    const live = entry(templateId, subjectId, this.revision, this.revision);
    this.live.set(templateId, live);
    this.#record({ templateId, live, revision: this.revision });
  }

  remove(templateId: string): void {
    if (!this.live.delete(templateId)) return;
    this.revision++;
    this.#record({ templateId, live: undefined, revision: this.revision });
  }

  /** Two changes a page, so that histories take several. */
  readonly readPage: ReadRosterPage = async (since, pageToken) => {
    this.reads++;
    await Promise.resolve();
    const after = pageToken === "" ? since : Number(pageToken);
    const rest = [...this.#changes.values()]
      .filter(({ revision }) => revision > after)
      .sort((a, b) => a.revision - b.revision);
    const page = rest.slice(0, 2);
    return {
      changes: page.map(({ change }) => change),
      revision: this.revision,
      nextPageToken: rest.length > 2 ? String(page[1]!.revision) : "",
    };
  };

  #record(change: RosterChange): void {
    this.#changes.set(change.templateId, { revision: this.revision, change });
  }
}

const byId = (entries: Iterable<RosterEntry>): RosterEntry[] =>
  [...entries].sort((a, b) => (a.templateId < b.templateId ? -1 : 1));

test("after any history of changes and updates a roster is the server's, read by changes only", async () => {
  const id = fc.integer({ min: 0, max: 5 }).map(String);
  const step = fc.oneof(
    fc.record({ kind: fc.constant("put" as const), id, subject: id }),
    fc.record({ kind: fc.constant("remove" as const), id }),
    fc.record({ kind: fc.constant("update" as const) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const served = new ServedRoster();
      const roster = new Roster(served.readPage);
      for (const change of [...steps, { kind: "update" as const }]) {
        if (change.kind === "put") served.put(change.id, change.subject);
        if (change.kind === "remove") served.remove(change.id);
        if (change.kind !== "update") continue;
        await roster.update(served.revision);
        assert.deepEqual(byId(roster.entries()), byId(served.live.values()));
        assert.equal(roster.revision, served.revision);
      }
    }),
  );
});

test("a roster that is current asks nothing, and updates at once share one reading", async () => {
  const served = new ServedRoster();
  served.put("a", "ada");
  const roster = new Roster(served.readPage);
  await Promise.all([roster.update(1), roster.update(1), roster.update(1)]);
  await roster.update(1);
  assert.equal(served.reads, 1);
});

test("a roster that the server does not bring up to the revision asked for is stale, not taken as it is", async () => {
  const served = new ServedRoster();
  served.put("a", "ada");
  const roster = new Roster(served.readPage);
  await assert.rejects(roster.update(2), (error) => error instanceof ClientError && error.reason === "ROSTER_STALE");
});

test("an update that fails half way is made good by the next one", async () => {
  const served = new ServedRoster();
  for (const name of ["a", "b", "c", "d", "e"]) served.put(name, name);
  let failures = 1;
  const roster = new Roster((since, pageToken) =>
    pageToken !== "" && failures-- > 0 ? Promise.reject(new Error("lost")) : served.readPage(since, pageToken),
  );
  await assert.rejects(roster.update(5), /lost/);
  assert.equal(roster.revision, 0);
  served.remove("a");
  await roster.update(6);
  assert.deepEqual(byId(roster.entries()), byId(served.live.values()));
});

async function rosterOf(entries: readonly RosterEntry[]): Promise<Roster> {
  const roster = new Roster(() =>
    Promise.resolve({
      changes: entries.map((live) => ({ templateId: live.templateId, live, revision: live.revision })),
      revision: 100,
      nextPageToken: "",
    }),
  );
  await roster.update(100);
  return roster;
}

const distancesOf = (...distances: number[]): { block: number; stride: number; distances: Float64Array }[] => [
  { block: 0, stride: 1, distances: Float64Array.from(distances) },
];

test("candidates are the subjects by their nearest template, nearest first, ties by id, at most as many as asked for", async () => {
  // Few values, so that ties are common.
  const template = fc.record({ subject: fc.integer({ min: 0, max: 4 }), distance: fc.integer({ min: 0, max: 3 }) });
  await fc.assert(
    fc.asyncProperty(fc.array(template, { maxLength: 12 }), fc.integer({ min: 1, max: 6 }), async (templates, top) => {
      const roster = await rosterOf(
        templates.map(({ subject }, i) => entry(`t${String(i).padStart(2, "0")}`, `s${subject}`, i, 1)),
      );
      const candidates = rankCandidates(
        roster.table,
        { revision: 100, blocks: distancesOf(...templates.map(({ distance }) => distance)) },
        top,
      );
      // By sorting everything and keeping the first of each subject.
      const all = templates.map(({ subject, distance }, i) => ({
        subjectId: `s${subject}`,
        templateId: `t${String(i).padStart(2, "0")}`,
        distance,
      }));
      all.sort(
        (a, b) =>
          a.distance - b.distance || a.subjectId.localeCompare(b.subjectId) || a.templateId.localeCompare(b.templateId),
      );
      const expected = all
        .filter(({ subjectId }, i) => all.findIndex((other) => other.subjectId === subjectId) === i)
        .slice(0, top);
      assert.deepEqual(candidates, expected);
    }),
  );
});

test("templates that changed after the search began are left out of it", async () => {
  const roster = await rosterOf([entry("old", "ada", 0, 5), entry("new", "bob", 1, 6)]);
  assert.deepEqual(
    rankCandidates(roster.table, { revision: 5, blocks: distancesOf(1, 0) }, 5).map(({ subjectId }) => subjectId),
    ["ada"],
  );
});

test("an answer that lacks a block or a slot of the roster is refused rather than read as nobody", async () => {
  const roster = await rosterOf([entry("a", "ada", 0, 1), entry("b", "bob", 1, 1)]);
  const isRefused = (error: unknown): boolean => error instanceof ClientError && error.reason === "REPLY_INVALID";
  const rank = (blocks: readonly BlockDistances[]) => (): unknown =>
    rankCandidates(roster.table, { revision: 1, blocks }, 5);
  assert.throws(rank([]), isRefused);
  assert.throws(rank(distancesOf(0.5)), isRefused);
  assert.throws(rank([{ ...distancesOf(1, 2)[0]!, stride: 2 }]), isRefused);
});

test("a signal ends an update between two pages, and while another one is waited for", async () => {
  const aborting = new AbortController();
  let pages = 0;
  const held = Promise.withResolvers<undefined>();
  const roster = new Roster(async (_since, _token, options) => {
    pages++;
    if (pages === 1) await held.promise;
    options?.bounds.check();
    return { changes: [], revision: 5, nextPageToken: pages < 3 ? "more" : "" };
  });
  const first = roster.update(5);
  const waiting = roster.update(5, { bounds: new CallBounds(aborting) });
  const late = roster.update(5, { bounds: new CallBounds({ deadlineMs: 5 }) });
  aborting.abort();
  await assert.rejects(waiting, (error) => error instanceof ClientError && error.reason === "CANCELLED");
  await assert.rejects(late, { name: "ClientError", reason: "DEADLINE_EXCEEDED" });
  assert.equal(pages, 1);
  held.resolve(undefined);
  await first;
  assert.equal(roster.revision, 5);
  const [between, stopping] = [pages, new AbortController()];
  const stopped = new Roster(async (_since, _token, options) => {
    pages++;
    options?.bounds.check();
    stopping.abort();
    return Promise.resolve({ changes: [], revision: 5, nextPageToken: "more" });
  });
  await assert.rejects(stopped.update(5, { bounds: new CallBounds(stopping) }), {
    name: "ClientError",
    reason: "CANCELLED",
  });
  assert.equal(pages - between, 2);
});
