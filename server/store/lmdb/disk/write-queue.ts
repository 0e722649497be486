import { ServerError } from "../../../errors.ts";
import type { Root } from "./environment.ts";
import { SCHEMA_KEY, SCHEMA_VERSION, u32 } from "../rows/schema.ts";
import { Turn } from "./turns.ts";

interface Job {
  readonly bytes: number;
  /** Runs the action; what it returns resolves the promise, to be called once the commit is on disk. */
  readonly run: () => () => void;
  readonly reject: (error: unknown) => void;
}

// A commit costs one fsync (milliseconds) whatever it holds, so writes that wait share one. Bounds memory: dirty pages
// live on the heap.
const BATCH_BYTES = 16 * 2 ** 20;
const BATCH_JOBS = 1024;

/**
 * Runs write actions one after another, many to a commit, as many as a turn of the event loop has time for. An action
 * is synchronous and takes at most about a turn; it throws ServerError only before its first write, but for
 * STORED_CORRUPT. That, and any other error, undoes the whole batch, whose actions are then tried again one by one:
 * what an action remembers must not depend on its having run once.
 */
export class WriteQueue {
  readonly #root: Root;
  readonly #beforeCommit: () => void;
  #waiting: Job[] = [];
  #draining: Promise<void> | undefined;
  #closed = false;

  constructor(root: Root, beforeCommit: () => void) {
    this.#root = root;
    this.#beforeCommit = beforeCommit;
  }

  /** Whether it takes no more writes. */
  get isClosed(): boolean {
    return this.#closed;
  }

  /** Resolves with the action's value once it is on disk. `bytes`: about how much it writes. */
  write<T>(action: () => T, bytes = 0): Promise<T> {
    if (this.#closed)
      return Promise.reject(new ServerError("SHUTTING_DOWN", "the store is closed: no change was made"));
    return new Promise<T>((resolve, reject) => {
      const run = (): (() => void) => {
        const value = action();
        return () => {
          resolve(value);
        };
      };
      this.#waiting.push({ bytes, run, reject });
      this.#draining ??= this.#drain();
    });
  }

  /** Refuses new writes; resolves once those under way are done. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#draining;
  }

  async #drain(): Promise<void> {
    // Writes of the same turn of the event loop get into the same commit.
    await new Promise(setImmediate);
    while (this.#waiting.length > 0) await this.#commit(this.#takeBatch());
    this.#draining = undefined;
  }

  #takeBatch(): Job[] {
    let bytes = 0;
    let count = 0;
    for (const job of this.#waiting) {
      if (count >= BATCH_JOBS || (count > 0 && bytes >= BATCH_BYTES)) break;
      bytes += job.bytes;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  async #commit(jobs: readonly Job[]): Promise<void> {
    try {
      await this.#transact(jobs);
    } catch (error) {
      const [first, ...others] = jobs;
      if (others.length > 0) for (const job of jobs) await this.#commit([job]);
      else if (first !== undefined) await this.#tryAgain(first, error);
    }
  }

  // Pages that a commit frees can be used from the commit after the next one on: so an almost full disk may have room
  // after all.
  async #tryAgain(job: Job, error: unknown): Promise<void> {
    try {
      if (!isFull(error)) throw error;
      await this.#root.childTransaction(() => {
        this.#root.putSync(SCHEMA_KEY, u32(SCHEMA_VERSION));
      });
      await this.#transact([job]);
    } catch (reason) {
      await commitError(reason);
      job.reject(isFull(error) ? full(error) : error);
    }
  }

  async #transact(jobs: readonly Job[]): Promise<void> {
    let settle: (() => void)[] = [];
    try {
      this.#beforeCommit();
      // A snapshot that this thread's reads left behind would keep pages from being used again.
      this.#root.resetReadTxn();
      // A child transaction, because lmdb commits a plain one even if its callback throws.
      await this.#root.childTransaction(() => {
        settle = runInTurn(jobs);
      });
    } catch (error) {
      throw await commitError(error);
    }
    // Those that the turn was too short for come first the next time.
    this.#waiting.unshift(...jobs.slice(settle.length));
    for (const done of settle) done();
  }
}

/** Runs jobs until the turn is over: the first one always. */
function runInTurn(jobs: readonly Job[]): (() => void)[] {
  const turn = new Turn();
  const settle: (() => void)[] = [];
  for (const job of jobs) {
    if (settle.length > 0 && turn.isOver) break;
    settle.push(run(job));
  }
  return settle;
}

function run({ run: action, reject }: Job): () => void {
  try {
    return action();
  } catch (error) {
    // A damaged row may be met in the middle of a change.
    if (error instanceof ServerError && error.reason !== "STORED_CORRUPT")
      return () => {
        reject(error);
      };
    throw error;
  }
}

// lmdb rejects with a general error first; the reason follows in a promise of its own, which must be looked at in any
// case: a rejection that nobody handles would end the process.
async function commitError(error: unknown): Promise<unknown> {
  if (!(error instanceof Error && "commitError" in error)) return error;
  try {
    await error.commitError;
    return error;
  } catch (reason) {
    return reason;
  }
}

// LMDB's MDB_MAP_FULL; EFBIG, ENOSPC and EDQUOT as it passes them on; EIO, because that is what it makes of a write
// that the disk took only a part of, which is how a full disk shows first.
const FULL_CODES: readonly unknown[] = [-30792, 27, 28, 122, 5];

function isFull(error: unknown): boolean {
  return error instanceof Error && "code" in error && FULL_CODES.includes(error.code);
}

function full(cause: unknown): ServerError {
  return new ServerError(
    "STORAGE_FULL",
    "the disk is full (or failing, see the cause): free space on it or delete templates",
    { cause },
  );
}
