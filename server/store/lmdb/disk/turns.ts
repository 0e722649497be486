import { ServerError } from "../../../errors.ts";

/**
 * Milliseconds that work may hold the event loop at a time. With a step that ends late, and a full garbage collection
 * of young objects, the loop is free again within 20.
 */
const TURN_MS = 8;

/** Those who wait for their turn, first come first served. */
const waiting: (() => void)[] = [];

/**
 * Resolves in a turn of the event loop that nobody else got here, so that many at once hold it no longer than one does.
 */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    if (waiting.length === 1) setImmediate(serve);
  });
}

function serve(): void {
  waiting.shift()?.();
  if (waiting.length > 0) setImmediate(serve);
}

/** A deadline {@link TURN_MS} from now. */
export class Turn {
  readonly #end = performance.now() + TURN_MS;

  /** Whether the time is up: what is left is for another turn. */
  get isOver(): boolean {
    return performance.now() >= this.#end;
  }
}

/** What ends work in turns early. */
export interface Gate {
  readonly isClosed: boolean;
}

/** Long work in turns: awaits a turn of its own first, then whenever the last one is over. */
export class Pace {
  readonly #gate: Gate;
  #turn: Turn | undefined;

  constructor(gate: Gate) {
    this.#gate = gate;
  }

  /**
   * Await it before each step, which should take well below a millisecond. Throws ServerError SHUTTING_DOWN once the
   * gate is closed.
   */
  async step(): Promise<void> {
    if (this.#turn?.isOver !== false) {
      await nextTurn();
      this.#turn = new Turn();
    }
    if (this.#gate.isClosed)
      throw new ServerError("SHUTTING_DOWN", "the store is closed: try again once the server is back");
  }
}
