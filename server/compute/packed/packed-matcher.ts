import type { ParameterSetName } from "@veilface/fhe";
import { tasksOf } from "../block-task.ts";
import { buffersOf } from "../buffers.ts";
import type {
  MatchBlocks,
  MatchedBlock,
  PrepareBlock,
  PrepareProbe,
  PrepareTemplate,
  PreparedProbe,
  SerializePieces,
} from "./packed-task.ts";
import type { CiphertextEnvelope, Envelope } from "../envelope.ts";
import { mapUnordered } from "../../streams.ts";
import type { WorkerPool } from "../worker-pool.ts";

interface Tasks {
  readonly prepareTemplate: PrepareTemplate;
  readonly prepareBlock: PrepareBlock;
  readonly prepareProbe: PrepareProbe;
  readonly matchBlocks: MatchBlocks;
  readonly serializePieces: SerializePieces;
}

/** The packed scheme's compute, in worker threads. */
export class PackedMatcher {
  readonly #pool: WorkerPool;
  #lastProbe = 0;

  constructor(pool: WorkerPool) {
    this.#pool = pool;
  }

  /**
   * A loose template's residues at its slot, as stored. Throws FheError or ServerError for a ciphertext that is not
   * sound. The buffer of the ciphertext is given away, as those of pieces below: each must have one of its own.
   */
  async prepareTemplate(task: PrepareTemplate): Promise<Uint8Array> {
    return this.#run("prepareTemplate", task, buffersOf([task.ciphertext.data]));
  }

  /** A packed block's tiles, as stored, from its polynomials in order. Throws as {@link prepareTemplate}. */
  async prepareBlock(parameterSet: ParameterSetName, pieces: readonly CiphertextEnvelope[]): Promise<Uint8Array> {
    return this.#run("prepareBlock", { parameterSet, pieces }, buffersOf(pieces.map(({ data }) => data)));
  }

  /** A probe ready for matching, from its pieces in order. Throws as {@link prepareTemplate}. */
  async prepareProbe(parameterSet: ParameterSetName, pieces: readonly CiphertextEnvelope[]): Promise<PreparedProbe> {
    const buffers = buffersOf(pieces.map(({ data }) => data));
    const tiles = await this.#run<SharedArrayBuffer>("prepareProbe", { parameterSet, pieces }, buffers);
    return { id: ++this.#lastProbe, pieces: pieces.length, tiles };
  }

  /**
   * Stored residues as ciphertexts in packed residues: of a packed block with so many pieces, or of a loose template.
   * The chunks' buffers are handed over: they are empty afterwards.
   */
  async serialize(
    parameterSet: ParameterSetName,
    chunks: readonly Uint8Array<ArrayBuffer>[],
    tiledPieces?: number,
  ): Promise<Envelope[]> {
    return this.#pool.run(
      "serializePieces",
      { parameterSet, chunks, tiledPieces } satisfies SerializePieces,
      chunks.map(({ buffer }) => buffer),
    );
  }

  /** The products of blocks with probes, each block as soon as it is ready, until nobody waits for any probe. */
  async *scan(scan: MatchBlocks): AsyncGenerator<MatchedBlock> {
    for await (const matched of mapUnordered(tasksOf(scan), 2 * this.#pool.workers, (task) =>
      this.#run<MatchedBlock[]>("matchBlocks", task),
    ))
      yield* matched;
  }

  async #run<T>(name: keyof Tasks, task: Tasks[keyof Tasks], transfer: readonly ArrayBuffer[] = []): Promise<T> {
    return this.#pool.run(name, task, transfer);
  }
}
