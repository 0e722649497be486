import { FheError } from "@veilface/fhe";
import type { CiphertextEncoding, Layout, ParameterSetName } from "@veilface/fhe";
import { Piscina } from "piscina";
import { ServerError } from "./errors.ts";
import type { BlockTask, MatchBlocks, Outcome, PrepareProbe, PrepareTemplate, PreparedProbe, Product } from "./matcher-task.ts";
import type { ReaderLocation } from "./store/gallery-store.ts";
import { mapUnordered } from "./streams.ts";
import type { SealedBytes } from "./validate.ts";

export type { BlockTask, PreparedProbe, Product } from "./matcher-task.ts";

/** Tasks that may wait for a worker before calls are refused with LIMIT_EXCEEDED. */
const MAX_WAITING_TASKS = 4096;
/** Blocks a worker multiplies before it hands over products: about 3 ms of work, so that searches share the workers fairly. */
const BLOCKS_PER_TASK = 4;

/** One search or comparison, as the matcher needs to know it. */
export interface Match {
  readonly parameterSet: ParameterSetName;
  readonly location: ReaderLocation;
  /** The prepared probe of each stride that the blocks have. */
  readonly probes: ReadonlyMap<number, PreparedProbe>;
  readonly blocks: readonly BlockTask[];
  readonly encoding: CiphertextEncoding;
  readonly signal: AbortSignal;
}

type TaskName = "prepareTemplate" | "prepareProbe" | "matchBlocks";

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
    return this.#run<Uint8Array>("prepareTemplate", { parameterSet, ciphertext, exponent: slot * layout.stride });
  }

  /** A probe ready for matching, from its pieces in order. Throws as {@link prepareTemplate}. */
  async prepareProbe(parameterSet: ParameterSetName, pieces: readonly SealedBytes[]): Promise<PreparedProbe> {
    const tiles = await this.#run<SharedArrayBuffer>("prepareProbe", { parameterSet, pieces });
    return { id: ++this.#lastProbe, pieces: pieces.length, tiles };
  }

  /** The products of blocks with a probe, each as soon as it is ready. Stops scanning when the signal aborts. */
  async *match(match: Match): AsyncGenerator<Product> {
    const cancelled = new SharedArrayBuffer(4);
    const cancel = (): void => void Atomics.store(new Int32Array(cancelled), 0, 1);
    match.signal.addEventListener("abort", cancel);
    try {
      const tasks = tasksOf(match, cancelled);
      for await (const products of mapUnordered(tasks, 2 * this.#workers, (task) => this.#run<Product[]>("matchBlocks", task))) {
        match.signal.throwIfAborted();
        yield* products;
      }
    } finally {
      cancel();
      match.signal.removeEventListener("abort", cancel);
    }
  }

  /** Waits for tasks under way, then ends the workers. */
  async close(): Promise<void> {
    await this.#pool.close();
  }

  async #run<T>(name: TaskName, task: PrepareTemplate | PrepareProbe | MatchBlocks): Promise<T> {
    if (this.#pool.queueSize >= MAX_WAITING_TASKS) throw new ServerError("LIMIT_EXCEEDED", "the server has too much waiting work: try again later");
    const outcome = (await this.#pool.run(task, { name })) as Outcome<T>;
    if ("value" in outcome) return outcome.value;
    if ("fheError" in outcome) throw new FheError(outcome.fheError.reason, outcome.fheError.message);
    const { reason, message, violations } = outcome.serverError;
    throw new ServerError(reason, message, { violations });
  }
}

function* tasksOf({ parameterSet, location, probes, blocks, encoding }: Match, cancelled: SharedArrayBuffer): Generator<MatchBlocks> {
  for (const [stride, probe] of probes) {
    const ofStride = blocks.filter((block) => block.stride === stride);
    for (let first = 0; first < ofStride.length; first += BLOCKS_PER_TASK) {
      yield { parameterSet, probe, location, blocks: ofStride.slice(first, first + BLOCKS_PER_TASK), encoding, cancelled };
    }
  }
}
