// Pages of everything that is listed, and what a page token is good for.
import assert from "node:assert/strict";
import { test } from "node:test";
import { EMBEDDING, SLOTS, enrollBlock, galleryOfBlocks } from "../support/independent/block-gallery.ts";
import { contractKey, startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import { COSINE_128, TestGallery, freshId } from "../support/independent/gallery-fixture.ts";
import type { EntryMessage } from "../support/independent/gallery-fixture.ts";
import { assertRefused } from "../support/independent/refusals.ts";

/** A page of any listing: its items are in a field that has the name of what is listed. */
type Page = Readonly<Record<string, unknown>> & { readonly next_page_token: string };

interface Subject {
  readonly subject_id: string;
  readonly template_count: number;
}

const { server, client } = await startContractServer();
const key = await contractKey("PACKED_N4096_Q30");
const otherKey = await contractKey("PACKED_N4096_Q30");
const wrongToken = {
  status: "INVALID_ARGUMENT",
  reason: "FIELD_INVALID",
  field: "page_token",
  says: /for this very listing/,
} as const;

async function pageOf(rpc: string, request: object): Promise<Page> {
  const [page] = await client.call<Page>(rpc, request);
  return page!;
}

/** All that is listed of a field, page by page; no page has more than was asked for. */
async function listed<T>(rpc: string, field: string, request: object, page_size: number): Promise<T[]> {
  const items: T[] = [];
  for (let page_token = ""; ; ) {
    const page = await pageOf(rpc, { ...request, page_size, page_token });
    const some = page[field] as T[];
    assert.ok(some.length <= page_size);
    items.push(...some);
    page_token = page.next_page_token;
    if (page_token === "") return items;
  }
}

const templatesOf = (gallery: TestGallery, subject_id: string, page_size: number): Promise<EntryMessage[]> =>
  listed("GalleryService/ListTemplates", "entries", { gallery_id: gallery.galleryId, subject_id }, page_size);

const subjectsOf = (gallery: TestGallery, page_size: number): Promise<Subject[]> =>
  listed("GalleryService/ListSubjects", "subjects", { gallery_id: gallery.galleryId }, page_size);

/** The subjects of these entries, each once, in the order of the oldest. */
function subjectsIn(live: readonly EntryMessage[]): Subject[] {
  const counts = new Map<string, number>();
  for (const { subject_id } of live) counts.set(subject_id, (counts.get(subject_id) ?? 0) + 1);
  return [...counts].map(([subject_id, template_count]) => ({ subject_id, template_count }));
}

/** Fails unless templates and subjects are listed as the change list has them, however long the pages are. */
async function assertListed(gallery: TestGallery): Promise<void> {
  const live = (await gallery.roster()).filter(({ deleted }) => !deleted);
  const subjects = subjectsIn(live);
  for (const pageSize of [1, 2, 3, 7, 1000]) {
    assert.deepEqual(await templatesOf(gallery, "", pageSize), live, `pages of ${pageSize}`);
    assert.deepEqual(await subjectsOf(gallery, pageSize), subjects, `pages of ${pageSize}`);
    for (const { subject_id } of subjects)
      assert.deepEqual(
        await templatesOf(gallery, subject_id, pageSize),
        live.filter((entry) => entry.subject_id === subject_id),
        `${subject_id} in pages of ${pageSize}`,
      );
  }
}

/** Three subjects with loose and packed templates, and two with one kind. */
async function mixedGallery(): Promise<TestGallery> {
  const gallery = await galleryOfBlocks(client, key);
  const loose = (template_id: string, subject_id: string) => ({ template_id, subject_id, embedding: EMBEDDING });
  const packed = (template_id: string, subject_id: string) => ({ template_id, subject_id });
  await gallery.enroll([loose("l-1", "ada"), loose("l-2", "bob"), loose("l-3", "ada")]);
  await enrollBlock(gallery, [packed("p-1", "cid"), packed("p-2", "bob"), packed("p-3", "cid"), packed("p-4", "ada")]);
  await gallery.enroll([loose("l-4", "dan"), loose("l-5", "cid")]);
  await enrollBlock(gallery, [packed("p-5", "eve"), packed("p-6", "bob")]);
  return gallery;
}

test("templates and subjects are listed in the order of their changes, loose and packed ones, each once over all pages", async () => {
  const gallery = await mixedGallery();
  assert.deepEqual(await subjectsOf(gallery, 2), [
    { subject_id: "ada", template_count: 3 },
    { subject_id: "bob", template_count: 3 },
    { subject_id: "cid", template_count: 3 },
    { subject_id: "dan", template_count: 1 },
    { subject_id: "eve", template_count: 1 },
  ]);
  assert.deepEqual(
    (await templatesOf(gallery, "ada", 2)).map(({ template_id }) => template_id),
    ["l-1", "l-3", "p-4"],
  );
  await assertListed(gallery);
});

test("what is deleted or replaced is listed no more, a subject with nothing left is none, and the others' counts are right", async () => {
  const gallery = await mixedGallery();
  await gallery.delete({ template_ids: ["l-1", "p-2", "p-5"] });
  assert.deepEqual(
    (await subjectsOf(gallery, 3)).map(({ subject_id, template_count }) => [subject_id, template_count]),
    [
      ["bob", 2],
      ["ada", 2],
      ["cid", 3],
      ["dan", 1],
    ],
  );
  await assertListed(gallery);
  await gallery.enroll([
    { template_id: "p-1", subject_id: "ada", embedding: EMBEDDING },
    { template_id: "l-4", subject_id: "eve", embedding: EMBEDDING },
  ]);
  assert.deepEqual(
    new Map((await subjectsOf(gallery, 3)).map(({ subject_id, template_count }) => [subject_id, template_count])),
    new Map([
      ["bob", 2],
      ["ada", 3],
      ["cid", 2],
      ["eve", 1],
    ]),
  );
  await assertListed(gallery);
  await gallery.delete({ subject_ids: ["ada", "bob", "cid", "eve"] });
  assert.deepEqual([await subjectsOf(gallery, 3), await templatesOf(gallery, "", 3)], [[], []]);
  assert.deepEqual(await templatesOf(gallery, "ada", 3), []);
});

test("a page size of 0 gives the usual, and one above the most gives the most", async () => {
  const gallery = await galleryOfBlocks(client, key);
  await enrollBlock(
    gallery,
    Array.from({ length: SLOTS }, (_, i) => ({ template_id: `t-${i}`, subject_id: `s-${i}` })),
  );
  for (const [rpc, field] of [
    ["ListTemplates", "entries"],
    ["ListTemplateChanges", "entries"],
    ["ListSubjects", "subjects"],
  ] as const) {
    const page = (page_size: number) => pageOf(`GalleryService/${rpc}`, { gallery_id: gallery.galleryId, page_size });
    assert.equal(((await page(0))[field] as object[]).length, 1000, rpc);
    const most = await page(10_000);
    assert.ok((most[field] as object[]).length > 1000, rpc);
    for (const size of [10_001, 2 ** 31 - 1]) assert.deepEqual(await page(size), most, rpc);
    const all = await listed<object>(`GalleryService/${rpc}`, field, { gallery_id: gallery.galleryId }, 2 ** 31 - 1);
    assert.equal(all.length, SLOTS, rpc);
  }
});

test("galleries and contexts: a page size of 0 gives the usual, and one above the most gives the most", async () => {
  const { key: owner } = await TestGallery.create(client, otherKey);
  const packed = { parameter_set: `PARAMETER_SET_${owner.set}` };
  const numbered = (i: number): Buffer => Buffer.alloc(32, `${i} `);
  for (let at = 0; at < 1000; at += 50) {
    const some = Array.from({ length: 50 }, (_, i) => at + i);
    await Promise.all(
      some.flatMap((i) => [
        client.call("GalleryService/CreateGallery", {
          gallery: { gallery_id: freshId("many"), context_id: owner.contextId, space: COSINE_128 },
        }),
        client.call("ContextService/CreateContext", {
          new_context: { context: { packed: { ...packed, key_id: numbered(i) } } },
        }),
      ]),
    );
  }
  for (const [rpc, field, request] of [
    ["GalleryService/ListGalleries", "galleries", { context_id: owner.contextId }],
    ["ContextService/ListContexts", "contexts", {}],
  ] as const) {
    const page = (page_size: number) => pageOf(rpc, { ...request, page_size });
    assert.equal(((await page(0))[field] as object[]).length, 100, rpc);
    const most = await page(1000);
    assert.equal((most[field] as object[]).length, 1000, rpc);
    assert.notEqual(most.next_page_token, "", rpc);
    for (const size of [1001, 2 ** 31 - 1]) assert.deepEqual(await page(size), most, rpc);
  }
});

test("a page of galleries with as many labels as they may have stays below what gRPC's clients take", async () => {
  const owner = await contractKey("PACKED_N4096_Q30");
  await TestGallery.create(client, owner);
  // Three bytes each in UTF-8.
  const value = "€".repeat(256);
  const labels = Array.from({ length: 64 }, (_, i) => ({ key: `label-${i}`, value }));
  const ids = Array.from({ length: 100 }, (_, i) => `labelled-${String(i).padStart(3, "0")}`);
  for (const gallery_id of ids)
    await client.call("GalleryService/CreateGallery", {
      gallery: { gallery_id, context_id: owner.contextId, space: COSINE_128, labels },
    });
  const all = await listed<{ gallery_id: string; labels: object[] }>(
    "GalleryService/ListGalleries",
    "galleries",
    { context_id: owner.contextId },
    1000,
  );
  const labelled = all.filter(({ gallery_id }) => gallery_id.startsWith("labelled-"));
  assert.deepEqual(
    labelled.map(({ gallery_id }) => gallery_id),
    ids,
  );
  assert.ok(labelled.every((gallery) => gallery.labels.length === 64));
});

test("a page token of another listing, or with other parameters, is refused; another page size is not", async () => {
  const [one, other] = [await mixedGallery(), await mixedGallery()];
  await TestGallery.create(client, otherKey);
  const gallery_id = one.galleryId;
  /** Every listing, and its other parameters. */
  const listings: readonly (readonly [rpc: string, request: object, others: readonly object[]])[] = [
    ["ContextService/ListContexts", {}, []],
    ["GalleryService/ListGalleries", {}, [{ context_id: key.contextId }]],
    ["GalleryService/ListGalleries", { context_id: key.contextId }, [{}, { context_id: otherKey.contextId }]],
    [
      "GalleryService/ListTemplates",
      { gallery_id },
      [{ gallery_id: other.galleryId }, { gallery_id, subject_id: "ada" }],
    ],
    [
      "GalleryService/ListTemplates",
      { gallery_id, subject_id: "ada" },
      [{ gallery_id }, { gallery_id, subject_id: "bob" }, { gallery_id: other.galleryId, subject_id: "ada" }],
    ],
    ["GalleryService/ListSubjects", { gallery_id }, [{ gallery_id: other.galleryId }]],
    [
      "GalleryService/ListTemplateChanges",
      { gallery_id, since_revision: 1 },
      [{ gallery_id: other.galleryId, since_revision: 1 }, { gallery_id }, { gallery_id, since_revision: 2 }],
    ],
  ];
  for (const [k, [rpc, request, others]] of listings.entries()) {
    const { next_page_token: page_token } = await pageOf(rpc, { ...request, page_size: 1 });
    assert.notEqual(page_token, "", rpc);
    const second = await pageOf(rpc, { ...request, page_size: 1, page_token });
    const rest = await pageOf(rpc, { ...request, page_size: 1000, page_token });
    const [[, some], [, all]] = [second, rest].map((page) => Object.entries(page)[0]!) as [
      [string, object[]],
      [string, object[]],
    ];
    assert.deepEqual(some, all.slice(0, 1), `${rpc}: the page begins where the last one ended`);
    for (const parameters of others) await assertRefused(client.call(rpc, { ...parameters, page_token }), wrongToken);
    for (const [otherRpc, otherRequest] of listings.filter(([name], at) => at !== k && name !== rpc))
      await assertRefused(client.call(otherRpc, { ...otherRequest, page_token }), wrongToken);
    const changed = `${page_token.startsWith("A") ? "B" : "A"}${page_token.slice(1)}`;
    for (const token of [changed, page_token.slice(1), page_token.slice(0, 10), `${page_token}=`])
      await assertRefused(client.call(rpc, { ...request, page_token: token }), wrongToken);
  }
});

testThatTheLogTellsNothing(server);
