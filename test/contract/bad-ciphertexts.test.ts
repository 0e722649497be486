import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import { badCiphertexts } from "../support/hostile/bad-ciphertexts.ts";
import type { BadCiphertext } from "../support/hostile/bad-ciphertexts.ts";
import { BOMB_BYTES, bomb } from "../support/hostile/bombs.ts";
import { contractKey, startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import { TestGallery, question } from "../support/independent/gallery-fixture.ts";
import type { GalleryMessage, Person } from "../support/independent/gallery-fixture.ts";
import { CallRefused } from "../support/independent/independent-client.ts";
import { plainDistance, randomEmbedding } from "../support/independent/independent-encoding.ts";
import { assertRefused } from "../support/independent/refusals.ts";

const { server, client } = await startContractServer();
const keys = [await contractKey("PACKED_N4096_Q60"), await contractKey("PACKED_N4096_Q30")] as const;
const bombs = { zlib: await bomb("zlib"), zstd: await bomb("zstd") };
const subject: Person = { template_id: "present", subject_id: "somebody", embedding: randomEmbedding(128) };

for (const [key, other] of [keys, [keys[1], keys[0]] as const]) {
  const gallery = await TestGallery.create(client, key);
  await gallery.enroll([subject]);

  suite(`a gallery of ${key.set} refuses`, () => {
    let held: GalleryMessage;
    before(async () => {
      held = await gallery.describe();
    });
    for (const bad of badCiphertexts(gallery, other, bombs)) {
      test(bad.name, async () => {
        await assertRefusedEverywhere(gallery, bad);
        assert.deepEqual(await gallery.describe(), held, "nothing is stored");
      });
    }
    after(async () => {
      const probe = randomEmbedding(128);
      const distance = (await gallery.search(probe)).get("present")!;
      assert.ok(
        Math.abs(distance - plainDistance(gallery.space, subject.embedding, probe)) < 1.2e-2,
        "the next request is served, and what was there is unharmed",
      );
    });
  });
}

/**
 * As a template, as the probe of a search, as the probe of a comparison: the reason is the same, the field is the
 * ciphertext's.
 */
async function assertRefusedEverywhere(gallery: TestGallery, bad: BadCiphertext): Promise<void> {
  const { ciphertext } = bad;
  const pieces = [{ stride: gallery.stride, piece: 0, ciphertext }];
  const target = { ...gallery.target, subject_id: "somebody" };
  const template = { template_id: "bad", subject_id: "bad", ciphertext };
  const calls: [string, readonly object[], RegExp][] = [
    ["GalleryService/EnrollTemplates", [{ target: gallery.target }, { template }], /^template\.ciphertext/],
    ["MatchingService/SearchGallery", question(gallery.target, pieces), /^pieces\.pieces\.ciphertext/],
    ["MatchingService/CompareTemplates", question(target, pieces), /^pieces\.pieces\.ciphertext/],
  ];
  for (const [rpc, requests, field] of calls) {
    const refusal = await refusalOf(client.call(rpc, ...requests), bad);
    assert.ok(
      refusal.fields.some((path) => field.test(path)),
      `BadRequest names [${refusal.fields.join(", ")}]: expected ${field.source}`,
    );
    assert.doesNotMatch(refusal.details, /[0-9a-f]{33}/, "the message holds no bytes");
  }
}

async function refusalOf(call: Promise<unknown>, { reason, says }: BadCiphertext): Promise<CallRefused> {
  if (reason !== "ANY") return assertRefused(call, { status: "INVALID_ARGUMENT", reason, says });
  const refusal: unknown = await call.catch((error: unknown) => error);
  assert.ok(
    refusal instanceof CallRefused &&
      /^(CIPHERTEXT_(TOO_LARGE|MALFORMED)|PARAMETER_SET_MISMATCH|SECRET_KEY_REFUSED)$/.test(refusal.reason),
    "refused as a ciphertext",
  );
  return refusal;
}

test("bombs of half a gigabyte cost the server no memory", async () => {
  assert.ok(bombs.zlib.length < 1 << 20 && bombs.zstd.length < 1 << 20);
  const peak = await server.peakMemoryBytes();
  assert.ok(peak < BOMB_BYTES, `the server held ${Math.round(peak / 2 ** 20)} MiB`);
});

testThatTheLogTellsNothing(server);
