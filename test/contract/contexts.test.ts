import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";
import { COSINE_128, TestGallery, freshId } from "../support/independent/gallery-fixture.ts";
import { contractKey, startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import { assertRefused } from "../support/independent/refusals.ts";

interface ContextAnswer {
  readonly context: {
    readonly context_id: string;
    readonly scheme: string;
    readonly packed: { readonly parameter_set: string; readonly key_id: Buffer };
    readonly create_time: { readonly seconds: number };
  };
}
interface ContextPage {
  readonly contexts: readonly ContextAnswer["context"][];
  readonly next_page_token: string;
}

const { server, client } = await startContractServer();
const key = await contractKey();

const packed = (keyId: Buffer, set = "PACKED_N4096_Q60") => ({
  context: { packed: { parameter_set: `PARAMETER_SET_${set}`, key_id: keyId } },
});
const creation = (context: object): object => ({ new_context: { context } });
const create = async (keyId: Buffer, set?: string) =>
  (await client.call<ContextAnswer>("ContextService/CreateContext", { new_context: packed(keyId, set) }))[0]!.context;
const unknownId = createHash("sha256").update("no such context").digest("hex");

for (const set of ["PACKED_N4096_Q60", "PACKED_N4096_Q30"]) {
  test(`a context of ${set} has the SHA-256 of its canonical content as its id`, async () => {
    const keyId = randomBytes(32);
    const context = await create(keyId, set);
    assert.equal(
      context.context_id,
      createHash("sha256")
        .update(`veilface.v1 packed ${set} ${keyId.toString("hex")}\n`)
        .digest("hex"),
    );
    assert.deepEqual(context.packed, { parameter_set: `PARAMETER_SET_${set}`, key_id: keyId });
    assert.ok(Math.abs(context.create_time.seconds - Date.now() / 1000) < 60);
  });
}

test("creating a context again changes nothing and gives the same context", async () => {
  const keyId = randomBytes(32);
  const first = await create(keyId);
  assert.deepEqual(await create(keyId), first);
  const [read] = await client.call<ContextAnswer>("ContextService/GetContext", { context_id: first.context_id });
  assert.deepEqual(read!.context, first);
});

test("output-only fields of a context to be created are ignored", async () => {
  const keyId = randomBytes(32);
  const { context } = packed(keyId);
  const [answer] = await client.call<ContextAnswer>(
    "ContextService/CreateContext",
    creation({ ...context, context_id: unknownId, create_time: { seconds: 1 } }),
  );
  assert.deepEqual(answer!.context, await create(keyId));
});

test("the same key id under two parameter sets makes two contexts", async () => {
  const keyId = randomBytes(32);
  assert.notEqual(
    (await create(keyId, "PACKED_N4096_Q60")).context_id,
    (await create(keyId, "PACKED_N4096_Q30")).context_id,
  );
});

test("contexts are listed once each, in the order of their ids, page by page", async () => {
  const created = await Promise.all(Array.from({ length: 5 }, () => create(randomBytes(32))));
  const listed: string[] = [];
  for (let token = ""; ; ) {
    const [page] = await client.call<ContextPage>("ContextService/ListContexts", { page_size: 2, page_token: token });
    assert.ok(page!.contexts.length <= 2);
    listed.push(...page!.contexts.map((context) => context.context_id));
    token = page!.next_page_token;
    if (token === "") break;
  }
  assert.deepEqual(listed, [...new Set(listed)].sort());
  for (const { context_id } of created) assert.ok(listed.includes(context_id));
  const [whole] = await client.call<ContextPage>("ContextService/ListContexts", {});
  assert.deepEqual(
    whole!.contexts.map((context) => context.context_id),
    listed,
  );
});

test("a context with galleries is deleted only by force, and its galleries go with it", async () => {
  const gallery = await TestGallery.create(client, key);
  await gallery.enroll([{ template_id: "t", subject_id: "s", embedding: [1, ...new Array<number>(127).fill(0)] }]);
  await assertRefused(client.call("ContextService/DeleteContext", { context_id: key.contextId }), {
    status: "FAILED_PRECONDITION",
    reason: "CONTEXT_IN_USE",
    says: /galler/,
  });
  assert.equal((await gallery.describe()).template_count, 1);
  await client.call("ContextService/DeleteContext", { context_id: key.contextId, force: true });
  await assertRefused(client.call("ContextService/GetContext", { context_id: key.contextId }), {
    status: "NOT_FOUND",
    reason: "CONTEXT_NOT_FOUND",
  });
  await assertRefused(gallery.describe(), { status: "NOT_FOUND", reason: "GALLERY_NOT_FOUND" });
});

test("a context without galleries is deleted, and can be created again", async () => {
  const keyId = randomBytes(32);
  const { context_id } = await create(keyId);
  await client.call("ContextService/DeleteContext", { context_id });
  await assertRefused(client.call("ContextService/GetContext", { context_id }), {
    status: "NOT_FOUND",
    reason: "CONTEXT_NOT_FOUND",
  });
  assert.equal((await create(keyId)).context_id, context_id);
});

for (const rpc of ["GetContext", "DeleteContext"]) {
  test(`${rpc} refuses an unknown context and an id that cannot be one`, async () => {
    await assertRefused(client.call(`ContextService/${rpc}`, { context_id: unknownId }), {
      status: "NOT_FOUND",
      reason: "CONTEXT_NOT_FOUND",
    });
    for (const context_id of ["", "x", unknownId.toUpperCase(), `${unknownId}0`, "é".repeat(64)]) {
      await assertRefused(client.call(`ContextService/${rpc}`, { context_id }), {
        status: "INVALID_ARGUMENT",
        reason: "FIELD_INVALID",
        field: "context_id",
        says: /64 lowercase hex/,
      });
    }
  });
}

test("a key id that has not 32 bytes is refused", async () => {
  for (const length of [0, 1, 31, 33, 64]) {
    await assertRefused(create(randomBytes(length)), {
      status: "INVALID_ARGUMENT",
      reason: "FIELD_INVALID",
      field: "new_context.context.packed.key_id",
      says: /32 bytes/,
    });
  }
});

test("an unknown parameter set is refused", async () => {
  for (const parameter_set of [0, 3, 99, -1]) {
    const request = creation({ packed: { parameter_set, key_id: randomBytes(32) } });
    await assertRefused(client.call("ContextService/CreateContext", request), {
      status: "INVALID_ARGUMENT",
      reason: "FIELD_INVALID",
      field: "new_context.context.packed.parameter_set",
      says: /PARAMETER_SET_PACKED_N4096_Q60/,
    });
  }
});

test("a stream without a context, without a scheme or with two contexts is refused", async () => {
  const invalid = { status: "INVALID_ARGUMENT", reason: "FIELD_INVALID" } as const;
  const refused = (messages: readonly object[], field: string, says = /\S/): Promise<unknown> =>
    assertRefused(client.call("ContextService/CreateContext", ...messages), { ...invalid, field, says });
  await refused([], "new_context");
  await refused([{}], "new_context");
  await refused([{ new_context: {} }], "new_context.context");
  await refused([creation({})], "new_context.context", /packed or pairwise/);
  const twice = [{ new_context: packed(randomBytes(32)) }, { new_context: packed(randomBytes(32)) }];
  await refused(twice, "new_context");
});

test("page sizes below 0 and page tokens that are none are refused", async () => {
  for (const page_size of [-1, -(2 ** 31)]) {
    await assertRefused(client.call("ContextService/ListContexts", { page_size }), {
      status: "INVALID_ARGUMENT",
      reason: "FIELD_INVALID",
      field: "page_size",
      says: /1000/,
    });
  }
  for (const page_token of ["no token", "Z", "x".repeat(5000)]) {
    await assertRefused(client.call("ContextService/ListContexts", { page_token }), {
      status: "INVALID_ARGUMENT",
      reason: "FIELD_INVALID",
      field: "page_token",
    });
  }
});

test("galleries of an unknown context are refused", async () => {
  const gallery = { gallery_id: freshId("gallery"), context_id: unknownId, space: COSINE_128 };
  await assertRefused(client.call("GalleryService/CreateGallery", { gallery }), {
    status: "NOT_FOUND",
    reason: "CONTEXT_NOT_FOUND",
  });
});

testThatTheLogTellsNothing(server);
