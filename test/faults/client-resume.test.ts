import assert from "node:assert/strict";
import { after, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import type { Enrollment } from "../../client/enroll/unit-maker.ts";
import { ClientError } from "../../client/errors.ts";
import { KeyHolder } from "../../client/keys/key-holder.ts";
import type { ModelSpace } from "../../client/model-space.ts";
import { VeilfaceClient } from "../../client/veilface-client.ts";
import { unitVector } from "../../bench/figures.ts";
import { freePort } from "../support/process/free-port.ts";
import { ServerProcess } from "../../scripts/dev/server-process.ts";

const SPACE: ModelSpace = { dimension: 32, metric: "cosine", normBound: 1, modelId: "random" };

const server = await ServerProcess.start([
  "--log-level",
  "error",
  "--grace",
  "1",
  "--address",
  `127.0.0.1:${await freePort()}`,
]);
const keyHolder = await KeyHolder.create("PACKED_N4096_Q30");
const client = new VeilfaceClient({ keyHolder, address: server.address });
after(async () => {
  client[Symbol.dispose]();
  keyHolder[Symbol.dispose]();
  await server[Symbol.asyncDispose]();
});

/** People by number, with a count of how often each was asked for. */
class CountedSource {
  readonly yielded: number[] = [];
  readonly #count: number;

  constructor(count: number) {
    this.#count = count;
  }

  *[Symbol.iterator](): Generator<Enrollment> {
    for (let i = 0; i < this.#count; i++) {
      this.yielded.push(i);
      yield { templateId: `t-${i}`, subjectId: `s-${i}`, embedding: unitVector(i, SPACE.dimension) };
    }
  }
}

/** Everyone is in the gallery once, in a place of their own, and is found there. */
async function assertWhole(galleryId: string, count: number): Promise<void> {
  const entries = await client.listTemplates(galleryId);
  assert.deepEqual(
    entries.map(({ templateId }) => Number(templateId.slice(2))).sort((a, b) => a - b),
    Array.from({ length: count }, (_, i) => i),
  );
  assert.equal(new Set(entries.map(({ placement: { block, slot } }) => `${block}/${slot}`)).size, count);
  assert.equal((await client.getGallery(galleryId)).templateCount, count);
  for (const i of [0, Math.floor(count / 2), count - 1]) {
    const [nearest] = await client.identify(galleryId, unitVector(i, SPACE.dimension));
    assert.equal(nearest?.subjectId, `s-${i}`);
    assert.ok(nearest.distance < 0.02, `template ${i} is at distance ${nearest.distance} from itself`);
  }
}

for (const { kind, count, packedStride, packing, signals } of [
  {
    kind: "packed blocks",
    count: 15_000,
    packedStride: 4,
    packing: "auto",
    signals: ["SIGKILL", "SIGTERM", "SIGKILL"],
  },
  { kind: "templates enrolled alone", count: 400, packedStride: 4, packing: "never", signals: ["SIGKILL", "SIGTERM"] },
] as const) {
  test(`an enrollment of ${kind} goes on where the server is killed and comes back, without loss, doubles or reading its source again`, async () => {
    const galleryId = `resumed-${packing}`;
    await client.createGallery(galleryId, SPACE, { packedStride });
    const source = new CountedSource(count);
    const acknowledged: string[] = [];
    const restarts: Promise<void>[] = [];
    let restarting = false;
    const onProgress = (enrolled: number, { templateId }: { templateId: string }): void => {
      acknowledged.push(templateId);
      assert.equal(enrolled, acknowledged.length);
      const signal = signals[restarts.length];
      if (signal === undefined || restarting || enrolled < ((restarts.length + 1) * count) / (signals.length + 2))
        return;
      restarting = true;
      restarts.push(
        server
          .kill(signal)
          .then(() => server.restart())
          .then(() => void (restarting = false)),
      );
    };
    assert.equal(await client.enroll(galleryId, source, { packing, onProgress }), count);
    await Promise.all(restarts);
    assert.equal(restarts.length, signals.length);
    assert.equal(source.yielded.length, count);
    assert.equal(new Set(acknowledged).size, count);
    await assertWhole(galleryId, count);
  });
}

test("an enrollment that waits for its server to come back is cancelled at once", async () => {
  await client.createGallery("lost", SPACE, { packedStride: 32 });
  const aborting = new AbortController();
  let killed: Promise<void> | undefined;
  const start = performance.now();
  const enrolling = client.enroll("lost", new CountedSource(3000), {
    signal: aborting.signal,
    onProgress: () => {
      killed ??= server
        .kill("SIGKILL")
        .then(() => setTimeout(500))
        .then(() => {
          aborting.abort();
        });
    },
  });
  await assert.rejects(enrolling, (error) => error instanceof ClientError && error.reason === "CANCELLED");
  assert.ok(performance.now() - start < 5000);
  await killed;
  await server.restart();
});
