// How long the server's health check takes while it does its heaviest work: what one client does must not hold up the
// others.
import { Worker } from "node:worker_threads";
import { KeyHolder, VeilfaceClient } from "@veilface/client";
import type { ModelSpace } from "@veilface/client";
import { ServerProcess } from "../scripts/dev/server-process.ts";
import { quantile, round, unitVector } from "./figures.ts";
import type { BenchLine } from "./figures.ts";
import { ciphersOf } from "@veilface/client/advanced";

export const HEALTH_CASES = [
  "health_idle",
  "health_enroll",
  "health_list",
  "health_search",
  "health_pack",
  "health_delete",
  "health_large_blocks",
];

const GALLERY = "bench";
/** In nine photos each of 10,000 people: one deletion names all of them. */
const [PEOPLE, PHOTOS] = [10_000, 9];
const SPACE: ModelSpace = { dimension: 8, metric: "cosine", normBound: 1, modelId: "random" };
/** Blocks of 32 MiB. */
const LARGE: ModelSpace = { ...SPACE, dimension: 512 };
const LARGE_TEMPLATES = 8192;
const IDLE_MS = 2000;

/** Checks the health of a server all the while. */
class HealthWatch implements Disposable {
  readonly #worker: Worker;
  #samples: number[] = [];

  constructor(address: string) {
    this.#worker = new Worker(new URL("./health-worker.ts", import.meta.url), { workerData: address });
    this.#worker.on("message", (milliseconds: number) => this.#samples.push(milliseconds));
  }

  /** The latencies of the checks that end while something runs, and how long that takes. */
  async during(
    work: () => Promise<unknown>,
  ): Promise<{ seconds: number; checks: number; p50_ms: number; max_ms: number }> {
    this.#samples = [];
    const start = performance.now();
    await work();
    const seconds = round((performance.now() - start) / 1000);
    // The check that was under way at the end is the one that was held up, if one was.
    await new Promise((resolve) => setTimeout(resolve, 100));
    const samples = this.#samples;
    return {
      seconds,
      checks: samples.length,
      p50_ms: round(quantile(samples, 0.5)),
      max_ms: round(Math.max(...samples)),
    };
  }

  [Symbol.dispose](): void {
    void this.#worker.terminate();
  }
}

/** Measures one parameter set; about half a minute. */
export async function* healthBench(): AsyncGenerator<BenchLine> {
  await using server = await ServerProcess.start(["--log-level", "warn"]);
  using keyHolder = await KeyHolder.create("PACKED_N4096_Q30");
  using client = new VeilfaceClient({ address: server.address, keyHolder, deadlineMs: 3_600_000 });
  using watch = new HealthWatch(server.address);
  const about = {
    templates: PEOPLE * PHOTOS,
    dimension: SPACE.dimension,
    parameterSet: ciphersOf(keyHolder).parameterSet.name,
    stride: 1,
  };
  await client.createGallery(GALLERY, SPACE, { packedStride: 1 });
  await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
  yield {
    case: "health_idle",
    ...about,
    ...(await watch.during(() => new Promise((resolve) => setTimeout(resolve, IDLE_MS)))),
  };
  yield { case: "health_enroll", ...about, ...(await watch.during(() => client.enroll(GALLERY, people(SPACE)))) };
  yield { case: "health_list", ...about, ...(await watch.during(() => client.listTemplates(GALLERY))) };
  yield {
    case: "health_search",
    ...about,
    ...(await watch.during(() => client.identify(GALLERY, unitVector(1, SPACE.dimension)))),
  };
  yield { case: "health_pack", ...about, ...(await watch.during(() => client.packGallery(GALLERY, { stride: 1 }))) };
  const subjectIds = Array.from({ length: PEOPLE }, (_, i) => `s-${i}`);
  yield {
    case: "health_delete",
    ...about,
    ...(await watch.during(() => client.deleteTemplates(GALLERY, { subjectIds }))),
  };
  await client.createGallery("large", LARGE, { packedStride: 1 });
  const large = { ...about, dimension: LARGE.dimension, templates: LARGE_TEMPLATES };
  const source = Iterator.from(people(LARGE)).take(LARGE_TEMPLATES);
  yield { case: "health_large_blocks", ...large, ...(await watch.during(() => client.enroll("large", source))) };
}

function* people({
  dimension,
}: ModelSpace): Generator<{ templateId: string; subjectId: string; embedding: Float32Array }, undefined> {
  for (let k = 0; k < PHOTOS; k++) {
    for (let i = 0; i < PEOPLE; i++)
      yield { templateId: `t-${i}-${k}`, subjectId: `s-${i}`, embedding: unitVector(i % 1000, dimension) };
  }
}
