import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import fc from "fast-check";
import { KeyHolder } from "../../../client/keys/key-holder.ts";
import { rankCandidates } from "../../../client/match/rank-candidates.ts";
import { lacksBlock } from "../../../client/match/search-answer.ts";
import { RosterCache } from "../../../client/roster/roster-cache.ts";
import { RosterColumns } from "../../../client/roster/roster-columns.ts";
import { RosterTable } from "../../../client/roster/roster-table.ts";
import { Roster } from "../../../client/roster/roster.ts";
import type { ReadRosterPage, RosterStore } from "../../../client/roster/roster.ts";
import type { RosterEntry } from "../../../client/remote/wire.ts";
import { ciphersOf } from "../../../client/keys/key-holder.ts";

const keyHolder = await KeyHolder.create("PACKED_N4096_Q30");
const otherHolder = await KeyHolder.create("PACKED_N4096_Q30");
const folder = await mkdtemp(join(tmpdir(), "veilface-rosters-"));
after(async () => {
  keyHolder[Symbol.dispose]();
  otherHolder[Symbol.dispose]();
  await rm(folder, { recursive: true, force: true });
});

const UID = "0123456789abcdef0123456789abcdef";

const entry = (i: number, name = `template-of-${i}`): RosterEntry => ({
  templateId: name,
  subjectId: `subject-${i % 7}`,
  placement: { block: i >> 4, slot: i & 15, stride: 2 },
  revision: i + 1,
});

/** A server with so many templates, one change each, that counts what is asked of it. */
function served(
  entries: readonly RosterEntry[],
  revision = entries.length,
): { readPage: ReadRosterPage; asked: number[] } {
  const asked: number[] = [];
  const readPage: ReadRosterPage = (since) => {
    asked.push(since);
    const changes = entries
      .filter((live) => live.revision > since)
      .map((live) => ({ templateId: live.templateId, live, revision: live.revision }));
    return Promise.resolve({ changes, revision, nextPageToken: "" });
  };
  return { readPage, asked };
}

const people = Array.from({ length: 100 }, (_, i) => entry(i));

async function rosterFrom(
  readPage: ReadRosterPage,
  store: RosterStore,
  revision: number,
  uid = UID,
): Promise<RosterEntry[]> {
  const roster = new Roster(readPage, store);
  await roster.update(uid, revision);
  return roster.entries();
}

test("a roster that was stored is loaded by the next process, which asks for the last change only", async () => {
  const cache = new RosterCache(join(folder, "a"), keyHolder);
  const first = served(people);
  await rosterFrom(first.readPage, cache.storeFor("staff"), 100);
  const second = served(people);
  assert.deepEqual(
    await rosterFrom(second.readPage, new RosterCache(join(folder, "a"), keyHolder).storeFor("staff"), 100),
    people,
  );
  assert.deepEqual([first.asked, second.asked], [[0], [99]]);
});

test("a stored roster is its owner's alone: mode 600, and no id in it or in its name", async () => {
  await rosterFrom(served(people).readPage, new RosterCache(join(folder, "b"), keyHolder).storeFor("staff"), 100);
  const [name, ...others] = await readdir(join(folder, "b"));
  assert.deepEqual(others, []);
  assert.match(name!, /^[0-9a-f]{32}\.roster$/);
  assert.equal((await stat(join(folder, "b", name!))).mode & 0o777, 0o600);
  assert.equal((await stat(join(folder, "b"))).mode & 0o777, 0o700);
  const bytes = await readFile(join(folder, "b", name!), "latin1");
  for (const word of ["template-of", "subject-", "staff"]) assert.ok(!bytes.includes(word));
});

test("a stored copy that is damaged, of another key or of an earlier gallery is thrown away and made anew", async () => {
  const path = join(folder, "c");
  const cases: Record<string, () => Promise<RosterStore>> = {
    "a flipped bit": async () => {
      const [name] = await readdir(path);
      const bytes = await readFile(join(path, name!));
      bytes[bytes.length >> 1]! ^= 1;
      await writeFile(join(path, name!), bytes);
      return new RosterCache(path, keyHolder).storeFor("staff");
    },
    "cut short": async () => {
      const [name] = await readdir(path);
      await writeFile(join(path, name!), (await readFile(join(path, name!))).subarray(0, 20));
      return new RosterCache(path, keyHolder).storeFor("staff");
    },
    "another creation": () => Promise.resolve(new RosterCache(path, keyHolder).storeFor("staff")),
  };
  for (const [name, storeOf] of Object.entries(cases)) {
    await rosterFrom(served(people).readPage, new RosterCache(path, keyHolder).storeFor("staff"), 100);
    const again = served(people);
    const uid = name === "another creation" ? "f".repeat(32) : UID;
    assert.deepEqual(await rosterFrom(again.readPage, await storeOf(), 100, uid), people, name);
    assert.deepEqual(again.asked, [0], name);
  }
  assert.equal(
    ciphersOf(otherHolder).decryptLocally("x", ciphersOf(keyHolder).encryptLocally("x", randomBytes(40))),
    undefined,
  );
  assert.equal(
    ciphersOf(keyHolder).decryptLocally("y", ciphersOf(keyHolder).encryptLocally("x", randomBytes(40))),
    undefined,
  );
});

test("a server that was put back from a backup and gave the places to others is believed, not the stored copy", async () => {
  for (const [name, entries, revision] of [
    [
      "another last change",
      [...people.slice(0, 90), ...people.slice(90).map((live, i) => entry(90 + i, `other-${live.revision}`))],
      100,
    ],
    [
      "another last change, which is gone since",
      [...people.slice(0, 90), ...people.slice(90, 99).map((_, i) => entry(90 + i, `other-${i}`)), entry(100, "late")],
      101,
    ],
    ["an earlier revision", people.slice(0, 50), 50],
  ] as const) {
    const cache = new RosterCache(join(folder, "d"), keyHolder);
    await rosterFrom(served(people).readPage, cache.storeFor("staff"), 100);
    const restored = served(entries, revision);
    assert.deepEqual(await rosterFrom(restored.readPage, cache.storeFor("staff"), revision), entries, name);
    assert.deepEqual(restored.asked, [99, 0], name);
    await cache.forget("staff");
    assert.deepEqual(await readdir(join(folder, "d")), []);
  }
});

test("a stored copy of one change is believed no more than others", async () => {
  const store = new RosterCache(join(folder, "f"), keyHolder).storeFor("staff");
  await rosterFrom(served([entry(0)]).readPage, store, 1);
  const other = [entry(0, "somebody-else")];
  assert.deepEqual(await rosterFrom(served(other).readPage, store, 1), other);
});

test("a stored copy whose last template was enrolled anew, or deleted, since is read on from", async () => {
  for (const since of [[entry(100, "template-of-99")], []]) {
    const store = new RosterCache(join(folder, "g"), keyHolder).storeFor("staff");
    await rosterFrom(served(people).readPage, store, 100);
    const asked: number[] = [];
    const live = [...people.slice(0, 99), ...since];
    const deletion = { templateId: "template-of-99", live: undefined, revision: 101 };
    const readPage: ReadRosterPage = (revision) => {
      asked.push(revision);
      const changes = since.map((one) => ({ templateId: one.templateId, live: one, revision: one.revision }));
      return Promise.resolve({ changes: since.length > 0 ? changes : [deletion], revision: 101, nextPageToken: "" });
    };
    assert.deepEqual([await rosterFrom(readPage, store, 101), asked], [live, [99]]);
  }
});

test("a stored copy tells of which gallery it is, and one of a gallery by another name is none", async () => {
  const cache = new RosterCache(join(folder, "e"), keyHolder);
  const [one, other] = [cache.storeFor("staff"), cache.storeFor("visitors")];
  await one.save({ uid: UID, bytes: Uint8Array.of(1, 2, 3) });
  assert.deepEqual(await one.load(), { uid: UID, bytes: Uint8Array.of(1, 2, 3) });
  assert.equal(await other.load(), undefined);
  const [name] = await readdir(join(folder, "e"));
  await other.save({ uid: "f".repeat(32), bytes: Uint8Array.of(4) });
  const [moved] = (await readdir(join(folder, "e"))).filter((file) => file !== name);
  await rename(join(folder, "e", moved!), join(folder, "e", name!));
  assert.equal(await one.load(), undefined);
});

test("a folder that cannot be written costs nothing but the copy", async () => {
  await writeFile(join(folder, "file"), "");
  const store = new RosterCache(join(folder, "file", "below"), keyHolder).storeFor("staff");
  assert.deepEqual(await rosterFrom(served(people).readPage, store, 100), people);
});

test("after any changes a table holds what a map would, and its stored copy the same, in the order of the last changes", () => {
  const id = fc.integer({ min: 0, max: 9 });
  const step = fc.oneof(
    fc.record({ kind: fc.constant("set" as const), id, subject: id }),
    fc.record({ kind: fc.constant("delete" as const), id }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const table = new RosterTable();
      const model = new Map<string, RosterEntry>();
      steps.forEach((change, i) => {
        const templateId = `t${change.id}`;
        model.delete(templateId);
        if (change.kind === "delete") table.delete(templateId);
        else {
          const live = {
            templateId,
            subjectId: `s${change.subject}`,
            placement: { block: i >> 3, slot: i & 7, stride: 512 },
            revision: i + 1,
          };
          model.set(templateId, live);
          table.set(live);
        }
        assert.equal(table.size, model.size);
      });
      assert.deepEqual([...table.entries()], [...model.values()]);
      const stored = RosterColumns.fromBytes(table.toBytes(steps.length))!;
      assert.equal(stored.revision, steps.length);
      assert.deepEqual([...new RosterTable(stored.columns).entries()], [...model.values()]);
      assert.deepEqual([...table.entries()], [...model.values()]);
    }),
  );
});

test("stored bytes that are not what was written are not taken", () => {
  const table = new RosterTable();
  people.forEach((live) => {
    table.set(live);
  });
  const bytes = table.toBytes(100);
  assert.ok(RosterColumns.fromBytes(bytes) !== undefined);
  for (const other of [
    bytes.subarray(1),
    bytes.subarray(0, 23),
    Uint8Array.from([...bytes, 0]),
    bytes.with(0, 1),
    new Uint8Array(24).fill(255),
  ])
    assert.equal(RosterColumns.fromBytes(other), undefined);
});

test("among many thousands, with few values and subjects of many templates, candidates are those of a full sort", () => {
  const table = new RosterTable();
  const random = (i: number, range: number): number =>
    Math.floor(Math.abs(Math.sin(i * 12.9898) * 43_758.5453) % range);
  const distances = Array.from({ length: 3 }, () => new Float64Array(4096));
  const all = Array.from({ length: 12_000 }, (_, i) => {
    const place = { block: Math.floor(i / 4096), slot: i % 4096 };
    const distance = random(i, 50) / 50;
    distances[place.block]![place.slot] = distance;
    // Half of all templates are of three subjects, and the nearest ones too.
    const subjectId = i % 2 === 0 ? `s${i % 3}` : `s${random(i + 7, 3000)}`;
    table.set({ templateId: `t${i}`, subjectId, placement: { ...place, stride: 1 }, revision: i + 1 });
    return { subjectId, templateId: `t${i}`, distance };
  });
  for (const i of [0, 5000, 11_999]) table.delete(`t${i}`);
  const live = all.filter((_, i) => ![0, 5000, 11_999].includes(i) && i < 11_000);
  live.sort(
    (a, b) =>
      a.distance - b.distance ||
      (a.subjectId < b.subjectId ? -1 : Number(a.subjectId > b.subjectId)) ||
      (a.templateId < b.templateId ? -1 : 1),
  );
  const seen = new Set<string>();
  const expected = live.filter(({ subjectId }) => !seen.has(subjectId) && seen.add(subjectId));
  const blocks = distances.map((values, block) => ({ block, stride: 1, distances: values }));
  for (const top of [1, 10, 400, 5000])
    assert.deepEqual(rankCandidates(table, { revision: 11_000, blocks }, top), expected.slice(0, top));
  assert.equal(lacksBlock(table, { revision: 11_000, blocks: blocks.slice(1) }), true);
  assert.equal(lacksBlock(table, { revision: 4000, blocks: blocks.slice(0, 1) }), false);
});
