import type { RosterChange, RosterState } from "../remote/wire.ts";
import { RosterTable } from "./roster-table.ts";

/** What an update has gathered: a table of its own where it began at nothing, else changes. */
export interface Gathered {
  /** The gallery that it is of. */
  readonly uid: string;
  readonly since: RosterState;
  /** Up to which it is complete. */
  readonly revision: number;
  readonly table: RosterTable | undefined;
  readonly changes: readonly RosterChange[];
}

/**
 * Changes of a roster as they come, which count once they are complete: of updates that run side by side none then sees
 * another's half.
 */
export class RosterUpdate implements Disposable {
  /** What the server is told; of another gallery, or of none, it sends the whole roster. */
  readonly since: RosterState;
  readonly #finish: (gathered: Gathered) => Promise<RosterTable>;
  readonly #over: () => void;
  #uid = "";
  #table: RosterTable | undefined;
  readonly #changes: RosterChange[] = [];

  /** For Roster.begin. */
  constructor(since: RosterState, finish: (gathered: Gathered) => Promise<RosterTable>, over: () => void) {
    this.since = since;
    this.#finish = finish;
    this.#over = over;
  }

  /** The gallery that answers. Before any changes. */
  of(uid: string): void {
    this.#uid = uid;
    if (uid !== this.since.uid || this.since.revision === 0) this.#table = new RosterTable();
  }

  /** Takes changes, oldest first. Throws ClientError REPLY_INVALID for ids or a place that cannot be. */
  add(changes: readonly RosterChange[]): void {
    if (this.#table === undefined) {
      for (const change of changes) this.#changes.push(change);
      return;
    }
    for (const change of changes) this.#table.apply(change);
  }

  /**
   * All changes up to a revision were added: the roster has them from here on. Returns its table. Throws ClientError
   * ROSTER_STALE where they do not fit what the roster had, which is then read anew by the next update.
   */
  finish(revision: number): Promise<RosterTable> {
    return this.#finish({
      uid: this.#uid,
      since: this.since,
      revision,
      table: this.#table,
      changes: this.#changes,
    });
  }

  /** Lets others begin, where they wait for it. */
  [Symbol.dispose](): void {
    this.#over();
  }
}
