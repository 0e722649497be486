import type { CiphertextEncoding, ParameterSetName } from "@veilface/fhe";
import { ServerError } from "./errors.ts";
import type { Matcher } from "./matcher.ts";
import { MAX_PROBES } from "./matcher-task.ts";
import type { BlockTask, PreparedProbe } from "./matcher-task.ts";
import type { SealedProduct } from "./sealed-bytes.ts";
import type { ReaderLocation } from "./store/gallery-store.ts";

/** One search, over whole blocks; or a comparison, over some slots of them. */
export interface Search {
  readonly parameterSet: ParameterSetName;
  readonly location: ReaderLocation;
  /** The prepared probe of each stride that the blocks have. */
  readonly probes: ReadonlyMap<number, PreparedProbe>;
  readonly blocks: readonly BlockTask[];
  readonly encoding: CiphertextEncoding;
  readonly signal: AbortSignal;
}

/** The encrypted inner products of one block with the search's probe. */
export interface Product extends SealedProduct {
  readonly block: number;
  readonly stride: number;
}

/** Memory of the probes of one pass, per worker: 1024 pieces of 64 KiB (two primes) are 64 MiB. */
const MAX_PIECES_PER_PASS = 1024;
/** Products that a search may leave unread before its pass waits for it. */
const MAX_UNREAD_BYTES = 16 << 20;
/** How long a search that does not read may hold up others of its pass. */
const PATIENCE_MS = 5000;

/**
 * Searches that wait on one gallery share one pass over its blocks: while a pass runs, later searches gather; then they ride together.
 * A block is read from the store once for all of them.
 */
export class SharedScans {
  readonly #matcher: Matcher;
  /** By gallery: who waits for the pass that is under way. */
  readonly #waiting = new Map<number, Rider[]>();

  constructor(matcher: Matcher) {
    this.#matcher = matcher;
  }

  /** The products of the search's blocks, each as soon as it is ready. Throws the signal's reason once it aborts. */
  async *search(search: Search): AsyncGenerator<Product> {
    const rider = new Rider(search);
    const { gallery } = search.location;
    const waiting = this.#waiting.get(gallery);
    if (waiting !== undefined) waiting.push(rider);
    else void this.#run(gallery, [rider]);
    yield* rider.products;
  }

  /** The products of a comparison, which looks at some slots of few blocks only, and so rides alone. */
  async *compare(search: Search): AsyncGenerator<Product> {
    const rider = new Rider(search);
    void this.#pass([rider]);
    yield* rider.products;
  }

  async #run(gallery: number, first: Rider[]): Promise<void> {
    const waiting: Rider[] = [];
    this.#waiting.set(gallery, waiting);
    for (let riders = first; riders.length > 0; riders = nextRiders(waiting)) await this.#pass(riders);
    this.#waiting.delete(gallery);
  }

  async #pass(riders: readonly Rider[]): Promise<void> {
    try {
      for (const stride of new Set(riders.flatMap((rider) => rider.strides))) {
        await this.#passAt(stride, riders.filter((rider) => rider.strides.includes(stride)));
      }
      for (const rider of riders) rider.end();
    } catch (error) {
      for (const rider of riders) rider.fail(error);
    }
  }

  async #passAt(stride: number, riders: readonly Rider[]): Promise<void> {
    const { parameterSet, location } = riders[0]!.search;
    const cancelled = new SharedArrayBuffer(4 * riders.length);
    const flags = new Int32Array(cancelled);
    riders.forEach((rider, i) => {
      rider.onGone(() => void Atomics.store(flags, i, 1));
    });
    const blocks = new Map(riders.flatMap((rider) => rider.blocksAt(stride)).map((block) => [block.block, block]));
    const probes = riders.map(({ search }) => search.probes.get(stride)!);
    const encodings = riders.map(({ search }) => search.encoding);
    for await (const { block, products } of this.#matcher.scan({ parameterSet, location, probes, encodings, blocks: [...blocks.values()], cancelled })) {
      riders.forEach((rider, i) => {
        rider.push({ block, stride, ...products[i]! });
      });
      await Promise.all(riders.map((rider) => rider.room(riders.length > 1)));
    }
  }
}

/** Takes as many as fit into one pass; a probe that is too large for company rides alone. */
function nextRiders(waiting: Rider[]): Rider[] {
  let pieces = 0;
  let count = 0;
  while (count < Math.min(waiting.length, MAX_PROBES)) {
    pieces += waiting[count]!.pieces;
    if (count > 0 && pieces > MAX_PIECES_PER_PASS) break;
    count++;
  }
  return waiting.splice(0, count);
}

/** A search on its way through a pass, with the products it has not read yet. */
class Rider {
  readonly search: Search;
  readonly products: ReadableStream<Product>;
  /** Pieces of its largest probe. */
  readonly pieces: number;
  readonly #wanted: ReadonlySet<number>;
  #controller!: ReadableStreamDefaultController<Product>;
  #over = false;
  #leave: () => void = () => undefined;
  #resume: () => void = () => undefined;

  constructor(search: Search) {
    this.search = search;
    this.pieces = Math.max(0, ...search.probes.values().map(({ pieces }) => pieces));
    this.#wanted = new Set(search.blocks.map(({ block }) => block));
    const source = {
      start: (controller: ReadableStreamDefaultController<Product>): void => void (this.#controller = controller),
      pull: (): void => { this.#resume(); },
      cancel: (): void => { this.#gone(); },
    };
    this.products = new ReadableStream(source, { highWaterMark: MAX_UNREAD_BYTES, size: ({ data }) => data.length });
    search.signal.addEventListener("abort", this.#onAbort);
    if (search.signal.aborted) this.#onAbort();
  }

  get strides(): number[] {
    return this.#over ? [] : [...new Set(this.search.blocks.map(({ stride }) => stride))];
  }

  blocksAt(stride: number): BlockTask[] {
    return this.search.blocks.filter((block) => block.stride === stride);
  }

  /** Calls back once nobody waits for this search any more. */
  onGone(leave: () => void): void {
    this.#leave = leave;
    if (this.#over) leave();
  }

  push(product: Product): void {
    if (!this.#over && this.#wanted.has(product.block)) this.#controller.enqueue(product);
  }

  /** Resolves when there is room for more, or when the search is over. Others do not wait for it longer than their patience. */
  async room(othersWait: boolean): Promise<void> {
    if (this.#over || (this.#controller.desiredSize ?? 0) > 0) return;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#resume = (): void => { resolve(undefined); };
    const impatience = othersWait ? setTimeout(() => { this.fail(tooSlow()); }, PATIENCE_MS) : undefined;
    await promise;
    clearTimeout(impatience);
  }

  end(): void {
    if (!this.#over) this.#controller.close();
    this.#gone();
  }

  fail(error: unknown): void {
    if (!this.#over) this.#controller.error(error);
    this.#gone();
  }

  readonly #onAbort = (): void => {
    this.fail(this.search.signal.reason);
  };

  #gone(): void {
    this.#over = true;
    this.search.signal.removeEventListener("abort", this.#onAbort);
    this.#leave();
    this.#resume();
  }
}

function tooSlow(): ServerError {
  return new ServerError("LIMIT_EXCEEDED", "the client reads the answers more slowly than others that share the search wait: read them as they come");
}
