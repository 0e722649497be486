import assert from "node:assert/strict";
import { after, afterEach, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import type { TemplateEntry } from "@veilface/proto";
import type { Enrollment } from "../../../client/enroll/unit-maker.ts";
import { ClientError } from "../../../client/errors.ts";
import type { ClientErrorReason } from "../../../client/errors.ts";
import { KeyHolder } from "../../../client/keys/key-holder.ts";
import type { ModelSpace } from "../../../client/model-space.ts";
import { VeilfaceClient } from "../../../client/veilface-client.ts";
import { unitVector } from "../../../bench/figures.ts";
import { MemoryServer, goingAway, strike } from "../../support/fake/memory-server.ts";

const keyHolder = await KeyHolder.create();
const newKeyHolder = await KeyHolder.create("PACKED_N4096_Q30");
const server = await MemoryServer.start();
const client = new VeilfaceClient({ keyHolder, address: server.address });
after(async () => {
  client[Symbol.dispose]();
  for (const holder of [keyHolder, newKeyHolder]) holder[Symbol.dispose]();
  await server[Symbol.asyncDispose]();
});
afterEach(() => {
  server.interference = {};
});

// At stride 128 a block has 32 slots and takes 2 ciphertexts, so that blocks fill fast; loose ones lie at stride 256.
const SPACE: ModelSpace = { dimension: 256, metric: "cosine", normBound: 1, modelId: "random" };
const STRIDE = 128;
const SLOTS = 32;
const PIECES = 2;

const person = (i: number): Enrollment => ({
  templateId: `t-${i}`,
  subjectId: `s-${i}`,
  embedding: unitVector(i, SPACE.dimension),
});
const people = (count: number, from = 0): Enrollment[] => Array.from({ length: count }, (_, i) => person(from + i));
const sizes = (galleryId: string): [string, number][] =>
  server.blocks(galleryId).map(({ packed, templateIds }) => [packed ? "packed" : "loose", templateIds.length]);
const isRefused =
  (reason: ClientErrorReason | undefined, serverReason?: string) =>
  (error: unknown): boolean =>
    error instanceof ClientError &&
    (reason === undefined || error.reason === reason) &&
    error.serverReason === serverReason;

let galleries = 0;
async function newGallery(packedStride = STRIDE): Promise<string> {
  galleries++;
  await client.createGallery(`g-${galleries}`, SPACE, { packedStride });
  return `g-${galleries}`;
}

const found = async (galleryId: string, i: number): Promise<string | undefined> =>
  (await client.identify(galleryId, person(i).embedding, { maxCandidates: 1, threshold: 0.01 }))[0]?.templateId;

test("blocks are filled, and of the rest more than a block has ciphertexts are packed, fewer are enrolled alone", async () => {
  for (const [count, expected] of [
    [
      SLOTS * 2,
      [
        ["packed", SLOTS],
        ["packed", SLOTS],
      ],
    ],
    [
      SLOTS + PIECES + 1,
      [
        ["packed", SLOTS],
        ["packed", PIECES + 1],
      ],
    ],
    [
      SLOTS + PIECES,
      [
        ["packed", SLOTS],
        ["loose", PIECES],
      ],
    ],
    [PIECES, [["loose", PIECES]]],
    [0, []],
  ] as const) {
    const galleryId = await newGallery();
    const acknowledged: string[] = [];
    assert.equal(
      await client.enroll(galleryId, people(count), {
        onProgress: (n, { templateId, placement }) => acknowledged.push(`${n} ${templateId} ${placement.slot}`),
      }),
      count,
    );
    assert.deepEqual(sizes(galleryId), expected);
    assert.deepEqual(
      acknowledged.slice(0, SLOTS),
      people(Math.min(count, SLOTS)).map(({ templateId }, i) => `${i + 1} ${templateId} ${i}`),
    );
    if (count > 0) assert.equal(await found(galleryId, count - 1), `t-${count - 1}`);
  }
});

test("packing can be declined: every template is then enrolled alone as it comes", async () => {
  const galleryId = await newGallery();
  await client.enroll(galleryId, people(5), { packing: "never" });
  assert.deepEqual(sizes(galleryId), [["loose", 5]]);
});

test("of an id that comes twice within a block the last stays", async () => {
  const galleryId = await newGallery();
  const source = [...people(10), { ...person(99), templateId: "t-3" }];
  assert.equal(await client.enroll(galleryId, source), 10);
  const entries = await client.listTemplates(galleryId);
  assert.deepEqual(
    entries.filter(({ templateId }) => templateId === "t-3").map(({ subjectId }) => subjectId),
    ["s-99"],
  );
  assert.deepEqual([await found(galleryId, 99), await found(galleryId, 3)], ["t-3", undefined]);
});

test("where the source fails, or yields what does not fit, what it yielded before is enrolled", async () => {
  function* failing(): Generator<Enrollment> {
    yield* people(20);
    throw new Error("the disk is gone");
  }
  const galleryId = await newGallery();
  await assert.rejects(client.enroll(galleryId, failing()), /the disk is gone/);
  assert.deepEqual(sizes(galleryId), [["packed", 20]]);
  const other = await newGallery();
  await assert.rejects(
    client.enroll(other, [...people(20), { ...person(20), embedding: [1, 2] }]),
    (error) => isRefused("EMBEDDING_INVALID")(error) && /template "t-20": /.test(String(error)),
  );
  assert.deepEqual(sizes(other), [["packed", 20]]);
});

test("what was not acknowledged when the server went away is sent again, and nothing else", async () => {
  const galleryId = await newGallery();
  let failures = 3;
  server.interference.enroll = ({ message }) => {
    if (message?.$case === "block" && message.value.block % 2 === 1 && failures-- > 0) throw goingAway();
  };
  let pulled = 0;
  function* source(): Generator<Enrollment> {
    for (pulled = 0; pulled < 200; pulled++) yield person(pulled);
  }
  let acknowledged = 0;
  assert.equal(await client.enroll(galleryId, source(), { onProgress: (n) => (acknowledged = n) }), 200);
  assert.deepEqual([acknowledged, pulled, (await client.listTemplates(galleryId)).length], [200, 200, 200]);
  // 7 blocks, and what was in flight, at most 3, each time the server went.
  assert.ok(server.blocks(galleryId).length <= 7 + 3 * 3);
});

test("memory does not grow with the source: it is asked for no more than a few blocks ahead of what is durable", async () => {
  const galleryId = await newGallery();
  let durable = 0;
  let furthest = 0;
  function* source(): Generator<Enrollment> {
    for (let i = 0; i < 30 * SLOTS; i++) {
      furthest = Math.max(furthest, i - durable);
      yield person(i % 500);
    }
  }
  await client.enroll(galleryId, source(), { onProgress: (n) => (durable = n) });
  assert.ok(furthest <= 6 * SLOTS, `${furthest} templates ahead`);
});

test("an acknowledgement of another block than the one sent ends the enrollment", async () => {
  const galleryId = await newGallery();
  server.interference.enroll = ({ message }) => {
    if (message?.$case === "block") message.value.count++;
  };
  await assert.rejects(client.enroll(galleryId, people(20)), isRefused("REPLY_INVALID"));
});

test("packing takes in templates enrolled alone, drops deleted ones and keeps every distance to within the noise of one encryption", async () => {
  for (const metric of ["cosine", "euclidean"] as const) {
    const galleryId = `packing-${metric}`;
    await client.createGallery(
      galleryId,
      { ...SPACE, metric, normBound: metric === "cosine" ? 1 : 1.5 },
      { packedStride: STRIDE },
    );
    await client.enroll(galleryId, people(40));
    await client.enroll(galleryId, people(20, 40), { packing: "never" });
    await client.deleteTemplates(galleryId, { templateIds: ["t-5", "t-45"] });
    const distances = async (): Promise<Map<string, number>> =>
      new Map(
        (await client.identify(galleryId, person(7).embedding, { maxCandidates: 100 })).map(
          ({ templateId, distance }) => [templateId, distance],
        ),
      );
    const before = await distances();
    const progress: string[] = [];
    const { templates, gallery } = await client.packGallery(galleryId, {
      stride: 64,
      onProgress: (done, total) => progress.push(`${done}/${total}`),
    });
    assert.deepEqual([templates, gallery.packedStride, gallery.draftOf], [58, 64, undefined]);
    assert.equal(progress.at(-1), "58/58");
    assert.deepEqual(sizes(galleryId), [["packed", 58]]);
    const after = await distances();
    assert.deepEqual([...after.keys()].sort(), [...before.keys()].sort());
    for (const [templateId, distance] of after)
      if (templateId !== "t-7") assert.ok(Math.abs(distance - before.get(templateId)!) < 5e-7, templateId);
  }
});

test("a gallery keeps every template under a new key, and one that is there already is passed over", async () => {
  const galleryId = await newGallery();
  await client.enroll(galleryId, people(40));
  assert.deepEqual(
    (await client.rotateKey(newKeyHolder, { galleryIds: [galleryId] })).map(({ gallery, templates }) => [
      gallery.contextId,
      templates,
    ]),
    [[newKeyHolder.contextId, 40]],
  );
  using next = new VeilfaceClient({ keyHolder: newKeyHolder, address: server.address });
  for (const i of [0, 31, 39])
    assert.equal((await next.identify(galleryId, person(i).embedding))[0]?.templateId, `t-${i}`);
  await assert.rejects(client.identify(galleryId, person(0).embedding), isRefused("KEY_MISMATCH"));
  assert.deepEqual(await client.rotateKey(newKeyHolder, { galleryIds: [galleryId] }), []);
  await assert.rejects(client.rotateKey(keyHolder), isRefused("USAGE"));
});

test("a gallery whose reading leaves out templates, damages or misplaces them is not replaced", async () => {
  const galleryId = await newGallery();
  await client.enroll(galleryId, people(40));
  await client.enroll(galleryId, people(1, 100), { packing: "never" });
  let pieces = 0;
  const changes: NonNullable<typeof server.interference.read>[] = [
    (reply) => {
      if (reply.message?.$case === "block") reply.message.value.entries.pop();
      return reply;
    },
    (reply) => (reply.message?.$case === "pieces" && ++pieces === 2 ? undefined : reply),
    (reply) => (reply.message?.$case === "gallery" ? undefined : reply),
    (reply) => {
      if (reply.message?.$case === "pieces") reply.message.value.pieces[0]!.data[1000]! ^= 1;
      return reply;
    },
    (reply) => {
      if (reply.message?.$case === "block")
        for (const entry of reply.message.value.entries) entry.placement = { ...entry.placement!, block: 77 };
      return reply;
    },
    (reply) => {
      if (reply.message?.$case === "block")
        reply.message.value.entries = reply.message.value.entries.map(
          (entry): TemplateEntry => ({ ...entry, placement: { ...entry.placement!, slot: 4000 } }),
        );
      return reply;
    },
  ];
  for (const read of changes) {
    server.interference = { read: (reply) => read(structuredClone(reply)) };
    await assert.rejects(client.packGallery(galleryId), isRefused("REPLY_INVALID"));
    server.interference = {};
    assert.equal(await found(galleryId, 39), "t-39");
    assert.deepEqual(
      (await client.listGalleries()).filter(({ draftOf }) => draftOf !== undefined),
      [],
    );
  }
});

test("a gallery that changed while it was packed stays as it became, and the draft is gone", async () => {
  const galleryId = await newGallery();
  await client.enroll(galleryId, people(40));
  let changed: Promise<unknown> | undefined;
  const packing = client.packGallery(galleryId, {
    onProgress: () => {
      changed ??= client.enroll(galleryId, people(1, 200));
    },
  });
  await assert.rejects(
    packing,
    (error) => isRefused("SERVER_REFUSED", "GALLERY_CHANGED")(error) && /run it again/.test(String(error)),
  );
  await changed;
  assert.equal(await found(galleryId, 200), "t-200");
  assert.deepEqual(
    (await client.listGalleries()).filter(({ draftOf }) => draftOf !== undefined),
    [],
  );
});

test("a replacement whose answer was lost is recognised, and cancelled packing leaves no draft", async () => {
  const galleryId = await newGallery();
  await client.enroll(galleryId, people(40));
  let lost = 1;
  server.interference.replace = () => {
    if (lost-- > 0) throw goingAway();
  };
  assert.equal((await client.packGallery(galleryId)).templates, 40);
  const aborting = new AbortController();
  await assert.rejects(
    client.packGallery(galleryId, {
      signal: aborting.signal,
      onProgress: () => {
        aborting.abort();
      },
    }),
    isRefused("CANCELLED"),
  );
  assert.deepEqual(
    (await client.listGalleries()).filter(({ draftOf }) => draftOf !== undefined),
    [],
  );
  assert.equal(await found(galleryId, 39), "t-39");
});

test("drafts left behind are discarded when told, or once they are a day old, and packing a draft is wrong usage", async () => {
  const galleryId = await newGallery();
  await client.enroll(galleryId, people(40));
  for (const [draft, hours] of [
    ["old-draft", 25],
    ["new-draft", 23],
  ] as const) {
    await client.createGallery(draft, SPACE);
    const { info } = server.galleries.get(draft)!;
    info.draftOf = galleryId;
    info.createTime = new Date(Date.now() - hours * 3_600_000);
  }
  await assert.rejects(client.packGallery("new-draft"), isRefused("USAGE"));
  await client.packGallery(galleryId);
  assert.deepEqual(
    (await client.listGalleries()).filter(({ draftOf }) => draftOf === galleryId).map((draft) => draft.galleryId),
    ["new-draft"],
  );
  assert.equal(await client.discardDrafts(galleryId), 1);
  assert.equal(await found(galleryId, 39), "t-39");
});

test("a block whose templates were all deleted while the search ran does not fail it, and they are not found", async () => {
  const galleryId = await newGallery();
  await client.enroll(galleryId, people(SLOTS * 2));
  await client.listTemplates(galleryId);
  const gallery = server.galleries.get(galleryId)!;
  server.interference.search = ({ message }) => {
    if (message?.$case === "start") for (let i = 0; i < SLOTS; i++) strike(gallery, `t-${i}`);
  };
  const candidates = await client.identify(galleryId, person(3).embedding, { maxCandidates: 1000 });
  assert.deepEqual(
    candidates.map(({ templateId }) => Number(templateId.slice(2))).sort((a, b) => a - b),
    Array.from({ length: SLOTS }, (_, i) => SLOTS + i),
  );
});

test("a gallery that is packed while it is searched is searched again, and nobody is taken for another", async () => {
  const galleryId = await newGallery();
  await client.enroll(galleryId, people(SLOTS + 20));
  await client.deleteTemplates(galleryId, { templateIds: ["t-0"] });
  await client.listTemplates(galleryId);
  using other = new VeilfaceClient({ keyHolder, address: server.address });
  const packed = other.packGallery(galleryId);
  const searches: Promise<string | undefined>[] = [];
  for (let i = 0; i < 10; i++) {
    searches.push(found(galleryId, 20 + i));
    await setTimeout(5);
  }
  assert.deepEqual(
    await Promise.all(searches),
    Array.from({ length: 10 }, (_, i) => `t-${20 + i}`),
  );
  await packed;
  assert.equal(await found(galleryId, 33), "t-33");
});
