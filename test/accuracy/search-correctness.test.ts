// The ten nearest of a search equal those of a plain scan, up to ties within the error: loose and packed templates
// mixed, after deletions, after packing, under a new key, and after a restart. VEILFACE_SCALE=100000 runs it at full
// size (npm run test:scale).
import assert from "node:assert/strict";
import { test } from "node:test";
import { KeyHolder, VeilfaceClient } from "@veilface/client";
import type { ModelSpace, ParameterSetName } from "@veilface/client";
import { unitVector } from "../../bench/figures.ts";
import { ServerProcess } from "../../scripts/dev/server-process.ts";

const TEMPLATES = Number(process.env["VEILFACE_SCALE"] ?? 3000);
const PROBES = TEMPLATES >= 100_000 ? 100 : 12;
const LOOSE = 70;
const TOP = 10;
const DIMENSION = 128;
const SPACE: ModelSpace = { dimension: DIMENSION, metric: "cosine", normBound: 1, modelId: "random" };
// Eight standard deviations of an inner product's error in a full block.
const TOLERANCE: Readonly<Record<ParameterSetName, number>> = { PACKED_N4096_Q60: 1e-6, PACKED_N4096_Q30: 1.6e-2 };

/** Templates by number, and which of them are enrolled now: the oracle. */
class PlainGallery {
  readonly #vectors = new Map<number, Float32Array>();

  add(first: number, count: number): { templateId: string; subjectId: string; embedding: Float32Array }[] {
    return Array.from({ length: count }, (_, i) => {
      const embedding = unitVector(first + i, DIMENSION);
      this.#vectors.set(first + i, embedding);
      return { templateId: `t-${first + i}`, subjectId: `s-${first + i}`, embedding };
    });
  }

  delete(numbers: readonly number[]): string[] {
    for (const number of numbers) this.#vectors.delete(number);
    return numbers.map((number) => `s-${number}`);
  }

  get size(): number {
    return this.#vectors.size;
  }

  distance(number: number, probe: Float32Array): number {
    const vector = this.#vectors.get(number);
    return vector === undefined
      ? assert.fail(`template ${number} is not enrolled`)
      : 1 - vector.reduce((sum, x, k) => sum + x * probe[k]!, 0);
  }

  nearest(probe: Float32Array): number[] {
    return [...this.#vectors.keys()]
      .map((number) => this.distance(number, probe))
      .sort((a, b) => a - b)
      .slice(0, TOP);
  }
}

async function holdToOracle(
  client: VeilfaceClient,
  gallery: string,
  oracle: PlainGallery,
  tolerance: number,
): Promise<void> {
  for (let i = 0; i < PROBES; i++) {
    const probe = unitVector(1e6 + i, DIMENSION);
    const expected = oracle.nearest(probe);
    const found = await client.identify(gallery, probe, { maxCandidates: TOP });
    assert.equal(found.length, TOP);
    assert.equal(new Set(found.map(({ subjectId }) => subjectId)).size, TOP);
    found.forEach(({ subjectId, distance }, rank) => {
      const plain = oracle.distance(Number(subjectId.slice(2)), probe);
      assert.ok(Math.abs(distance - plain) < tolerance, `distance at rank ${rank} is ${distance}, expected ${plain}`);
      // Whoever stands at a rank is as near as the one who should, up to the error of both.
      assert.ok(
        Math.abs(plain - expected[rank]!) < 2 * tolerance,
        `rank ${rank}: ${plain}, expected ${expected[rank]!}`,
      );
    });
  }
}

for (const set of ["PACKED_N4096_Q60", "PACKED_N4096_Q30"] as const) {
  void test(`${set}: searches among ${TEMPLATES} templates find whom a plain scan finds, whatever was done to the gallery`, async (t) => {
    await using server = await ServerProcess.start(["--log-level", "warn"]);
    using keyHolder = await KeyHolder.create(set);
    const oracle = new PlainGallery();
    const tolerance = TOLERANCE[set];
    const connect = (key: KeyHolder): VeilfaceClient =>
      new VeilfaceClient({ address: server.address, keyHolder: key, deadlineMs: 3_600_000 });
    using client = connect(keyHolder);
    const { packedStride } = await client.createGallery("g", SPACE, { expectedTemplates: TEMPLATES });

    await t.test("loose and packed mixed", async () => {
      await client.enroll("g", oracle.add(0, TEMPLATES));
      await client.enroll("g", oracle.add(TEMPLATES, LOOSE), { packing: "never" });
      const { strides, templateCount } = await client.getGallery("g");
      assert.ok(strides.includes(packedStride) && strides.includes(DIMENSION) && packedStride < DIMENSION);
      assert.equal(templateCount, oracle.size);
      await holdToOracle(client, "g", oracle, tolerance);
    });

    await t.test("after deletions", async () => {
      const doomed = Array.from({ length: 50 }, (_, i) => Math.floor((i * (TEMPLATES + LOOSE)) / 50));
      const { deleted } = await client.deleteTemplates("g", { subjectIds: oracle.delete(doomed) });
      assert.equal(deleted, doomed.length);
      await holdToOracle(client, "g", oracle, tolerance);
    });

    await t.test("after packing", async () => {
      await client.packGallery("g");
      const { strides, templateCount } = await client.getGallery("g");
      assert.equal(templateCount, oracle.size);
      assert.ok(!strides.includes(DIMENSION) || strides.length > 1);
      await holdToOracle(client, "g", oracle, 1.5 * tolerance);
    });

    using newKey = await KeyHolder.create(set);
    await t.test("under a new key, and after a restart", async () => {
      await client.rotateKey(newKey);
      using renewed = connect(newKey);
      await holdToOracle(renewed, "g", oracle, 2 * tolerance);
      await assert.rejects(client.identify("g", unitVector(1, DIMENSION)), { reason: "KEY_MISMATCH" });
      await server.restart();
      using again = connect(newKey);
      await holdToOracle(again, "g", oracle, 2 * tolerance);
    });
  });
}
