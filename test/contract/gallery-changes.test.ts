import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { contractKey, startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import { COSINE_128, TestGallery, freshId } from "../support/independent/gallery-fixture.ts";
import type { GalleryMessage } from "../support/independent/gallery-fixture.ts";
import { randomEmbedding } from "../support/independent/independent-encoding.ts";
import { assertRefused } from "../support/independent/refusals.ts";

const { server, client } = await startContractServer();
const key = await contractKey();
const invalid = { status: "INVALID_ARGUMENT", reason: "FIELD_INVALID" } as const;
const taken = { status: "ALREADY_EXISTS", reason: "GALLERY_EXISTS" } as const;
const base = await TestGallery.create(client, key);

interface Answer {
  readonly gallery: GalleryMessage;
}

async function create(gallery: object): Promise<GalleryMessage> {
  const asked = { context_id: key.contextId, space: COSINE_128, ...gallery };
  const [answer] = await client.call<Answer>("GalleryService/CreateGallery", { gallery: asked });
  return answer!.gallery;
}

async function update(gallery: object, paths: readonly string[]): Promise<GalleryMessage> {
  const request = { gallery, update_mask: { paths } };
  const [answer] = await client.call<Answer>("GalleryService/UpdateGallery", request);
  return answer!.gallery;
}

const label = (name: string, value: string): object => ({ key: name, value });

test("a creation whose answer was lost may be repeated, by its uid; another one is refused, whatever it shares", async () => {
  const asked = { gallery_id: freshId("again"), uid: randomBytes(16), labels: [label("site", "north")] };
  const first = await create(asked);
  assert.deepEqual([first.uid, first.labels], [asked.uid, asked.labels]);
  assert.deepEqual(await create(asked), first);
  await assertRefused(create({ ...asked, uid: randomBytes(16) }), taken);
  await assertRefused(create({ ...asked, uid: Buffer.alloc(0) }), taken);
  for (const other of [{ labels: [] }, { expected_templates: 5 }, { space: { ...COSINE_128, dimension: 64 } }]) {
    await assertRefused(create({ ...asked, ...other }), taken);
  }
  for (const uid of [Buffer.alloc(15), Buffer.alloc(17)]) {
    await assertRefused(create({ gallery_id: freshId("bad"), uid }), { ...invalid, field: "gallery.uid" });
  }
});

test("galleries without a uid of their client's get one each", async () => {
  const uids = [await create({ gallery_id: freshId("a") }), await create({ gallery_id: freshId("b") })].map(({ uid }) =>
    uid.toString("hex"),
  );
  assert.ok(new Set(uids).size === 2 && uids.every((uid) => uid.length === 32));
});

test("an update changes what its mask names and nothing else, also when it is repeated", async () => {
  const gallery_id = freshId("update");
  const before = await create({ gallery_id, labels: [label("old", "1")] });
  const labels = [label("site", "north"), label("owner", "security")];
  for (let i = 0; i < 2; i++) {
    const after = await update({ gallery_id, labels, expected_templates: 7 }, ["labels"]);
    assert.deepEqual({ ...after, labels: new Set(after.labels) }, { ...before, labels: new Set(labels) });
  }
  const both = await update({ gallery_id, labels: [], expected_templates: 7 }, ["labels", "expected_templates"]);
  assert.deepEqual([both.labels, both.revision], [[], before.revision]);
  assert.deepEqual((await client.call<Answer>("GalleryService/GetGallery", { gallery_id }))[0]!.gallery, both);
});

test("what an update cannot change, or labels that cannot be, are refused, and nothing changes", async () => {
  const gallery_id = freshId("update");
  const before = await create({ gallery_id });
  for (const paths of [[], ["space"], ["labels", "uid"]]) {
    await assertRefused(update({ gallery_id }, paths), { ...invalid, field: "update_mask" });
  }
  const many = Array.from({ length: 65 }, (_, i) => label(`k${i}`, ""));
  for (const labels of [[label("", "x")], [label("Upper", "x")], [label("k", "x".repeat(257))], many]) {
    await assertRefused(update({ gallery_id, labels }, ["labels"]), { ...invalid, field: "gallery.labels" });
  }
  const negative = update({ gallery_id, expected_templates: -1 }, ["expected_templates"]);
  await assertRefused(negative, { ...invalid, field: "gallery.expected_templates" });
  const missing = update({ gallery_id: "nowhere", labels: [] }, ["labels"]);
  await assertRefused(missing, { status: "NOT_FOUND", reason: "GALLERY_NOT_FOUND" });
  assert.deepEqual((await client.call<Answer>("GalleryService/GetGallery", { gallery_id }))[0]!.gallery, before);
});

test("a gallery that is replaced has its draft's uid and keeps its labels; the replacement may be repeated by that uid", async () => {
  const [gallery_id, draft_id] = [freshId("old"), freshId("draft")];
  const old = await create({ gallery_id, labels: [label("site", "north")] });
  const draft = await create({ gallery_id: draft_id, draft_of: gallery_id, uid: randomBytes(16) });
  const filled = new TestGallery(client, key, COSINE_128, draft_id);
  await filled.enroll([{ template_id: "t", subject_id: "s", embedding: randomEmbedding(128) }]);
  const request = { gallery_id, draft_id, expected_revision: old.revision, draft_uid: draft.uid };
  for (let i = 0; i < 2; i++) {
    const [answer] = await client.call<Answer>("GalleryService/ReplaceGallery", request);
    const { uid, labels, template_count } = answer!.gallery;
    assert.deepEqual([uid, labels, template_count], [draft.uid, old.labels, 1]);
  }
  const unnamed = client.call("GalleryService/ReplaceGallery", { ...request, draft_uid: Buffer.alloc(0) });
  await assertRefused(unnamed, { status: "NOT_FOUND", reason: "GALLERY_NOT_FOUND" });
});

test("a 17th draft is refused with the quota that is used up, and there is room again once one is deleted", async () => {
  const gallery_id = freshId("drafted");
  await create({ gallery_id });
  const draft = (i: number) => create({ gallery_id: `${gallery_id}-${i}`.slice(-64), draft_of: gallery_id });
  for (let i = 0; i < 16; i++) await draft(i);
  const refusal = await assertRefused(draft(16), { status: "RESOURCE_EXHAUSTED", reason: "QUOTA_EXCEEDED" });
  const [quota, ...others] = refusal.quotas;
  assert.deepEqual([others, refusal.retryAfterMs], [[], undefined], "to try again does not help");
  assert.match(quota!.subject, new RegExp(`drafts of gallery.*${gallery_id}`));
  assert.match(quota!.description, /\b16\b.*delete/);
  await client.call("GalleryService/DeleteGallery", { gallery_id: `${gallery_id}-3`.slice(-64) });
  await draft(16);
});

test("deleting what is gone succeeds where that is allowed", async () => {
  const gallery_id = freshId("gone");
  await create({ gallery_id });
  for (let i = 0; i < 2; i++) await client.call("GalleryService/DeleteGallery", { gallery_id, allow_missing: true });
  await assertRefused(client.call("GalleryService/DeleteGallery", { gallery_id }), {
    status: "NOT_FOUND",
    reason: "GALLERY_NOT_FOUND",
  });
  const context_id = "ab".repeat(32);
  await client.call("ContextService/DeleteContext", { context_id, allow_missing: true });
  await assertRefused(client.call("ContextService/DeleteContext", { context_id }), {
    status: "NOT_FOUND",
    reason: "CONTEXT_NOT_FOUND",
  });
  assert.equal((await base.describe()).template_count, 0, "others are as they were");
});

test("the server says which it is and what it takes", async () => {
  const [answer] = await client.call<{ server_info: Record<string, unknown> }>("ServerService/GetServerInfo", {});
  const { version } = JSON.parse(readFileSync(new URL("../../server/package.json", import.meta.url), "utf8")) as {
    version: string;
  };
  assert.deepEqual(answer!.server_info, {
    version,
    schemes: ["packed", "pairwise"],
    parameter_sets: ["PARAMETER_SET_PACKED_N4096_Q60", "PARAMETER_SET_PACKED_N4096_Q30"],
    limits: {
      max_message_bytes: 4 << 20,
      max_key_bytes: 64 << 20,
      max_pairwise_ciphertext_bytes: 1_900_000,
      max_calls: 4000,
      max_data_bytes: 0,
    },
  });
});

testThatTheLogTellsNothing(server);
