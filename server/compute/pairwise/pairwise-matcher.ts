import type { BlockAnswer } from "../block-answer.ts";
import { tasksOf } from "../block-task.ts";
import { buffersOf } from "../buffers.ts";
import type { PairwiseEncoding, CiphertextEnvelope, Envelope } from "../envelope.ts";
import type { ModelSpace } from "../../store/gallery-store.ts";
import { galleryTask } from "./gallery-task.ts";
import { mapUnordered } from "../../streams.ts";
import type { WorkerPool } from "../worker-pool.ts";
import type {
  AdmittedContext,
  CompareVectors,
  CompareWithTemplates,
  PrepareVector,
  UploadedKeys,
} from "./pairwise-task.ts";

/** A probe to be compared with templates. */
interface PairwiseScan extends Omit<CompareWithTemplates, "cancelled"> {
  readonly signal: AbortSignal;
}

/** A probe as it was sent, for a gallery of that space. */
interface SentProbe {
  readonly ciphertext: CiphertextEnvelope<PairwiseEncoding>;
  readonly space: ModelSpace;
}

/** The pairwise scheme's compute, in worker threads. */
export class PairwiseMatcher {
  readonly #pool: WorkerPool;

  constructor(pool: WorkerPool) {
    this.#pool = pool;
  }

  /**
   * Checks an uploaded context. Throws ServerError with what is wrong with it. The buffers of the upload are given
   * away.
   */
  async admit(uploaded: UploadedKeys): Promise<AdmittedContext> {
    const bytes = uploaded.kind === "tenseal" ? [uploaded.context] : [uploaded.relinKeys, uploaded.galoisKeys];
    return this.#pool.run("admitContext", uploaded, buffersOf(bytes));
  }

  /**
   * The bytes of a fresh ciphertext as they are stored, and compared. Throws ServerError or FheError for one that is
   * not sound.
   */
  async prepare(task: PrepareVector): Promise<Uint8Array> {
    return this.#pool.run("prepareVector", task);
  }

  /** Two ciphertexts compared; undefined where both are one, and their distance 0. Throws as {@link prepare}. */
  async compare(task: CompareVectors): Promise<Envelope | undefined> {
    return this.#pool.run("compareVectors", task);
  }

  /** The distances of a probe to templates, each as soon as it is ready. Throws the signal's reason once it aborts. */
  async *scan({ signal, ...scan }: PairwiseScan): AsyncGenerator<BlockAnswer> {
    const cancelled = new SharedArrayBuffer(4);
    const onAbort = (): void => void Atomics.store(new Int32Array(cancelled), 0, 1);
    signal.addEventListener("abort", onAbort);
    try {
      const compare = (task: CompareWithTemplates): Promise<BlockAnswer[]> =>
        this.#pool.run("compareWithTemplates", task);
      for await (const compared of mapUnordered(tasksOf({ ...scan, cancelled }), 2 * this.#pool.workers, compare)) {
        signal.throwIfAborted();
        yield* compared;
      }
      signal.throwIfAborted();
    } finally {
      onAbort();
      signal.removeEventListener("abort", onAbort);
    }
  }
}

/**
 * Compares a probe with the templates of a gallery, each a block of its own. Throws ServerError with what is wrong with
 * the probe.
 */
export async function scanPairwise(
  pairwise: PairwiseMatcher,
  { ciphertext, space }: SentProbe,
  scan: Omit<PairwiseScan, "probe" | "task">,
): Promise<AsyncIterable<BlockAnswer>> {
  const bytes = await pairwise.prepare({ context: scan.context, ciphertext, dimension: space.dimension });
  const probe = new SharedArrayBuffer(bytes.length);
  new Uint8Array(probe).set(bytes);
  return pairwise.scan({ ...scan, probe, task: galleryTask(space) });
}
