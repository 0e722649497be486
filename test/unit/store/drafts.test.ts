import assert from "node:assert/strict";
import { test } from "node:test";
import { CONTEXT, PACKED, PACKED_STRIDE, PLAIN, StoreFixture, hasReason, readAll } from "./fixture.ts";

const OTHER = "d".repeat(64);
const ids = ({ store }: StoreFixture, contextId?: string): string[] =>
  store.listGalleries(contextId, "", 9).galleries.map(({ galleryId }) => galleryId);
const slots = [
  { templateId: "a", subjectId: "s" },
  { templateId: "b", subjectId: "s" },
];

/** With gallery "g" of two packed templates, and a draft of it, "d", in another context. */
async function withDraft(): Promise<StoreFixture> {
  const fixture = await StoreFixture.withGallery();
  await fixture.putPacked(slots, "old");
  await fixture.store.createContext({ contextId: OTHER, scheme: { ...PACKED, parameterSet: "PACKED_N4096_Q30" } });
  await fixture.store.createGallery({
    ...PLAIN,
    galleryId: "d",
    contextId: OTHER,
    packedStride: 4,
    expectedTemplates: 5000,
    draftOf: "g",
  });
  return fixture;
}

test("a gallery is stored with its packed stride, its expected size and what it is a draft of", async () => {
  await using fixture = await withDraft();
  await fixture.reopen();
  const [draft, gallery] = fixture.store.listGalleries(undefined, "", 9).galleries;
  assert.deepEqual(
    [gallery?.packedStride, gallery?.expectedTemplates, gallery?.draftOf],
    [PACKED_STRIDE, 0, undefined],
  );
  assert.deepEqual([draft?.packedStride, draft?.expectedTemplates, draft?.draftOf], [4, 5000, "g"]);
});

test("a draft of a gallery that is not there, or of a draft, is refused", async () => {
  await using fixture = await withDraft();
  await assert.rejects(
    fixture.store.createGallery({ ...PLAIN, galleryId: "e", contextId: CONTEXT, draftOf: "x" }),
    hasReason("GALLERY_NOT_FOUND"),
  );
  await assert.rejects(
    fixture.store.createGallery({ ...PLAIN, galleryId: "e", contextId: CONTEXT, draftOf: "d" }),
    hasReason("FIELD_INVALID"),
  );
  assert.deepEqual(ids(fixture), ["d", "g"]);
});

test("a draft takes its gallery's place with its context and its templates, and its own id is free", async () => {
  await using fixture = await withDraft();
  const { store } = fixture;
  const draft = store.getGallery("d");
  const old = store.getGallery("g");
  await fixture.putPacked(slots.slice(1), "new", "d", 4);
  const replaced = await store.replaceGallery("g", "d", old.revision);
  assert.deepEqual(replaced, {
    ...draft,
    galleryId: "g",
    templateCount: 1,
    strides: [4],
    revision: old.revision + 2,
    draftOf: undefined,
  });
  assert.deepEqual([ids(fixture), ids(fixture, CONTEXT), ids(fixture, OTHER)], [["g"], [], ["g"]]);
  const { entries } = await store.listEntries("g", old.revision, 9);
  assert.deepEqual(
    entries.map(({ templateId, live }) => [templateId, live?.placement.block]),
    [["b", 1]],
  );
  await fixture.reopen();
  assert.deepEqual(fixture.store.getGallery("g"), replaced);
  assert.equal((await readAll(fixture)).size, 3);
});

test("a gallery is not replaced by what is not its draft, or once it has changed", async () => {
  await using fixture = await withDraft();
  const { store } = fixture;
  const { revision } = store.getGallery("g");
  await store.createGallery({ ...PLAIN, galleryId: "e", contextId: CONTEXT });
  await assert.rejects(store.replaceGallery("x", "d", 0), hasReason("GALLERY_NOT_FOUND"));
  await assert.rejects(store.replaceGallery("g", "x", revision), hasReason("GALLERY_NOT_FOUND"));
  for (const [galleryId, draftId] of [
    ["g", "e"],
    ["e", "d"],
    ["g", "g"],
    ["d", "g"],
  ] as const) {
    await assert.rejects(
      store.replaceGallery(galleryId, draftId, store.getGallery(galleryId).revision),
      hasReason("GALLERY_CHANGED"),
    );
  }
  await assert.rejects(store.replaceGallery("g", "d", revision + 1), hasReason("GALLERY_CHANGED"));
  await store.deleteTemplates("g", { templateIds: ["a"] });
  for (const expected of [revision, revision + 1])
    await assert.rejects(store.replaceGallery("g", "d", expected), hasReason("GALLERY_CHANGED"));
  assert.deepEqual([ids(fixture), store.getGallery("g").templateCount], [["d", "e", "g"], 1]);
});

test("of two drafts of a gallery the first one wins, and the second is told so", async () => {
  await using fixture = await withDraft();
  const { store } = fixture;
  const { revision } = store.getGallery("g");
  await store.createGallery({ ...PLAIN, galleryId: "e", contextId: CONTEXT, draftOf: "g" });
  const settled = await Promise.allSettled([
    store.replaceGallery("g", "d", revision),
    store.replaceGallery("g", "e", revision),
  ]);
  assert.deepEqual(
    settled.map(({ status }) => status),
    ["fulfilled", "rejected"],
  );
  assert.ok(hasReason("GALLERY_CHANGED")((settled[1] as PromiseRejectedResult).reason));
  assert.deepEqual([ids(fixture), store.getGallery("e").draftOf], [["e", "g"], "g"]);
  await store.deleteGallery("g");
  assert.deepEqual(ids(fixture), []);
});

test("a gallery's drafts go with it, in whatever context they are", async () => {
  await using fixture = await withDraft();
  await fixture.store.deleteContext(CONTEXT, true);
  assert.deepEqual(ids(fixture), []);
  await fixture.store.deleteContext(OTHER, false);
});

test("a draft that is deleted leaves its gallery as it is", async () => {
  await using fixture = await withDraft();
  await fixture.store.deleteContext(OTHER, true);
  assert.deepEqual([ids(fixture), fixture.store.getGallery("g").templateCount], [["g"], 2]);
  await fixture.store.createGallery({ ...PLAIN, galleryId: "d", contextId: CONTEXT, draftOf: "g" });
  await fixture.store.replaceGallery("g", "d", fixture.store.getGallery("g").revision);
  assert.equal(fixture.store.getGallery("g").templateCount, 0);
});

test("a gallery takes sixteen drafts and not one more, until one of them goes", async () => {
  await using fixture = await StoreFixture.withGallery();
  const { store } = fixture;
  const draft = (i: number) => store.createGallery({ ...PLAIN, galleryId: `d-${i}`, contextId: CONTEXT, draftOf: "g" });
  for (let i = 0; i < 16; i++) await draft(i);
  await assert.rejects(
    draft(16),
    (error: Error) => hasReason("QUOTA_EXCEEDED")(error) && /16 drafts.*--discard-drafts/.test(error.message),
  );
  await store.deleteGallery("d-3");
  await draft(16);
  await store.replaceGallery("g", "d-5", 0);
  await draft(17);
  await assert.rejects(draft(18), hasReason("QUOTA_EXCEEDED"));
  await store.deleteGallery("g");
  assert.deepEqual(ids(fixture), []);
});

test("a draft that nothing was written to for a day is gone after the next start, and one that was written to is not", async (t) => {
  t.mock.timers.enable({ apis: ["Date"], now: 1e12 });
  const HOUR = 60 * 60 * 1000;
  await using fixture = await withDraft();
  await fixture.store.createGallery({ ...PLAIN, galleryId: "e", contextId: CONTEXT, draftOf: "g" });
  t.mock.timers.setTime(1e12 + 23 * HOUR);
  await fixture.putPacked(slots, "packed", "e");
  await fixture.reopen();
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.deepEqual(ids(fixture), ["d", "e", "g"]);
  t.mock.timers.setTime(1e12 + 24 * HOUR);
  await fixture.reopen();
  for (let tries = 0; tries < 100 && ids(fixture).includes("d"); tries++)
    await new Promise((resolve) => setTimeout(resolve, 50));
  assert.deepEqual(ids(fixture), ["e", "g"]);
  t.mock.timers.setTime(1e12 + 46 * HOUR);
  await fixture.put("loose", "s", undefined, "e");
  t.mock.timers.setTime(1e12 + 69 * HOUR);
  await fixture.reopen();
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.deepEqual(ids(fixture), ["e", "g"], "a template enrolled alone is a write too");
});
