// The whole road against a real server process on loopback: encryption, enrollment, 1:1, 1:N over loose templates, and
// sizes.
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { KeyHolder, VeilfaceClient } from "@veilface/client";
import { PackedCrypto } from "@veilface/client/advanced";
import type { ModelSpace, ParameterSetName } from "@veilface/client";
import { ByteCounter } from "../scripts/dev/byte-counter.ts";
import { ServerProcess } from "../scripts/dev/server-process.ts";
import { latency, passing, quantile, round, sample, unitVector } from "./figures.ts";
import type { BenchLine } from "./figures.ts";

export const ROAD_CASES = [
  "encrypt",
  "enroll_loose",
  "compare_1_to_1",
  "search_loose",
  "bytes_compare_1_to_1",
  "bytes_search_loose",
  "bytes_enroll_loose",
];

const GALLERY = "bench";
const TEMPLATES = 1000;
const SPACE: ModelSpace = { dimension: 128, metric: "cosine", normBound: 1, modelId: "random" };
const ENCRYPTIONS = 200;
const COMPARISONS = 200;
const SEARCHES = 20;

/** Everything a case needs. */
interface Road {
  readonly client: VeilfaceClient;
  readonly crypto: PackedCrypto;
  readonly wire: ByteCounter;
  readonly server: ServerProcess;
  readonly about: Pick<BenchLine, "dimension" | "parameterSet" | "stride">;
}

/** Measures one parameter set; about ten seconds. */
export async function* roadBench(parameterSet: ParameterSetName): AsyncGenerator<BenchLine> {
  await using server = await ServerProcess.start(["--log-level", "warn"]);
  using wire = await ByteCounter.open(() => server.address);
  using keyHolder = await KeyHolder.create(parameterSet);
  const crypto = new PackedCrypto(keyHolder, SPACE);
  const about = { dimension: SPACE.dimension, parameterSet, stride: crypto.looseStride };
  using direct = new VeilfaceClient({ address: server.address, keyHolder });
  using counted = new VeilfaceClient({ address: wire.address, keyHolder });
  const road: Road = { client: direct, crypto, wire, server, about };
  await direct.createGallery(GALLERY, SPACE);
  yield await encryption(road);
  yield await enrollment(road);
  yield await comparison(road);
  yield await search(road);
  yield* sizes({ ...road, client: counted });
}

async function encryption({ crypto, about }: Road): Promise<BenchLine> {
  const template = await sample(ENCRYPTIONS, (i) => crypto.encryptTemplate(unitVector(i, SPACE.dimension)));
  const probe = await sample(ENCRYPTIONS, (i) => crypto.encryptProbe(unitVector(i, SPACE.dimension), [about.stride]));
  return { case: "encrypt", templates: 1, ...about, ...latency(template), probe_p50_ms: round(quantile(probe, 0.5)) };
}

async function enrollment({ client, about, server }: Road): Promise<BenchLine> {
  const before = await storedBytes(server);
  const source = Array.from({ length: TEMPLATES }, (_, i) => ({
    templateId: `t-${i}`,
    subjectId: `s-${i}`,
    embedding: unitVector(i, SPACE.dimension),
  }));
  const start = performance.now();
  await client.enroll(GALLERY, source, { packing: "never" });
  const seconds = (performance.now() - start) / 1000;
  const bytes = (await storedBytes(server)) - before;
  return {
    case: "enroll_loose",
    templates: TEMPLATES,
    ...about,
    templates_per_s: round(TEMPLATES / seconds),
    bytes_per_template: Math.round(bytes / TEMPLATES),
  };
}

async function comparison({ client, about }: Road): Promise<BenchLine> {
  const samples = await sample(COMPARISONS, (i) =>
    client.verify(GALLERY, { subjectId: `s-${i}`, embedding: unitVector(i, SPACE.dimension) }, { threshold: 0.5 }),
  );
  return { case: "compare_1_to_1", templates: TEMPLATES, ...about, ...latency(samples) };
}

// The plain scan of the same vectors runs between the searches, so that whatever else the machine does falls on both.
async function search({ client, about }: Road): Promise<BenchLine> {
  const gallery = Array.from({ length: TEMPLATES }, (_, i) => unitVector(i, SPACE.dimension));
  const encrypted: number[] = [];
  const plain: number[] = [];
  for (let i = 0; i < SEARCHES; i++) {
    const probe = unitVector(i, SPACE.dimension);
    encrypted.push(
      ...(await sample(1, async () => {
        const [nearest] = await client.identify(GALLERY, probe, { maxCandidates: 10 });
        if (nearest?.subjectId !== `s-${i}`) throw new Error(`the search for ${i} found somebody else`);
      })),
    );
    plain.push(
      ...(await sample(1, () =>
        gallery
          .map((template) => template.reduce((sum, x, k) => sum + x * probe[k]!, 0))
          .sort((a, b) => b - a)
          .slice(0, 10),
      )),
    );
  }
  return {
    case: "search_loose",
    templates: TEMPLATES,
    ...about,
    ...latency(encrypted),
    ratio_to_plain_scan: round(quantile(encrypted, 0.5) / quantile(plain, 0.5)),
  };
}

/** Over a connection that is open already. */
async function* sizes({ client, wire, about }: Road): AsyncGenerator<BenchLine> {
  const probe = unitVector(0, SPACE.dimension);
  const measure = async (run: () => Promise<unknown>): Promise<{ bytes_sent: number; bytes_received: number }> => {
    await run();
    return passing(wire, run);
  };
  yield {
    case: "bytes_compare_1_to_1",
    templates: TEMPLATES,
    ...about,
    ...(await measure(() => client.verify(GALLERY, { subjectId: "s-0", embedding: probe }, { threshold: 0.5 }))),
  };
  yield {
    case: "bytes_search_loose",
    templates: TEMPLATES,
    ...about,
    ...(await measure(() => client.identify(GALLERY, probe))),
  };
  const template = { templateId: "t-0", subjectId: "s-0", embedding: probe };
  yield {
    case: "bytes_enroll_loose",
    templates: 1,
    ...about,
    ...(await measure(() => client.enroll(GALLERY, [template], { packing: "never" }))),
  };
}

async function storedBytes(server: ServerProcess): Promise<number> {
  return (await stat(join(server.dataFolder, "data.mdb"))).size;
}
