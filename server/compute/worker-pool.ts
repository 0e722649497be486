import { FheError } from "@veilface/fhe";
import { Piscina } from "piscina";
import { ServerError, overloaded } from "../errors.ts";
import type { Outcome } from "./worker-outcome.ts";

/** Tasks that may wait for a worker before calls are refused with OVERLOADED. */
const MAX_WAITING_TASKS = 4096;

/** Worker threads for compute on ciphertexts, so that the thread that speaks gRPC never waits for it. */
export class WorkerPool {
  readonly workers: number;
  readonly #pool: Piscina;

  constructor(workers: number) {
    this.workers = workers;
    this.#pool = new Piscina({
      filename: new URL(import.meta.url.endsWith(".ts") ? "./worker.ts" : "./worker.js", import.meta.url).href,
      minThreads: workers,
      maxThreads: workers,
      maxQueue: MAX_WAITING_TASKS,
    });
  }

  /** Resolves once a worker has loaded SEAL and answers. */
  async ready(): Promise<void> {
    await this.#pool.run(undefined, { name: "ready" });
  }

  /**
   * Runs the worker task of that name. `transfer`: buffers of the task to be handed over. Throws ServerError or
   * FheError as the task did.
   */
  async run<T>(name: string, task: unknown, transfer: readonly ArrayBuffer[] = []): Promise<T> {
    if (this.#pool.queueSize >= MAX_WAITING_TASKS) throw tooMuchWork();
    // What crosses threads has no type: it is what the task of that name in worker.ts returns.
    const outcome = (await this.#pool.run(task, { name, transferList: [...transfer] })) as Outcome<T>;
    if ("value" in outcome) return outcome.value;
    if ("fheError" in outcome) throw new FheError(outcome.fheError.reason, outcome.fheError.message);
    const { reason, message, violations } = outcome.serverError;
    throw new ServerError(reason, message, { violations });
  }

  /** Waits for tasks under way, then ends the workers. */
  async close(): Promise<void> {
    await this.#pool.close();
  }
}

function tooMuchWork(): ServerError {
  return overloaded("the server has too much waiting work");
}
