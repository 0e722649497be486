import { ServerError } from "../../../errors.ts";
import type { ServerErrorReason } from "../../../errors.ts";
import type { BlobEraser } from "../disk/blob-eraser.ts";
import { nextNumber } from "../disk/blob-store.ts";
import type { ContextTable } from "./context-table.ts";
import type { GalleryTable } from "./gallery-table.ts";
import type { Tables } from "../rows/schema.ts";
import { Pace, Turn } from "../disk/turns.ts";
import type { WriteQueue } from "../disk/write-queue.ts";

/** Where the store says what it could not do; pino's loggers are such. */
export interface StoreLog {
  /** `fields`: numbers, and the error as `err`; never ids. */
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
}

/** What removals work with. */
interface RemovalParts {
  readonly tables: Tables;
  readonly queue: WriteQueue;
  readonly eraser: BlobEraser;
  readonly contexts: ContextTable;
  readonly galleries: GalleryTable;
  readonly log: StoreLog | undefined;
  /** Called with the number of each gallery that is deleted. */
  readonly onDeleted: (gallery: number) => void;
}

/** What a step hid: numbers of galleries to be erased, and whether it was the last one. */
interface Hidden {
  readonly galleries: readonly number[];
  readonly isDone: boolean;
}

const SWEEP_MS = 60 * 60 * 1000;
const RETRY_MS = 60 * 1000;
const GALLERIES_AT_ONCE = 64;
/** Errors that no caller is to blame for. */
const FAULTS: readonly ServerErrorReason[] = ["STORAGE_FULL", "STORED_CORRUPT"];

/**
 * Deletes galleries and contexts in steps that hold the event loop for a turn each, and erases what they held. What a
 * former process left undone is taken up at once; what fails is logged and tried again every minute; abandoned drafts
 * are looked for every hour.
 */
export class Removals {
  readonly #parts: RemovalParts;
  /** Blobs that this process stores have this number or a larger one. */
  readonly #firstBlob: number;
  /** Contexts whose galleries are being deleted, until there are none. */
  readonly #contexts = new Map<string, Promise<unknown>>();
  readonly #sweep: NodeJS.Timeout;
  #retry: NodeJS.Timeout | undefined;
  #background: Promise<void> = Promise.resolve();
  #closing = false;

  constructor(parts: RemovalParts) {
    this.#parts = parts;
    this.#firstBlob = nextNumber(parts.tables.numbers, "blob");
    this.#sweep = setInterval(() => {
      this.#inBackground(() => this.#discardAbandoned());
    }, SWEEP_MS).unref();
    // At once, so that whoever wants to create one of these contexts again waits.
    const contexts = this.#hideDoomed();
    this.#inBackground(() => this.#resume(contexts));
  }

  /** As GalleryStore.deleteGallery. */
  async deleteGallery(galleryId: string): Promise<void> {
    const { galleries, queue } = this.#parts;
    await this.eraseGalleries(
      await this.#hideAll(() =>
        queue.write(() => {
          galleries.row(galleryId);
          return this.#hide([galleryId]);
        }),
      ),
    );
  }

  /** As GalleryStore.deleteContext. */
  async deleteContext(contextId: string, force: boolean): Promise<void> {
    const doomed = this.#doomContext(contextId, force);
    const hidden = this.#hideContext(contextId, doomed);
    await this.eraseBlobs(await doomed);
    await this.eraseGalleries(await hidden);
  }

  /** Resolves once a context of that id may be created: its former galleries must not show up in it. */
  async contextIsFree(contextId: string): Promise<void> {
    await this.#contexts.get(contextId)?.catch(() => undefined);
  }

  /** Erases galleries that are hidden. Resolves as {@link BlobEraser.eraseBlobs}; what fails is tried again later. */
  async eraseGalleries(galleries: readonly number[]): Promise<void> {
    galleries.forEach(this.#parts.onDeleted);
    await this.#watched(this.#parts.eraser.eraseGalleries(galleries));
  }

  /**
   * Erases blobs that nothing names any more. Resolves as {@link BlobEraser.eraseBlobs}; what fails is tried again
   * later.
   */
  async eraseBlobs(blobs: readonly number[]): Promise<void> {
    await this.#watched(this.#parts.eraser.eraseBlobs(blobs));
  }

  /** Stops after the steps under way. */
  close(): void {
    this.#closing = true;
    clearInterval(this.#sweep);
    clearTimeout(this.#retry);
    this.#parts.eraser.close();
  }

  /** Resolves once nothing goes on in the background. */
  async settled(): Promise<void> {
    await this.#background;
  }

  /** Hides a context with its galleries. Returns the blobs of its keys. */
  #doomContext(contextId: string, force: boolean): Promise<number[]> {
    const { contexts, galleries, queue } = this.#parts;
    return queue.write(() => {
      contexts.get(contextId);
      if (galleries.idsOfContext(contextId, "", 1).length === 0 || force) return contexts.doom(contextId);
      throw new ServerError(
        "CONTEXT_IN_USE",
        `context ${contextId} has galleries: delete them first, or force the deletion of all`,
      );
    });
  }

  /**
   * Removes the galleries of a context that is hidden once `doomed` resolves, and returns their numbers, to be erased.
   */
  #hideContext(contextId: string, doomed: Promise<unknown>): Promise<number[]> {
    const { contexts, galleries, queue } = this.#parts;
    const step = (): Hidden => {
      // It may be another one of that id by now.
      if (!contexts.isDoomed(contextId)) return { galleries: [], isDone: true };
      const hidden = this.#hide(galleries.idsOfContext(contextId, "", GALLERIES_AT_ONCE));
      const isDone = hidden.isDone && galleries.idsOfContext(contextId, "", 1).length === 0;
      if (isDone) contexts.forget(contextId);
      return { ...hidden, isDone };
    };
    const hidden = doomed.then(() => this.#hideAll(() => queue.write(step)));
    this.#contexts.set(contextId, hidden);
    const forget = (): void => {
      if (this.#contexts.get(contextId) === hidden) this.#contexts.delete(contextId);
    };
    void hidden.then(forget, forget);
    return hidden;
  }

  /** Hides galleries, each after its drafts, until the turn is over; inside a write transaction. */
  #hide(galleryIds: readonly string[]): Hidden {
    const turn = new Turn();
    const hidden: number[] = [];
    for (const galleryId of galleryIds) {
      while (this.#parts.galleries.doomDrafts(galleryId, hidden))
        if (turn.isOver) return { galleries: hidden, isDone: false };
      this.#parts.galleries.doom(galleryId, hidden);
      if (turn.isOver) return { galleries: hidden, isDone: galleryId === galleryIds.at(-1) };
    }
    return { galleries: hidden, isDone: true };
  }

  async #hideAll(step: () => Promise<Hidden>): Promise<number[]> {
    const hidden: number[] = [];
    for (let isDone = false; !isDone && !this.#closing; ) {
      const done = await this.#watched(step());
      for (const gallery of done.galleries) hidden.push(gallery);
      ({ isDone } = done);
    }
    return hidden;
  }

  /** Goes on with contexts whose deletion was interrupted. */
  #hideDoomed(): Promise<unknown>[] {
    return this.#parts.contexts.doomed().map((contextId) => this.#hideContext(contextId, Promise.resolve()));
  }

  async #resume(contexts: readonly Promise<unknown>[]): Promise<void> {
    const { eraser } = this.#parts;
    await this.#watched(eraser.eraseDoomedBlobs(this.#firstBlob));
    await Promise.all(contexts);
    await this.#watched(eraser.eraseDoomedGalleries());
    await this.#discardAbandoned();
  }

  async #discardAbandoned(): Promise<void> {
    const { galleries, queue } = this.#parts;
    const pace = new Pace(queue);
    await pace.step();
    for (const drafts of galleries.drafts.abandoned()) {
      for (const { galleryId, draftId } of drafts) {
        const hidden = await queue.write(() => galleries.doomAbandoned(galleryId, draftId));
        await this.eraseGalleries(hidden);
      }
      await pace.step();
    }
  }

  #inBackground(work: () => Promise<void>): void {
    // Whatever fails was logged, and is tried again.
    const done = work().catch(() => undefined);
    this.#background = Promise.all([this.#background, done]).then(() => undefined);
  }

  async #watched<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      const isRefusal = error instanceof ServerError && !FAULTS.includes(error.reason);
      if (!isRefusal && !this.#closing) this.#tryAgainLater(error);
      throw error;
    }
  }

  #tryAgainLater(err: unknown): void {
    this.#parts.log?.warn(
      { err, blobs: this.#parts.eraser.unfinished },
      "an erasure failed and will be tried again in a minute",
    );
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      this.#inBackground(() => this.#resume(this.#hideDoomed()));
    }, RETRY_MS).unref();
  }
}
