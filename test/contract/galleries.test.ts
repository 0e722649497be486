import assert from "node:assert/strict";
import { test } from "node:test";
import { COSINE_128, EUCLIDEAN_128, TestGallery, freshId } from "../support/independent/gallery-fixture.ts";
import type { GalleryMessage } from "../support/independent/gallery-fixture.ts";
import { contractKey, startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import { CallRefused } from "../support/independent/independent-client.ts";
import { randomEmbedding } from "../support/independent/independent-encoding.ts";
import { assertRefused } from "../support/independent/refusals.ts";

interface GalleryPage {
  readonly galleries: readonly GalleryMessage[];
  readonly next_page_token: string;
}

const { server, client } = await startContractServer();
const key = await contractKey();
const otherKey = await contractKey("PACKED_N4096_Q30");
const invalid = { status: "INVALID_ARGUMENT", reason: "FIELD_INVALID" } as const;
const unknown = { status: "NOT_FOUND", reason: "GALLERY_NOT_FOUND" } as const;
/** Every rpc that takes a gallery's id and needs nothing else. */
const BY_GALLERY = [
  "GetGallery",
  "DeleteGallery",
  "ListTemplates",
  "ListSubjects",
  "ListTemplateChanges",
  "DeleteTemplates",
  "ReadTemplates",
];
const BAD_IDS = ["", "Upper", "a_b", "a b", "a/b", "a".repeat(65), "é", "名前", "a\u0000", "a\n"];

const create = (gallery: object) =>
  client.call<{ gallery: GalleryMessage }>("GalleryService/CreateGallery", { gallery });

test("a new gallery is empty, at revision 0, and reads back as it was created", async () => {
  const gallery = await TestGallery.create(client, key, EUCLIDEAN_128);
  const { create_time, uid, ...described } = await gallery.describe();
  assert.equal(uid.length, 16, "drawn by the server, since the client drew none");
  assert.deepEqual(described, {
    gallery_id: gallery.galleryId,
    context_id: key.contextId,
    space: { ...EUCLIDEAN_128, model_version: "" },
    strides: [],
    template_count: 0,
    revision: 0,
    packed_stride: 6,
    expected_templates: 10_000,
    draft_of: "",
    labels: [],
  });
  assert.ok(Math.abs(create_time.seconds - Date.now() / 1000) < 60);
});

test("output-only fields of a gallery to be created are ignored", async () => {
  const { context_id, space, gallery_id } = await (await TestGallery.create(client, key)).describe();
  const [answer] = await create({
    gallery_id: `${gallery_id}-b`,
    context_id,
    space,
    strides: [7],
    template_count: 5,
    revision: 9,
    create_time: { seconds: 1 },
  });
  assert.deepEqual(
    { ...answer!.gallery, create_time: null, uid: null },
    {
      gallery_id: `${gallery_id}-b`,
      context_id,
      space,
      strides: [],
      template_count: 0,
      revision: 0,
      create_time: null,
      packed_stride: 8,
      expected_templates: 10_000,
      draft_of: "",
      labels: [],
      uid: null,
    },
  );
});

test("ids of one and of 64 characters are accepted", async () => {
  for (const galleryId of ["0", "-", "a".repeat(64)])
    assert.equal(
      (await (await TestGallery.create(client, key, COSINE_128, galleryId)).describe()).gallery_id,
      galleryId,
    );
});

test("a gallery id that is taken is refused, and the gallery that has it stays as it is", async () => {
  const gallery = await TestGallery.create(client, key);
  await gallery.enroll([{ template_id: "t", subject_id: "s", embedding: randomEmbedding(128) }]);
  const before = await gallery.describe();
  const again = create({
    gallery_id: gallery.galleryId,
    context_id: key.contextId,
    space: { ...COSINE_128, dimension: 64 },
  });
  await assertRefused(again, {
    status: "ALREADY_EXISTS",
    reason: "GALLERY_EXISTS",
    says: new RegExp(gallery.galleryId),
  });
  assert.deepEqual(await gallery.describe(), before);
});

test("galleries are listed in the order of their ids, page by page, of one context or of all", async () => {
  const mine = await Promise.all(Array.from({ length: 5 }, () => TestGallery.create(client, otherKey, COSINE_128)));
  const ids = mine.map((gallery) => gallery.galleryId).sort();
  const listed: string[] = [];
  for (let token = ""; ; ) {
    const [page] = await client.call<GalleryPage>("GalleryService/ListGalleries", {
      context_id: otherKey.contextId,
      page_size: 2,
      page_token: token,
    });
    assert.ok(page!.galleries.length <= 2);
    listed.push(...page!.galleries.map((gallery) => gallery.gallery_id));
    token = page!.next_page_token;
    if (token === "") break;
  }
  assert.deepEqual(listed, ids);
  const [all] = await client.call<GalleryPage>("GalleryService/ListGalleries", { page_size: 1000 });
  const everything = all!.galleries.map((gallery) => gallery.gallery_id);
  assert.deepEqual(everything, [...new Set(everything)].sort());
  assert.ok(everything.length > ids.length && ids.every((id) => everything.includes(id)));
});

test("a deleted gallery is gone with its templates, and a new one of its name starts empty", async () => {
  const gallery = await TestGallery.create(client, key);
  await gallery.enroll([{ template_id: "t", subject_id: "s", embedding: randomEmbedding(128) }]);
  await client.call("GalleryService/DeleteGallery", { gallery_id: gallery.galleryId });
  await assertRefused(gallery.describe(), unknown);
  const [all] = await client.call<GalleryPage>("GalleryService/ListGalleries", { page_size: 1000 });
  assert.ok(!all!.galleries.some(({ gallery_id }) => gallery_id === gallery.galleryId));
  const again = await TestGallery.create(client, key, COSINE_128, gallery.galleryId);
  assert.equal((await again.describe()).template_count, 0);
  assert.deepEqual(await again.roster(), []);
  assert.equal((await again.search(randomEmbedding(128))).size, 0);
});

test("every rpc that takes a gallery refuses one that does not exist", async () => {
  const gallery = new TestGallery(client, key, COSINE_128, freshId("nowhere"));
  const { gallery_id } = gallery.target;
  const says = new RegExp(gallery_id);
  for (const rpc of BY_GALLERY) {
    await assertRefused(client.call(`GalleryService/${rpc}`, { gallery_id }), { ...unknown, says });
  }
  await assertRefused(gallery.enroll([]), { ...unknown, says });
  await assertRefused(gallery.search(randomEmbedding(128)), { ...unknown, says });
  await assertRefused(gallery.compare("s", randomEmbedding(128)), { ...unknown, says });
});

test("every rpc that takes a gallery refuses an id that cannot be one", async () => {
  for (const gallery_id of BAD_IDS) {
    const says = /1 to 64 characters/;
    for (const rpc of BY_GALLERY) {
      await assertRefused(client.call(`GalleryService/${rpc}`, { gallery_id }), {
        ...invalid,
        field: "gallery_id",
        says,
      });
    }
    await assertRefused(create({ gallery_id, context_id: key.contextId, space: COSINE_128 }), {
      ...invalid,
      field: "gallery.gallery_id",
      says,
    });
    const gallery = new TestGallery(client, key, COSINE_128, gallery_id);
    for (const call of [
      () => gallery.enroll([]),
      () => gallery.search(randomEmbedding(128)),
      () => gallery.compare("s", randomEmbedding(128)),
    ]) {
      await assertRefused(call(), { ...invalid, field: "target.gallery_id", says });
    }
  }
});

test("an embedding space out of range is refused", async () => {
  const euclidean = { metric: "METRIC_EUCLIDEAN" };
  const cases: [object, string, RegExp][] = [
    ...[0, -1, 2049, 2 ** 31 - 1].map((dimension): [object, string, RegExp] => [
      { dimension },
      "dimension",
      /\[1, 2048\]/,
    ]),
    ...[0, 3, 99].map((metric): [object, string, RegExp] => [{ metric }, "metric", /METRIC_COSINE/]),
    ...BAD_IDS.map((model_id): [object, string, RegExp] => [{ model_id }, "model_id", /1 to 64/]),
    ...[0, 2, NaN].map((norm_bound): [object, string, RegExp] => [{ norm_bound }, "norm_bound", /1 for METRIC_COSINE/]),
    ...[0, -1, 9e-7, 1.1e6, Infinity, NaN].map((norm_bound): [object, string, RegExp] => [
      { norm_bound, ...euclidean },
      "norm_bound",
      /\[1e-6, 1e6\]/,
    ]),
  ];
  for (const [wrong, field, says] of cases) {
    const gallery_id = freshId("bad");
    await assertRefused(create({ gallery_id, context_id: key.contextId, space: { ...COSINE_128, ...wrong } }), {
      ...invalid,
      field: `gallery.space.${field}`,
      says,
    });
    await assertRefused(client.call("GalleryService/GetGallery", { gallery_id }), unknown);
  }
  await assertRefused(create({ gallery_id: freshId("bad"), context_id: key.contextId }), {
    ...invalid,
    field: "gallery.space",
  });
  await assertRefused(client.call("GalleryService/CreateGallery", {}), { ...invalid, field: "gallery" });
  await assertRefused(create({ gallery_id: freshId("bad"), context_id: "short", space: COSINE_128 }), {
    ...invalid,
    field: "gallery.context_id",
  });
});

test("page sizes below 0 and page tokens that are none are refused", async () => {
  const { galleryId } = await TestGallery.create(client, key);
  for (const page_size of [-1, -(2 ** 31)]) {
    await assertRefused(client.call("GalleryService/ListGalleries", { page_size }), {
      ...invalid,
      field: "page_size",
      says: /1000/,
    });
  }
  for (const rpc of ["ListTemplates", "ListSubjects", "ListTemplateChanges"]) {
    const list = (asked: object) => client.call(`GalleryService/${rpc}`, { gallery_id: galleryId, ...asked });
    for (const page_size of [-1, -(2 ** 31)])
      await assertRefused(list({ page_size }), { ...invalid, field: "page_size", says: /10000/ });
    for (const page_token of ["no token", "-1", "1.5", "0x10", "1e3", " ", "9".repeat(30), "x".repeat(5000)])
      await assertRefused(list({ page_token }), { ...invalid, field: "page_token" });
  }
  for (const page_token of ["no token", "A", "x".repeat(5000)]) {
    await assertRefused(client.call("GalleryService/ListGalleries", { page_token }), {
      ...invalid,
      field: "page_token",
    });
  }
  await assertRefused(client.call("GalleryService/ListGalleries", { context_id: "short" }), {
    ...invalid,
    field: "context_id",
  });
});

test("revisions out of range are refused", async () => {
  const { galleryId } = await TestGallery.create(client, key);
  const list = (since_revision: number | string) =>
    client.call("GalleryService/ListTemplateChanges", { gallery_id: galleryId, since_revision });
  await assertRefused(list(-1), { ...invalid, field: "since_revision" });
  // Beyond 2^53 a number is not read at all: gRPC itself refuses the message, without a reason.
  for (const revision of ["9007199254740993", "9223372036854775807", "-9223372036854775808"])
    await assert.rejects(list(revision), CallRefused);
});

test("more ids to delete than 10000, and ids that cannot be one, are refused", async () => {
  const { galleryId } = await TestGallery.create(client, key);
  for (const field of ["template_ids", "subject_ids"]) {
    const many = Array.from({ length: 10_001 }, (_, i) => `t-${i}`);
    await assertRefused(client.call("GalleryService/DeleteTemplates", { gallery_id: galleryId, [field]: many }), {
      ...invalid,
      field,
      says: /10000/,
    });
    for (const id of BAD_IDS)
      await assertRefused(
        client.call("GalleryService/DeleteTemplates", { gallery_id: galleryId, [field]: ["fine", id] }),
        { ...invalid, field },
      );
  }
});

testThatTheLogTellsNothing(server);
