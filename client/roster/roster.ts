import { isDeepStrictEqual } from "node:util";
import { UNBOUNDED } from "../remote/call-bounds.ts";
import type { Bounded } from "../remote/call-bounds.ts";
import { ClientError } from "../errors.ts";
import { RosterColumns } from "./roster-columns.ts";
import { RosterTable } from "./roster-table.ts";
import { RosterUpdate } from "./roster-update.ts";
import type { Gathered } from "./roster-update.ts";
import type { RosterEntry, RosterPage } from "../remote/wire.ts";

/** Reads a page of what changed after a revision. */
export type ReadRosterPage = (sinceRevision: number, pageToken: string, options?: Bounded) => Promise<RosterPage>;

/** A stored roster, and the uid of the gallery that it is of. */
export interface StoredRoster {
  readonly uid: string;
  readonly bytes: Uint8Array;
}

/** A stored copy of a gallery's roster, or undefined. Neither method throws. */
export interface RosterStore {
  readonly load: () => Promise<StoredRoster | undefined>;
  readonly save: (roster: StoredRoster) => Promise<void>;
}

// A copy that lacks few changes is nearly as good: they are read again the next time. So a large one is not written for
// every change.
const UNSAVED_FRACTION = 0.01;
const ATTEMPTS = 2;

/**
 * Who lies where in one gallery, kept current by asking for changes only. A place is never given to another template,
 * so a roster that is behind can miss entries but never name the wrong person.
 */
export class Roster {
  readonly #readPage: ReadRosterPage;
  readonly #store: RosterStore | undefined;
  /** Of the gallery that it is of; "" while it is of none. */
  #uid = "";
  #table = new RosterTable();
  #revision = 0;
  #restoring: Promise<void> | undefined;
  /** The first reading of all of it, for which others wait. */
  #loading: Promise<void> | undefined;
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

  /** Begins an update, to be disposed of. While all of a roster is read for the first time, others wait for that. */
  async begin(options: Bounded = UNBOUNDED): Promise<RosterUpdate> {
    await (this.#restoring ??= this.#restore());
    while (this.#loading !== undefined) await options.bounds.unlessOver(this.#loading);
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const over = (): void => {
      if (this.#loading === promise) this.#loading = undefined;
      resolve(undefined);
    };
    if (this.#revision === 0) this.#loading = promise;
    // One change again for a stored copy: a server put back from a backup may have other templates in the same places.
    const revision = this.#confirmed ? this.#revision : this.#revision - 1;
    return new RosterUpdate({ uid: this.#uid, revision }, (gathered) => this.#merge(gathered), over);
  }

  /**
   * Brings it up to a revision at least of the gallery with that uid. Throws ClientError ROSTER_STALE where the server
   * does not come that far, CANCELLED, and what the page reader throws.
   */
  async update(uid: string, revision: number, options: Bounded = UNBOUNDED): Promise<void> {
    if (this.#confirmed && this.#uid === uid && this.#revision >= revision) return;
    await this.refresh(uid, options);
    if (this.#revision >= revision) return;
    const listed = `the server lists changes up to revision ${this.#revision}`;
    throw new ClientError("ROSTER_STALE", `${listed}, but has answered at revision ${revision}: try again`);
  }

  /** Reads what changed since, whether or not it seems current. Throws CANCELLED and what the page reader throws. */
  async refresh(uid: string, options: Bounded = UNBOUNDED): Promise<RosterTable> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#readChanges(uid, options);
      } catch (error) {
        const isStale = error instanceof ClientError && error.reason === "ROSTER_STALE";
        if (!isStale || attempt === ATTEMPTS) throw error;
      }
    }
  }

  async #readChanges(uid: string, options: Bounded): Promise<RosterTable> {
    using update = await this.begin(options);
    update.of(uid);
    const since = uid === update.since.uid ? update.since.revision : 0;
    for (let pageToken = ""; ; ) {
      const page = await this.#readPage(since, pageToken, options);
      update.add(page.changes);
      if (page.nextPageToken === "") return await update.finish(page.revision);
      pageToken = page.nextPageToken;
    }
  }

  async #restore(): Promise<void> {
    const found = await this.#store?.load();
    const stored = found && RosterColumns.fromBytes(found.bytes);
    if (stored === undefined || stored.revision < 1 || found === undefined) return;
    this.#uid = found.uid;
    this.#table = new RosterTable(stored.columns);
    this.#revision = stored.revision;
    this.#confirmed = false;
  }

  async #merge(gathered: Gathered): Promise<RosterTable> {
    const { uid, table, revision } = gathered;
    if (table === undefined) this.#applyChanges(gathered);
    else if (!this.#confirmed || uid !== this.#uid || revision > this.#revision) this.#replace(gathered, table);
    const merged = this.#table;
    await this.#save();
    return merged;
  }

  #applyChanges(gathered: Gathered): void {
    const { uid, changes, revision, since } = gathered;
    if (uid !== this.#uid || since.revision > this.#revision)
      throw stale("the gallery was replaced, or read anew, meanwhile");
    if (revision < since.revision || (!this.#confirmed && !this.#agreesWith(gathered))) {
      this.#replace({ uid: "", revision: 0 }, new RosterTable());
      throw stale("the gallery is not what it was: the server may have been put back from a backup");
    }
    this.#confirmed = true;
    for (const change of changes) {
      if (change.revision <= this.#revision) continue;
      this.#table.apply(change);
      this.#unsaved++;
    }
    this.#revision = Math.max(this.#revision, revision);
  }

  /** Whether a stored copy's last change is the server's too, unless it changed that template again. */
  #agreesWith({ revision, changes }: Gathered): boolean {
    if (revision < this.#revision) return false;
    const last = this.#table.last();
    // Where that was a deletion, its template may have been enrolled anew since.
    if (last === undefined || last.revision < this.#revision)
      return changes.find((change) => change.revision === this.#revision)?.live === undefined;
    const change = changes.find(({ templateId }) => templateId === last.templateId);
    return change !== undefined && (change.revision > last.revision || isDeepStrictEqual(change.live, last));
  }

  #replace({ uid, revision }: Pick<Gathered, "uid" | "revision">, table: RosterTable): void {
    this.#uid = uid;
    this.#table = table;
    this.#revision = revision;
    this.#confirmed = true;
    this.#unsaved = table.size;
  }

  async #save(): Promise<void> {
    if (this.#store === undefined || this.#unsaved <= UNSAVED_FRACTION * this.#table.size) return;
    this.#unsaved = 0;
    await this.#store.save({ uid: this.#uid, bytes: this.#table.toBytes(this.#revision) });
  }
}

function stale(why: string): ClientError {
  return new ClientError("ROSTER_STALE", `${why}: try again`);
}
