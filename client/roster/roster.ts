import { isDeepStrictEqual } from "node:util";
import { UNBOUNDED } from "../remote/call-bounds.ts";
import type { Bounded } from "../remote/call-bounds.ts";
import { ClientError } from "../errors.ts";
import { RosterColumns } from "./roster-columns.ts";
import { RosterTable } from "./roster-table.ts";
import type { RosterEntry } from "../remote/wire.ts";
import type { RosterChange, RosterPage } from "../remote/wire.ts";

/** Reads a page of what changed after a revision. */
export type ReadRosterPage = (sinceRevision: number, pageToken: string, options?: Bounded) => Promise<RosterPage>;

/** A stored copy of a roster: of this very gallery, or undefined. Neither method throws. */
export interface RosterStore {
  readonly load: () => Promise<Uint8Array | undefined>;
  readonly save: (bytes: Uint8Array) => Promise<void>;
}

// A copy that lacks few changes is nearly as good: they are read again the next time. So a large one is not written for
// every change.
const UNSAVED_FRACTION = 0.01;

/**
 * Who lies where in one gallery, kept current by asking for changes only. A place is never given to another template,
 * so a roster that is behind can miss entries but never name the wrong person.
 */
export class Roster {
  readonly #readPage: ReadRosterPage;
  readonly #store: RosterStore | undefined;
  #table = new RosterTable();
  #revision = 0;
  #updating: Promise<void> | undefined;
  #restored = false;
  /** A stored copy is not trusted until the server has shown the same last change. */
  #confirmed = true;
  #unsaved = 0;

  constructor(readPage: ReadRosterPage, store?: RosterStore) {
    this.#readPage = readPage;
    this.#store = store;
  }

  /** The gallery's revision up to which it is complete. */
  get revision(): number {
    return this.#revision;
  }

  /** The live templates as they are now; changed by every update. */
  get table(): RosterTable {
    return this.#table;
  }

  /** Live templates, in the order they last changed. */
  entries(): RosterEntry[] {
    return this.#table.entries().toArray();
  }

  /**
   * Brings it up to a revision at least; one update runs at a time, with the options of whoever came first: where that
   * one gives up, the next goes on. Throws ClientError ROSTER_STALE where the server does not come that far,
   * CANCELLED, DEADLINE_EXCEEDED, and what the page reader throws.
   */
  async update(revision: number, options: Bounded = UNBOUNDED): Promise<void> {
    while (this.#updating !== undefined) await options.bounds.unlessOver(this.#updating.catch(() => undefined));
    if (this.#isCurrent(revision)) return;
    await this.#run(async () => {
      await this.#restore();
      if (!this.#isCurrent(revision)) await this.#readChanges(options);
    });
    if (this.#revision < revision) {
      throw new ClientError(
        "ROSTER_STALE",
        `the server lists changes up to revision ${this.#revision}, but has answered at revision ${revision}: try again`,
      );
    }
  }

  /**
   * Reads what changed since, whether or not it seems current. Throws CANCELLED, DEADLINE_EXCEEDED and what the page
   * reader throws.
   */
  async refresh(options: Bounded = UNBOUNDED): Promise<void> {
    while (this.#updating !== undefined) await options.bounds.unlessOver(this.#updating.catch(() => undefined));
    await this.#run(() => this.#readChanges(options));
  }

  #isCurrent(revision: number): boolean {
    return this.#confirmed && this.#revision >= revision;
  }

  async #run(work: () => Promise<void>): Promise<void> {
    this.#updating = work();
    try {
      await this.#updating;
    } finally {
      this.#updating = undefined;
    }
  }

  async #restore(): Promise<void> {
    if (this.#restored || this.#store === undefined) return;
    this.#restored = true;
    const bytes = await this.#store.load();
    const stored = bytes && RosterColumns.fromBytes(bytes);
    if (stored === undefined || stored.revision < 1) return;
    this.#table = new RosterTable(stored.columns);
    this.#revision = stored.revision;
    this.#confirmed = false;
  }

  async #readChanges(options: Bounded): Promise<void> {
    // One change again for a stored copy: a server put back from a backup may have other templates in the same places.
    const since = this.#confirmed ? this.#revision : this.#revision - 1;
    let page: RosterPage;
    let pageToken = "";
    do {
      page = await this.#readPage(since, pageToken, options);
      if (!this.#confirmed && pageToken === "" && !this.#agreesWith(page)) return this.#readAnew(options);
      this.#confirmed = true;
      for (const change of page.changes) if (change.revision > this.#revision) this.#apply(change);
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    this.#revision = page.revision;
    await this.#save();
  }

  #agreesWith({ revision, changes }: RosterPage): boolean {
    const last = changes.find((change) => change.revision === this.#revision);
    if (revision < this.#revision) return false;
    if (last === undefined) return true;
    const stored = this.#table.last();
    return last.live === undefined ? stored?.revision !== last.revision : isDeepStrictEqual(stored, last.live);
  }

  #readAnew(options: Bounded): Promise<void> {
    this.#table = new RosterTable();
    this.#revision = 0;
    this.#confirmed = true;
    return this.#readChanges(options);
  }

  #apply({ templateId, live }: RosterChange): void {
    this.#unsaved++;
    if (live !== undefined) this.#table.set(live);
    else this.#table.delete(templateId);
  }

  async #save(): Promise<void> {
    if (this.#store === undefined || this.#unsaved <= UNSAVED_FRACTION * this.#table.size) return;
    this.#unsaved = 0;
    await this.#store.save(this.#table.toBytes(this.#revision));
  }
}
