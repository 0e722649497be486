import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { RosterEntry } from "../../server/store/gallery-store.ts";
import { CONTEXT, PACKED, PLAIN, StoreFixture, readAll } from "../unit/store/fixture.ts";

const CHILD = fileURLToPath(new URL("store-kill-deletion-child.ts", import.meta.url));

/** Runs the child and kills it `ms` after it begins. Returns whether it had finished. */
async function killed(path: string, what: string, ms: number): Promise<boolean> {
  const child = spawn(process.execPath, ["--conditions=source", CHILD, path, what], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const output = text(child.stdout);
  child.stdout.once("data", () => setTimeout(() => child.kill("SIGKILL"), ms));
  const [, signal] = (await once(child, "exit")) as [number | null, string | null];
  assert.equal(signal, "SIGKILL", "the child ran until it was killed");
  return (await output).includes("done");
}

async function entriesOf({ store }: StoreFixture): Promise<RosterEntry[]> {
  const entries: RosterEntry[] = [];
  for (let since: number | undefined = 0; since !== undefined; ) {
    const page = await store.listEntries("g", since, 10_000);
    entries.push(...page.entries);
    since = page.next;
  }
  return entries;
}

/** The subjects' templates in three blocks, two of which hold one of "kept" too, and some loose ones. */
async function enroll(fixture: StoreFixture, round: number): Promise<void> {
  for (let block = 0; block < 3; block++) {
    const slots = Array.from({ length: 4000 }, (_, i) => ({
      templateId: `t-${round}-${block}-${i}`,
      subjectId: `s-${i % 3}`,
    }));
    await fixture.putPacked(
      block === 2 ? slots : [...slots, { templateId: `kept-${block}`, subjectId: "kept" }],
      `${round} ${block}`,
      "g",
      1,
    );
  }
  await Promise.all(Array.from({ length: 300 }, (_, i) => fixture.put(`loose-${round}-${i}`, `s-${i % 3}`)));
}

test("after kill -9 at any moment of a long deletion every template is there whole or gone, and repeating it deletes the rest", {
  timeout: 300_000,
}, async () => {
  await using fixture = await StoreFixture.withGallery();
  let interrupted = 0;
  for (const [round, ms] of [0, 30, 80, 160, 300, 600].entries()) {
    await enroll(fixture, round);
    await fixture.store.close();
    const done = await killed(fixture.path, "templates", ms);
    await fixture.reopen();
    const live = (await entriesOf(fixture)).filter((entry) => entry.live !== undefined);
    assert.equal(fixture.store.getGallery("g").templateCount, live.length);
    const bySubject = await Promise.all(
      ["s-0", "s-1", "s-2", "kept"].map((subjectId) => fixture.store.entriesOfSubject("g", subjectId)),
    );
    assert.equal(bySubject.flat().length, live.length);
    const blocks = new Set(live.map((entry) => entry.live!.placement.block));
    assert.deepEqual(new Set((await fixture.store.listBlocks("g")).blocks.map(({ block }) => block)), blocks);
    assert.equal(
      (await readAll(fixture)).size,
      live.filter(({ templateId }) => templateId.startsWith("loose")).length +
        3 *
          new Set(
            live
              .filter(({ templateId }) => !templateId.startsWith("loose"))
              .map((entry) => entry.live!.placement.block),
          ).size,
    );
    if (done) assert.equal(live.length, 2, "an acknowledged deletion stays");
    else if (live.length < 12_302 && live.length > 2) interrupted++;
    const rest = await fixture.store.deleteTemplates("g", { subjectIds: ["s-0", "s-1", "s-2"] });
    assert.equal(rest.count, live.length - 2);
    assert.deepEqual(
      (await entriesOf(fixture)).filter((entry) => entry.live !== undefined).map(({ templateId }) => templateId),
      ["kept-0", "kept-1"],
    );
  }
  assert.ok(interrupted > 0, "a deletion was cut off between two steps");
});

test("after kill -9 at any moment of a context's deletion it is there with all its galleries, or gone with all of them for good", {
  timeout: 300_000,
}, async () => {
  const GALLERIES = 1500;
  await using fixture = new StoreFixture();
  for (const ms of [0, 10, 30, 60, 120, 300]) {
    await fixture.store.createContext({ contextId: CONTEXT, scheme: PACKED });
    await Promise.all(
      Array.from({ length: GALLERIES }, (_, i) =>
        fixture.store.createGallery({ ...PLAIN, galleryId: `g-${i}`, contextId: CONTEXT }).catch(() => undefined),
      ),
    );
    assert.equal(fixture.store.listGalleries(CONTEXT, "", 2 * GALLERIES).galleries.length, GALLERIES);
    await fixture.store.close();
    await killed(fixture.path, "context", ms);
    await fixture.reopen();
    const isThere = fixture.store.listContexts("", 9).length === 1;
    assert.equal(fixture.store.listGalleries(undefined, "", 2 * GALLERIES).galleries.length, isThere ? GALLERIES : 0);
    if (isThere) continue;
    // Its removal goes on; who creates it again waits for that.
    await fixture.store.createContext({ contextId: CONTEXT, scheme: PACKED });
    assert.deepEqual(fixture.store.listGalleries(CONTEXT, "", 9), { galleries: [], next: undefined });
  }
});
