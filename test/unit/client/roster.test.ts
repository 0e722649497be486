import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { ClientError } from "../../../client/errors.ts";
import { CallBounds } from "../../../client/remote/call-bounds.ts";
import { rankCandidates } from "../../../client/match/rank-candidates.ts";
import type { BlockDistances } from "../../../client/match/search-answer.ts";
import { RosterColumns } from "../../../client/roster/roster-columns.ts";
import { Roster } from "../../../client/roster/roster.ts";
import type { ReadRosterPage, RosterStore, StoredRoster } from "../../../client/roster/roster.ts";
import type { RosterUpdate } from "../../../client/roster/roster-update.ts";
import type { RosterChange, RosterEntry, RosterState } from "../../../client/remote/wire.ts";

const entry = (templateId: string, subjectId: string, slot: number, revision: number): RosterEntry => ({
  templateId,
  subjectId,
  placement: { block: 0, slot, stride: 1 },
  revision,
});

const UID = "0123456789abcdef".repeat(2);
const OTHER_UID = "f".repeat(32);

/** A server's side of a roster: what it is now, and pages of what changed. */
class ServedRoster {
  readonly live = new Map<string, RosterEntry>();
  readonly #changes = new Map<string, RosterChange>();
  revision = 0;
  /** The revisions that changes were asked for since, a page each. */
  readonly asked: number[] = [];

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
    this.asked.push(since);
    await Promise.resolve();
    const rest = this.changesSince(pageToken === "" ? since : Number(pageToken));
    const changes = rest.slice(0, 2);
    const nextPageToken = rest.length > 2 ? String(changes[1]!.revision) : "";
    return { changes, revision: this.revision, nextPageToken };
  };

  changesSince(after: number): RosterChange[] {
    return [...this.#changes.values()]
      .filter(({ revision }) => revision > after)
      .sort((a, b) => a.revision - b.revision);
  }

  #record(change: RosterChange): void {
    this.#changes.set(change.templateId, change);
  }
}

const isStale = (error: unknown): boolean => error instanceof ClientError && error.reason === "ROSTER_STALE";

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
        await roster.update(UID, served.revision);
        assert.deepEqual(byId(roster.entries()), byId(served.live.values()));
        assert.equal(roster.revision, served.revision);
      }
    }),
  );
});

test("a roster that is current asks nothing, and of updates at once one reads all of it and the others what changed since", async () => {
  const served = new ServedRoster();
  served.put("a", "ada");
  const roster = new Roster(served.readPage);
  await Promise.all([roster.update(UID, 1), roster.update(UID, 1), roster.update(UID, 1)]);
  assert.deepEqual(served.asked, [0, 1, 1]);
  await roster.update(UID, 1);
  assert.equal(served.asked.length, 3);
});

test("a roster that the server does not bring up to the revision asked for is stale, not taken as it is", async () => {
  const served = new ServedRoster();
  served.put("a", "ada");
  const roster = new Roster(served.readPage);
  await assert.rejects(roster.update(UID, 2), isStale);
});

test("an update that fails half way is made good by the next one", async () => {
  const served = new ServedRoster();
  for (const name of ["a", "b", "c", "d", "e"]) served.put(name, name);
  let failures = 1;
  const roster = new Roster((since, pageToken) =>
    pageToken !== "" && failures-- > 0 ? Promise.reject(new Error("lost")) : served.readPage(since, pageToken),
  );
  await assert.rejects(roster.update(UID, 5), /lost/);
  assert.equal(roster.revision, 0);
  served.remove("a");
  await roster.update(UID, 6);
  assert.deepEqual(byId(roster.entries()), byId(served.live.values()));
});

test("a gallery of another uid is begun anew, and nothing of the former one stays", async () => {
  const [first, second] = [new ServedRoster(), new ServedRoster()];
  for (const name of ["a", "b", "c"]) first.put(name, "ada");
  second.put("b", "bob");
  let served = first;
  const roster = new Roster((...page) => served.readPage(...page));
  await roster.update(UID, 3);
  served = second;
  await roster.update(OTHER_UID, 1);
  assert.deepEqual(roster.entries(), [...second.live.values()]);
  assert.deepEqual([roster.revision, second.asked], [1, [0]]);
  using update = await roster.begin();
  assert.deepEqual(update.since, { uid: OTHER_UID, revision: 1 });
});

test("changes of a gallery that was replaced meanwhile are not mixed with those of the one in its place", async () => {
  const [first, second] = [new ServedRoster(), new ServedRoster()];
  first.put("a", "ada");
  second.put("b", "bob");
  const roster = new Roster(first.readPage);
  await roster.refresh(UID);
  using late = await roster.begin();
  late.of(UID);
  first.put("c", "carl");
  late.add(first.changesSince(late.since.revision));
  using current = await roster.begin();
  current.of(OTHER_UID);
  current.add(second.changesSince(0));
  await current.finish(second.revision);
  await assert.rejects(late.finish(first.revision), isStale);
  assert.deepEqual(roster.entries(), [...second.live.values()]);
});

test("a server whose revision went back, as one put back from a backup, is read anew", async () => {
  const served = new ServedRoster();
  for (const name of ["a", "b", "c", "d", "e"]) served.put(name, name);
  const backup = new ServedRoster();
  for (const name of ["a", "x"]) backup.put(name, name);
  let current = served;
  const roster = new Roster((...page) => current.readPage(...page));
  await roster.refresh(UID);
  current = backup;
  assert.deepEqual([...(await roster.refresh(UID)).entries()], [...backup.live.values()]);
  assert.deepEqual([backup.asked, roster.revision], [[5, 0], 2]);
});

test("changes since a revision that the roster does not have any more are not added to it", async () => {
  const served = new ServedRoster();
  for (const name of ["a", "b", "c"]) served.put(name, name);
  const backup = new ServedRoster();
  backup.put("x", "x");
  let current = served;
  const roster = new Roster((...page) => current.readPage(...page));
  await roster.refresh(UID);
  using late = await roster.begin();
  late.of(UID);
  served.put("d", "d");
  late.add(served.changesSince(3));
  current = backup;
  await roster.refresh(UID);
  await assert.rejects(late.finish(served.revision), isStale);
  assert.deepEqual(roster.entries(), [...backup.live.values()]);
});

test("while the whole roster is read others wait, and go on once that has failed or is done", async () => {
  const served = new ServedRoster();
  served.put("a", "ada");
  const roster = new Roster(served.readPage);
  const first = await roster.begin();
  let begun = 0;
  const waiting = [roster.begin(), roster.begin()].map((beginning) => beginning.finally(() => begun++));
  const aborting = new AbortController();
  const aborted = roster.begin({ bounds: new CallBounds({ signal: aborting.signal }) });
  aborting.abort();
  await assert.rejects(aborted, { name: "ClientError", reason: "CANCELLED" });
  await turn();
  assert.equal(begun, 0);
  first[Symbol.dispose]();
  const second = await Promise.race(waiting);
  await turn();
  assert.equal(begun, 1, "the next one reads all of it, and the other waits for that");
  second.of(UID);
  second.add(served.changesSince(0));
  await second.finish(served.revision);
  second[Symbol.dispose]();
  for (const update of await Promise.all(waiting)) update[Symbol.dispose]();
  using third = await roster.begin();
  using fourth = await roster.begin();
  assert.deepEqual(
    [third.since, fourth.since],
    [third.since, { uid: UID, revision: 1 }],
    "changes are read side by side",
  );
});

/** A history of galleries under one id, and every state that one of them had. */
class ServedHistory {
  readonly #states = new Map<string, RosterEntry[]>();
  #galleries = 1;
  roster = new ServedRoster();

  get uid(): string {
    return String(this.#galleries).padStart(32, "0");
  }

  recreate(): void {
    this.#galleries++;
    this.roster = new ServedRoster();
  }

  note(): void {
    this.#states.set(`${this.uid} ${this.roster.revision}`, byId(this.roster.live.values()));
  }

  at({ uid, revision }: RosterState): RosterEntry[] {
    return this.#states.get(`${uid} ${revision}`) ?? [];
  }
}

/** An update under way, and the state of the gallery that it has gathered. */
interface Underway {
  readonly update: RosterUpdate;
  gathered?: RosterState;
}

function gather({ update }: Underway, { uid, roster }: ServedHistory): RosterState {
  update.of(uid);
  const changes = roster.changesSince(update.since.uid === uid ? update.since.revision : 0);
  for (const change of changes) update.add([change]);
  return { uid, revision: roster.revision };
}

/** What is known once an update is finished that began at `since`. */
function known(before: RosterState, since: RosterState, { uid, revision }: RosterState): RosterState | "stale" {
  const isWhole = since.uid !== uid || since.revision === 0;
  if (uid === before.uid) return { uid, revision: Math.max(before.revision, revision) };
  return isWhole ? { uid, revision } : "stale";
}

test("whatever updates run side by side, and whatever is made of the gallery, no line is lost and none comes back", async () => {
  const id = fc.integer({ min: 0, max: 4 }).map(String);
  const which = fc.nat(11);
  const step = fc.oneof(
    { weight: 8, arbitrary: fc.record({ kind: fc.constant("put" as const), id, subject: id }) },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant("remove" as const), id }) },
    { weight: 1, arbitrary: fc.constant({ kind: "recreate" as const }) },
    { weight: 1, arbitrary: fc.constant({ kind: "reopen" as const }) },
    { weight: 8, arbitrary: fc.constant({ kind: "begin" as const }) },
    { weight: 8, arbitrary: fc.record({ kind: fc.constant("gather" as const), which }) },
    { weight: 8, arbitrary: fc.record({ kind: fc.constant("finish" as const), which }) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 60, size: "max" }), async (steps) => {
      const served = new ServedHistory();
      const store = memoryStore();
      const open = (): Roster => new Roster((...page) => served.roster.readPage(...page), store);
      let roster = open();
      let state: RosterState = { uid: "", revision: 0 };
      let underWay: Underway[] = [];
      for (const next of steps) {
        if (next.kind === "put") served.roster.put(next.id, next.subject);
        if (next.kind === "remove") served.roster.remove(next.id);
        if (next.kind === "recreate") served.recreate();
        served.note();
        if (next.kind === "reopen") [roster, underWay, state] = [open(), [], await stateOf(store)];
        // The first one reads everything, and the others wait for it.
        if (next.kind === "begin" && (state.revision > 0 || underWay.length === 0))
          underWay.push({ update: await roster.begin() });
        if (next.kind !== "gather" && next.kind !== "finish") continue;
        const one = underWay[next.which % underWay.length];
        if (one === undefined) continue;
        one.gathered ??= gather(one, served);
        if (next.kind === "gather") continue;
        underWay = underWay.filter((other) => other !== one);
        using update = one.update;
        const expected = known(state, update.since, one.gathered);
        if (expected === "stale") await assert.rejects(update.finish(one.gathered.revision), isStale);
        else {
          const table = await update.finish(one.gathered.revision);
          assert.deepEqual(byId(table.entries()), served.at(expected));
          assert.equal(roster.revision, expected.revision);
          state = expected;
        }
      }
      for (const { update } of underWay) update[Symbol.dispose]();
      assert.deepEqual(byId((await roster.refresh(served.uid)).entries()), byId(served.roster.live.values()));
    }),
    { numRuns: 500 },
  );
});

function memoryStore(): RosterStore {
  let stored: StoredRoster | undefined;
  return {
    load: () => Promise.resolve(stored),
    save: (roster) => {
      stored = { ...roster, bytes: Uint8Array.from(roster.bytes) };
      return Promise.resolve();
    },
  };
}

/** Of the roster that is stored; a copy is not saved for no line at all. */
async function stateOf(store: RosterStore): Promise<RosterState> {
  const stored = await store.load();
  const { revision = 0 } = stored === undefined ? {} : (RosterColumns.fromBytes(stored.bytes) ?? {});
  return { uid: stored?.uid ?? "", revision };
}

async function rosterOf(entries: readonly RosterEntry[]): Promise<Roster> {
  const roster = new Roster(() =>
    Promise.resolve({
      changes: entries.map((live) => ({ templateId: live.templateId, live, revision: live.revision })),
      revision: 100,
      nextPageToken: "",
    }),
  );
  await roster.update(UID, 100);
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
  const first = roster.update(UID, 5);
  const waiting = roster.update(UID, 5, { bounds: new CallBounds(aborting) });
  const late = roster.update(UID, 5, { bounds: new CallBounds({ deadlineMs: 5 }) });
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
  await assert.rejects(stopped.update(UID, 5, { bounds: new CallBounds(stopping) }), {
    name: "ClientError",
    reason: "CANCELLED",
  });
  assert.equal(pages - between, 2);
});
