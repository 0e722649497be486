import type { CiphertextEncoding, Layout, ParameterSetName } from "@veilface/fhe";
import { tasksOf } from "./matcher-task.ts";
import type { BlockTask, MatchBlocks, MatchedBlock, PrepareBlock, PrepareProbe, PrepareTemplate, PreparedProbe, SerialisePieces } from "./matcher-task.ts";
import type { SealedBytes, SealedProduct } from "./sealed-bytes.ts";
import type { ReaderLocation } from "./store/gallery-store.ts";
import { mapUnordered } from "./streams.ts";
import type { WorkerPool } from "./worker-pool.ts";

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

/** The packed scheme's compute, in worker threads. */
export class Matcher {
  readonly #pool: WorkerPool;
  #lastProbe = 0;

  constructor(pool: WorkerPool) {
    this.#pool = pool;
  }

  /**
   * A loose template's residues at its slot, as stored. Throws FheError or ServerError for a ciphertext that is not sound. The buffer
   * of the ciphertext is given away, as those of pieces below: each must have one of its own.
   */
  async prepareTemplate(parameterSet: ParameterSetName, ciphertext: SealedBytes, layout: Layout, slot: number): Promise<Uint8Array> {
    return this.#run("prepareTemplate", { parameterSet, ciphertext, exponent: slot * layout.stride }, buffersOf([ciphertext]));
  }

  /** A packed block's tiles, as stored, from its polynomials in order. Throws as {@link prepareTemplate}. */
  async prepareBlock(parameterSet: ParameterSetName, pieces: readonly SealedBytes[]): Promise<Uint8Array> {
    return this.#run("prepareBlock", { parameterSet, pieces }, buffersOf(pieces));
  }

  /** A probe ready for matching, from its pieces in order. Throws as {@link prepareTemplate}. */
  async prepareProbe(parameterSet: ParameterSetName, pieces: readonly SealedBytes[]): Promise<PreparedProbe> {
    const tiles = await this.#run<SharedArrayBuffer>("prepareProbe", { parameterSet, pieces }, buffersOf(pieces));
    return { id: ++this.#lastProbe, pieces: pieces.length, tiles };
  }

  /**
   * Stored residues as ciphertexts in packed residues: of a packed block with so many pieces, or of a loose template. The chunks' buffers
   * are handed over: they are empty afterwards.
   */
  async serialise(parameterSet: ParameterSetName, chunks: readonly Uint8Array<ArrayBuffer>[], tiledPieces?: number): Promise<SealedProduct[]> {
    return this.#pool.run("serialisePieces", { parameterSet, chunks, tiledPieces } satisfies SerialisePieces, chunks.map(({ buffer }) => buffer));
  }

  /** The products of blocks with probes, each block as soon as it is ready. */
  async *scan(scan: Scan): AsyncGenerator<MatchedBlock> {
    for await (const matched of mapUnordered(tasksOf(scan), 2 * this.#pool.workers, (task) => this.#run<MatchedBlock[]>("matchBlocks", task))) yield* matched;
  }

  async #run<T>(name: keyof Tasks, task: Tasks[keyof Tasks], transfer: readonly ArrayBuffer[] = []): Promise<T> {
    return this.#pool.run(name, task, transfer);
  }
}

function buffersOf(pieces: readonly SealedBytes[]): ArrayBuffer[] {
  return pieces.map(({ data }) => data.buffer as ArrayBuffer);
}
