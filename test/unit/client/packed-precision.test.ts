import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { ParameterSetName } from "@veilface/client";
import { expectedError, layoutOf, parameterSet } from "@veilface/fhe";
import { KeyHolder } from "../../../client/keys/key-holder.ts";
import type { ModelSpace } from "../../../client/model-space.ts";
import { VeilfaceClient } from "../../../client/veilface-client.ts";
import { MemoryServer } from "../../support/fake/memory-server.ts";

const DIMENSION = 32;
const STRIDE = 4;
const TEMPLATES = 1024;
const PACKINGS = 3;
const SPACE: ModelSpace = { dimension: DIMENSION, metric: "cosine", normBound: 1, modelId: "random" };

const server = await MemoryServer.start();
after(() => server[Symbol.asyncDispose]());

function randomUnit(): Float64Array {
  const vector = Float64Array.from({ length: DIMENSION }, () => Math.random() - 0.5);
  const norm = Math.hypot(...vector);
  return vector.map((x) => x / norm);
}

/** The deviation of encrypted from plain distances, over a full block and two probes. */
async function deviation(client: VeilfaceClient, galleryId: string, vectors: readonly Float64Array[]): Promise<number> {
  let sum = 0;
  for (const probe of [randomUnit(), randomUnit()]) {
    const candidates = await client.identify(galleryId, probe, { maxCandidates: TEMPLATES });
    for (const { templateId, distance } of candidates)
      sum += (distance - (1 - vectors[Number(templateId)]!.reduce((dot, x, k) => dot + x * probe[k]!, 0))) ** 2;
  }
  return Math.sqrt(sum / (2 * TEMPLATES));
}

for (const name of ["PACKED_N4096_Q60", "PACKED_N4096_Q30"] satisfies ParameterSetName[]) {
  test(`every packing adds half the variance of a fresh comparison to the distances of ${name}, no more`, async () => {
    using keyHolder = await KeyHolder.create(name);
    using client = new VeilfaceClient({ keyHolder, address: server.address });
    const galleryId = name.slice(-3).toLowerCase();
    const vectors = Array.from({ length: TEMPLATES }, randomUnit);
    await client.createGallery(galleryId, SPACE, { packedStride: STRIDE });
    await client.enroll(
      galleryId,
      vectors.map((embedding, i) => ({ templateId: String(i), subjectId: String(i), embedding })),
    );
    const fresh = expectedError(parameterSet(name), layoutOf(DIMENSION, STRIDE));
    for (let packings = 0; packings <= PACKINGS; packings++) {
      if (packings > 0) await client.packGallery(galleryId, { stride: STRIDE });
      const measured = await deviation(client, galleryId, vectors);
      const expected = fresh * Math.sqrt(1 + packings / 2);
      assert.ok(
        Math.abs(measured / expected - 1) < 0.12,
        `after ${packings} packings ${measured}, expected ${expected}`,
      );
    }
  });
}
