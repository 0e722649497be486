// What is published is not the sources: the build may lack a file that is only named by its URL.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { COSINE_128, TestGallery } from "../support/independent/gallery-fixture.ts";
import { IndependentClient } from "../support/independent/independent-client.ts";
import { IndependentKey } from "../support/independent/independent-crypto.ts";
import { plainDistance, randomEmbedding } from "../support/independent/independent-encoding.ts";
import { TestContext, sealUpload } from "../support/independent/pairwise-context.ts";
import { BUILT_SERVER, ServerProcess } from "../../scripts/dev/server-process.ts";
import { SMALL, TensealMaker, stepsUpTo } from "../support/independent/tenseal-maker.ts";

const built = existsSync(BUILT_SERVER);
if (!built) process.stderr.write("SKIPPED: the built server is not tested, because there is none: npm run build\n");

test("the built server searches a gallery, and compares under an uploaded context", {
  skip: !built && "there is no build",
}, async () => {
  await using server = await ServerProcess.start([], "built");
  using client = new IndependentClient(server.address);
  using key = await IndependentKey.create("PACKED_N4096_Q60");
  const gallery = await TestGallery.create(client, key, COSINE_128);
  const [embedding, probe] = [randomEmbedding(128), randomEmbedding(128)];
  await gallery.enroll([{ template_id: "t", subject_id: "s", embedding }]);
  const distance = (await gallery.search(probe)).get("t")!;
  assert.ok(Math.abs(distance - plainDistance(COSINE_128, embedding, probe)) < 1e-6);
  using maker = await TensealMaker.create(SMALL);
  await (await TestContext.create(client, maker, sealUpload(maker, maker.makeKeys(stepsUpTo(1))))).assertServes();
});
