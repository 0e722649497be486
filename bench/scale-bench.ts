// Bulk enrollment, search from end to end and the scan alone, from 1,000 to 1,000,000 templates. Prints JSON lines.
// Usage: npm run --silent bench:scale -- [--sizes 1000,10000] [--sets PACKED_N4096_Q30] [--dimension 128]
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { parseArgs } from "node:util";
import { KeyHolder, VeilfaceClient } from "@veilface/client";
import type { ModelSpace, ParameterSetName } from "@veilface/client";
import { PARAMETER_SET_NAMES, layoutOf, parameterSet } from "@veilface/fhe";
import { PackedMatcher } from "../server/compute/packed/packed-matcher.ts";
import { WorkerPool } from "../server/compute/worker-pool.ts";
import { LmdbStore } from "../server/store/lmdb/lmdb-store.ts";
import { ServerProcess } from "../scripts/dev/server-process.ts";
import { latency, quantile, round, sample, unitVector } from "./figures.ts";
import type { BenchLine } from "./figures.ts";
import { tutorialBench } from "./pairwise-bench.ts";

const WORKERS = 2;
const SEARCHES = 12;
const SCANS = 7;
/** How long a scan has run when it is cancelled. */
const CANCEL_AFTER_MS = 20;

interface About {
  readonly templates: number;
  readonly dimension: number;
  readonly parameterSet: ParameterSetName;
}

const galleryOf = (templates: number): string => `g-${templates}`;

/** Everything of one parameter set, against one server process and its data folder. */
async function* scaleBench(
  set: ParameterSetName,
  sizes: readonly number[],
  dimension: number,
): AsyncGenerator<BenchLine> {
  await using server = await ServerProcess.start(["--log-level", "warn", "--workers", String(WORKERS)]);
  using keyHolder = await KeyHolder.create(set);
  using client = new VeilfaceClient({ address: server.address, keyHolder, deadlineMs: 3_600_000 });
  for (const templates of sizes) {
    const about = { templates, dimension, parameterSet: set };
    yield await bulkEnrollment(server, client, about);
    yield await identification(server, client, about);
  }
  await server.kill("SIGTERM");
  for (const templates of sizes) yield await scan(server.dataFolder, { templates, dimension, parameterSet: set });
}

async function bulkEnrollment(
  server: ServerProcess,
  client: VeilfaceClient,
  { templates, dimension, parameterSet }: About,
): Promise<BenchLine> {
  const space: ModelSpace = { dimension, metric: "cosine", normBound: 1, modelId: "random" };
  const gallery = await client.createGallery(galleryOf(templates), space, { expectedTemplates: templates });
  const before = await storedBytes(server);
  function* source() {
    for (let i = 0; i < templates; i++)
      yield {
        templateId: `t-${String(i).padStart(7, "0")}`,
        subjectId: `s-${String(i).padStart(7, "0")}`,
        embedding: unitVector(i, dimension),
      };
  }
  const start = performance.now();
  await client.enroll(gallery.galleryId, source());
  const seconds = (performance.now() - start) / 1000;
  const bytes = (await storedBytes(server)) - before;
  return {
    case: "bulk_enroll",
    templates,
    dimension,
    parameterSet,
    stride: gallery.packedStride,
    templates_per_s: round(templates / seconds),
    bytes_per_template: round(bytes / templates),
  };
}

/**
 * From the plain probe to sorted candidates, with the server's memory afterwards; a plain scan of as many vectors runs
 * between.
 */
async function identification(
  server: ServerProcess,
  client: VeilfaceClient,
  { templates, dimension, parameterSet }: About,
): Promise<BenchLine> {
  const plain = plainScan(templates, dimension);
  const encryptedMs: number[] = [];
  const plainMs: number[] = [];
  for (let i = 0; i < SEARCHES; i++) {
    const wanted = Math.floor((i / SEARCHES) * templates);
    encryptedMs.push(
      ...(await sample(1, async () => {
        const [nearest] = await client.identify(galleryOf(templates), unitVector(wanted, dimension), {
          maxCandidates: 10,
        });
        if (Number(nearest?.subjectId.slice(2)) !== wanted) throw new Error("a search found somebody else");
      })),
    );
    plainMs.push(...(await sample(1, plain)));
  }
  const { packedStride } = await client.getGallery(galleryOf(templates));
  const { resident, anonymous } = await server.memoryBytes();
  const memory = { server_resident_mb: round(resident / 2 ** 20), server_anonymous_mb: round(anonymous / 2 ** 20) };
  return {
    case: "identify",
    templates,
    dimension,
    parameterSet,
    stride: packedStride,
    ...latency(encryptedMs),
    ratio_to_plain_scan: round(quantile(encryptedMs, 0.5) / quantile(plainMs, 0.5)),
    plain_scan_p50_ms: round(quantile(plainMs, 0.5)),
    ...memory,
  };
}

/**
 * Inner products of one probe with float32 vectors in one array, and the ten best, on one thread: what a plain database
 * would do.
 */
function plainScan(templates: number, dimension: number): () => number[] {
  const vectors = new Float32Array(templates * dimension).map(
    (_, i) => ((Math.imul(i, 2_654_435_761) >>> 8) & 1023) / 1024 - 0.5,
  );
  const probe = unitVector(7, dimension);
  return () => {
    const scores = new Float32Array(templates);
    for (let i = 0, at = 0; i < templates; i++) {
      let sum = 0;
      for (let k = 0; k < dimension; k++) sum += vectors[at++]! * probe[k]!;
      scores[i] = sum;
    }
    return bestTen(scores);
  };
}

function bestTen(scores: Float32Array): number[] {
  const best: number[] = [];
  for (let i = 0; i < scores.length; i++) {
    if (best.length === 10 && scores[i]! <= scores[best[9]!]!) continue;
    best.push(i);
    best.sort((a, b) => scores[b]! - scores[a]!);
    best.length = Math.min(best.length, 10);
  }
  return best;
}

/**
 * The server's part without gRPC: all blocks of a gallery against one probe, on all workers, from a warm page cache.
 */
async function scan(dataFolder: string, { templates, dimension, parameterSet: name }: About): Promise<BenchLine> {
  const store = LmdbStore.open({ path: dataFolder });
  const pool = new WorkerPool(WORKERS);
  const matcher = new PackedMatcher(pool);
  try {
    const { packedStride } = store.getGallery(galleryOf(templates));
    const { pieces } = layoutOf(dimension, packedStride);
    const primes = parameterSet(name).dataPrimes.length;
    const tiles = new SharedArrayBuffer(pieces * 2 * primes * 4096 * 4);
    new Uint32Array(tiles).forEach((_, i, all) => (all[i] = Math.imul(i, 2_654_435_761) >>> 3));
    // Loose blocks of the rest have another stride, and another probe.
    const blocks = (await store.listBlocks(galleryOf(templates))).blocks.filter(
      ({ stride }) => stride === packedStride,
    );
    const location = store.readerLocation(galleryOf(templates));
    const stops: number[] = [];
    const samples = await sample(SCANS, async (id) => {
      const probes = [{ id: id + 1, pieces, tiles }];
      let matched = 0;
      for await (const { products } of matcher.scan({
        parameterSet: name,
        location,
        probes,
        encodings: ["PACKED_RESIDUES"],
        blocks,
        cancelled: new SharedArrayBuffer(4),
      }))
        matched += products.length;
      if (matched !== blocks.length) throw new Error("a block was left out");
    });
    const cancellation = await sample(SCANS, async () => {
      const cancelled = new SharedArrayBuffer(4);
      const scan = drain(
        matcher.scan({
          parameterSet: name,
          location,
          probes: [{ id: 1, pieces, tiles }],
          encodings: ["PACKED_RESIDUES"],
          blocks,
          cancelled,
        }),
      );
      await setTimeout(CANCEL_AFTER_MS);
      const start = performance.now();
      Atomics.store(new Int32Array(cancelled), 0, 1);
      await scan;
      stops.push(performance.now() - start);
    });
    return {
      case: "server_scan",
      templates,
      dimension,
      parameterSet: name,
      stride: packedStride,
      ...latency(samples),
      templates_per_s: round(templates / (quantile(samples, 0.5) / 1000)),
      cancelled_after_ms: round(quantile(stops.slice(-cancellation.length), 0.95)),
    };
  } finally {
    await pool.close();
    await store.close();
  }
}

async function drain(stream: AsyncIterable<unknown>): Promise<void> {
  const items = stream[Symbol.asyncIterator]();
  while ((await items.next()).done !== true) continue;
}

async function storedBytes(server: ServerProcess): Promise<number> {
  const { blocks } = await stat(join(server.dataFolder, "data.mdb"));
  return blocks * 512;
}

const { values } = parseArgs({
  options: {
    sizes: { type: "string", default: "1000,10000,100000,1000000" },
    sets: { type: "string", default: PARAMETER_SET_NAMES.join(",") },
    dimension: { type: "string", default: "128" },
  },
});
const dimension = Number(values.dimension);
console.log(JSON.stringify(await tutorialBench(dimension)));
for (const set of values.sets.split(",") as ParameterSetName[]) {
  for await (const line of scaleBench(set, values.sizes.split(",").map(Number), dimension))
    console.log(JSON.stringify(line));
}
