import { FheError } from "@veilface/fhe";
import type { CiphertextEncoding, Layout, ParameterSetName } from "@veilface/fhe";
import { Piscina } from "piscina";
import { ServerError } from "./errors.ts";
import { BLOCKS_PER_TASK, allCancelled } from "./matcher-task.ts";
import type { BlockTask, MatchBlocks, MatchedBlock, Outcome, PrepareBlock, PrepareProbe, PrepareTemplate, PreparedProbe, SealedProduct, SerialisePieces } from "./matcher-task.ts";
import type { ReaderLocation } from "./store/gallery-store.ts";
import { mapUnordered } from "./streams.ts";
import type { SealedBytes } from "./validate.ts";

/** Tasks that may wait for a worker before calls are refused with LIMIT_EXCEEDED. */
const MAX_WAITING_TASKS = 4096;
/** Blocks of one stride to be multiplied with probes of that stride. */
export interface Scan {
  readonly parameterSet: ParameterSetName;
  readonly location: ReaderLocation;
  readonly probes: readonly PreparedProbe[];
  readonly encodings: readonly CiphertextEncoding[];
  readonly blocks: readonly BlockTask[];
  /** One i32 per probe; not 0 once nobody waits for it. A worker stops within a chunk (1 MiB) once all are set. */
  readonly cancelled: SharedArrayBuffer;
}

interface Tasks {
  readonly prepareTemplate: PrepareTemplate;
  readonly prepareBlock: PrepareBlock;
  readonly prepareProbe: PrepareProbe;
  readonly matchBlocks: MatchBlocks;
  readonly serialisePieces: SerialisePieces;
}

/** Compute on ciphertexts, in worker threads, so that the thread that speaks gRPC never waits for it. */
export class Matcher {
  readonly #pool: Piscina;
  readonly #workers: number;
  #lastProbe = 0;

  constructor(workers: number) {
    this.#workers = workers;
    this.#pool = new Piscina({
      filename: new URL(import.meta.url.endsWith(".ts") ? "./matcher-worker.ts" : "./matcher-worker.js", import.meta.url).href,
      minThreads: workers,
      maxThreads: workers,
      maxQueue: MAX_WAITING_TASKS,
    });
  }

  /** Resolves once a worker has loaded SEAL and answers. */
  async ready(): Promise<void> {
    await this.#pool.run(undefined, { name: "ready" });
  }

  /** A loose template's residues at its slot, as stored. Throws FheError or ServerError for a ciphertext that is not sound. */
  async prepareTemplate(parameterSet: ParameterSetName, ciphertext: SealedBytes, layout: Layout, slot: number): Promise<Uint8Array> {
    return this.#run("prepareTemplate", { parameterSet, ciphertext, exponent: slot * layout.stride });
  }

  /** A packed block's tiles, as stored, from its polynomials in order. Throws as {@link prepareTemplate}. */
  async prepareBlock(parameterSet: ParameterSetName, pieces: readonly SealedBytes[]): Promise<Uint8Array> {
    return this.#run("prepareBlock", { parameterSet, pieces });
  }

  /** A probe ready for matching, from its pieces in order. Throws as {@link prepareTemplate}. */
  async prepareProbe(parameterSet: ParameterSetName, pieces: readonly SealedBytes[]): Promise<PreparedProbe> {
    const tiles = await this.#run<SharedArrayBuffer>("prepareProbe", { parameterSet, pieces });
    return { id: ++this.#lastProbe, pieces: pieces.length, tiles };
  }

  /** Stored residues as ciphertexts in packed residues: of a packed block with so many pieces, or of a loose template. */
  async serialise(parameterSet: ParameterSetName, chunks: readonly Uint8Array[], tiledPieces?: number): Promise<SealedProduct[]> {
    return this.#run("serialisePieces", { parameterSet, chunks, tiledPieces });
  }

  /** The products of blocks with probes, each block as soon as it is ready. */
  async *scan(scan: Scan): AsyncGenerator<MatchedBlock> {
    for await (const matched of mapUnordered(tasksOf(scan), 2 * this.#workers, (task) => this.#run<MatchedBlock[]>("matchBlocks", task))) yield* matched;
  }

  /** Waits for tasks under way, then ends the workers. */
  async close(): Promise<void> {
    await this.#pool.close();
  }

  async #run<T>(name: keyof Tasks, task: Tasks[keyof Tasks]): Promise<T> {
    if (this.#pool.queueSize >= MAX_WAITING_TASKS) throw new ServerError("LIMIT_EXCEEDED", "the server has too much waiting work: try again later");
    const outcome = (await this.#pool.run(task, { name })) as Outcome<T>;
    if ("value" in outcome) return outcome.value;
    if ("fheError" in outcome) throw new FheError(outcome.fheError.reason, outcome.fheError.message);
    const { reason, message, violations } = outcome.serverError;
    throw new ServerError(reason, message, { violations });
  }
}

function* tasksOf({ blocks, ...scan }: Scan): Generator<MatchBlocks> {
  const cancelled = new Int32Array(scan.cancelled);
  for (let first = 0; first < blocks.length && !allCancelled(cancelled); first += BLOCKS_PER_TASK) yield { ...scan, blocks: blocks.slice(first, first + BLOCKS_PER_TASK) };
}
