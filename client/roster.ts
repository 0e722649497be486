import { ClientError } from "./errors.ts";
import type { RosterEntry } from "./wire.ts";

/** A step of a roster's history: a template's latest line, undefined once it is deleted. */
export interface RosterChange {
  readonly templateId: string;
  readonly live: RosterEntry | undefined;
}

/** A page of changes, oldest first. */
export interface RosterPage {
  readonly changes: readonly RosterChange[];
  /** The gallery's revision when the page was read. */
  readonly revision: number;
  /** Empty on the last page. */
  readonly nextPageToken: string;
}

/** Reads a page of what changed after a revision. */
export type ReadRosterPage = (sinceRevision: number, pageToken: string) => Promise<RosterPage>;

/**
 * Who lies where in one gallery, kept current by asking for changes only. A place is never given to another template, so a roster
 * that is behind can miss entries but never name the wrong person. In memory; what it holds (entries and revision) is all that a
 * stored copy would need.
 */
export class Roster {
  readonly #readPage: ReadRosterPage;
  readonly #entries = new Map<string, RosterEntry>();
  #revision = 0;
  #updating: Promise<void> | undefined;

  constructor(readPage: ReadRosterPage) {
    this.#readPage = readPage;
  }

  /** The gallery's revision up to which it is complete. */
  get revision(): number {
    return this.#revision;
  }

  /** Live templates, in the order they last changed. */
  entries(): RosterEntry[] {
    return this.#entries.values().toArray();
  }

  /**
   * Brings it up to a revision at least; one update runs at a time. Throws ClientError ROSTER_STALE where the server does not come
   * that far, and what the page reader throws.
   */
  async update(revision: number): Promise<void> {
    while (this.#updating !== undefined) await this.#updating.catch(() => undefined);
    if (this.#revision >= revision) return;
    this.#updating = this.#readChanges();
    try {
      await this.#updating;
    } finally {
      this.#updating = undefined;
    }
    if (this.#revision < revision) {
      throw new ClientError("ROSTER_STALE", `the server lists changes up to revision ${this.#revision}, but has answered at revision ${revision}: try again`);
    }
  }

  async #readChanges(): Promise<void> {
    const since = this.#revision;
    let page: RosterPage;
    let pageToken = "";
    do {
      page = await this.#readPage(since, pageToken);
      page.changes.forEach((change) => {
        this.#apply(change);
      });
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    this.#revision = page.revision;
  }

  #apply({ templateId, live }: RosterChange): void {
    // Deleted first, so that a changed entry moves to the end of the map's order.
    this.#entries.delete(templateId);
    if (live !== undefined) this.#entries.set(templateId, live);
  }
}
