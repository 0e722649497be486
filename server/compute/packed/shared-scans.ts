import type { CiphertextEncoding, ParameterSetName } from "@veilface/fhe";
import { impossible, tooSlow } from "../../errors.ts";
import type { ServerError } from "../../errors.ts";
import type { PackedMatcher } from "./packed-matcher.ts";
import { MAX_PROBES } from "./packed-task.ts";
import type { BlockTask } from "../block-task.ts";
import type { PreparedProbe } from "./packed-task.ts";
import type { BlockAnswer } from "../block-answer.ts";
import type { ReaderLocation } from "../../store/gallery-store.ts";

/** One search, of one probe or several, over whole blocks; or a comparison, over some slots of them. */
export interface Search {
  readonly parameterSet: ParameterSetName;
  readonly location: ReaderLocation;
  /** Its probes: each prepared for every stride that the blocks have. */
  readonly probes: readonly ReadonlyMap<number, PreparedProbe>[];
  readonly blocks: readonly BlockTask[];
  readonly encoding: CiphertextEncoding;
  readonly signal: AbortSignal;
}

/** Memory of the probes of one pass, per worker: 1024 pieces of 64 KiB (two primes) are 64 MiB. */
const MAX_PIECES_PER_PASS = 1024;
/** Products that a search may leave unread before its pass waits for it. */
const MAX_UNREAD_BYTES = 16 << 20;
/**
 * How long in all a search may keep others waiting for it to read, those of its pass and those that wait for the next
 * one.
 */
const PATIENCE_MS = 5000;
/** Reading earns it more: whoever reads 1 MiB/s is waited for as long as that takes. */
const PATIENT_BYTES_PER_MS = 2 ** 20 / 1000;

/** A gallery that is being searched. */
interface Pass extends Pick<Search, "parameterSet" | "location"> {
  /** Those of the pass that is under way. */
  riders: readonly Rider[];
  /** Those of the next ones. */
  readonly waiting: Rider[];
}

/**
 * Searches that wait on one gallery share one pass over its blocks: while a pass runs, later searches gather; then they
 * ride together. A block is read from the store once for all of them.
 */
export class SharedScans {
  readonly #matcher: PackedMatcher;
  /** By gallery. */
  readonly #passes = new Map<number, Pass>();

  constructor(matcher: PackedMatcher) {
    this.#matcher = matcher;
  }

  /** The products of the search's blocks, each as soon as it is ready. Throws the signal's reason once it aborts. */
  async *search(search: Search): AsyncGenerator<BlockAnswer> {
    const rider = new Rider(search);
    const { gallery } = search.location;
    const pass = this.#passes.get(gallery);
    if (pass === undefined) void this.#run(gallery, passOf(rider));
    else {
      pass.waiting.push(rider);
      for (const ahead of pass.riders) ahead.hurry();
    }
    yield* rider.products;
  }

  /** The products of a comparison, which looks at some slots of few blocks only, and so rides alone. */
  async *compare(search: Search): AsyncGenerator<BlockAnswer> {
    const rider = new Rider(search);
    void this.#pass(passOf(rider));
    yield* rider.products;
  }

  async #run(gallery: number, pass: Pass): Promise<void> {
    this.#passes.set(gallery, pass);
    for (; pass.riders.length > 0; pass.riders = nextRiders(pass.waiting)) await this.#pass(pass);
    this.#passes.delete(gallery);
  }

  async #pass(pass: Pass): Promise<void> {
    const { riders } = pass;
    try {
      for (const stride of new Set(riders.flatMap((rider) => rider.strides))) {
        for (const seats of seatings(riders.flatMap((rider) => rider.seatsAt(stride))))
          await this.#passAt(stride, seats, pass);
      }
      for (const rider of riders) rider.end();
    } catch (error) {
      for (const rider of riders) rider.fail(error);
    }
  }

  async #passAt(stride: number, seats: readonly Seat[], pass: Pass): Promise<void> {
    const { parameterSet, location } = pass;
    const riders = [...new Set(seats.map(({ rider }) => rider))];
    const blocks = new Map(riders.flatMap((rider) => rider.blocksAt(stride)).map((block) => [block.block, block]));
    const probes = seats.map(({ prepared }) => prepared);
    const encodings = seats.map(({ rider }) => rider.search.encoding);
    const cancelled = cancelledFlags(seats);
    const scan = { parameterSet, location, probes, encodings, blocks: [...blocks.values()], cancelled };
    for await (const { block, products, damagedSlots } of this.#matcher.scan(scan)) {
      seats.forEach(({ rider, probe }, i) => {
        const product = products[i];
        const answer = product === undefined ? { because: "STORED_CORRUPT" as const } : { ...product, damagedSlots };
        rider.push({ block, stride, probe, ...answer });
      });
      await Promise.all(riders.map((rider) => rider.room(isAwaited(pass, rider))));
    }
  }
}

function passOf(rider: Rider): Pass {
  const { parameterSet, location } = rider.search;
  return { parameterSet, location, riders: [rider], waiting: [] };
}

/** One i32 per seat: not 0 once nobody waits for its rider any more. */
function cancelledFlags(seats: readonly Seat[]): SharedArrayBuffer {
  const cancelled = new SharedArrayBuffer(4 * seats.length);
  const flags = new Int32Array(cancelled);
  for (const rider of new Set(seats.map((seat) => seat.rider))) {
    rider.onGone(() => {
      for (const [i, seat] of seats.entries()) if (seat.rider === rider) Atomics.store(flags, i, 1);
    });
  }
  return cancelled;
}

/** The probes of a pass at one stride, in as few rounds over its blocks as their memory allows. */
function seatings(seats: readonly Seat[]): Seat[][] {
  const rounds: Seat[][] = [];
  let pieces = Infinity;
  for (const seat of seats) {
    pieces += seat.prepared.pieces;
    const round = rounds.at(-1);
    if (round !== undefined && pieces <= MAX_PIECES_PER_PASS) {
      round.push(seat);
      continue;
    }
    rounds.push([seat]);
    pieces = seat.prepared.pieces;
  }
  return rounds;
}

function isAwaited({ riders, waiting }: Pass, rider: Rider): boolean {
  return waiting.length > 0 || riders.some((other) => other !== rider && !other.over);
}

/** Takes as many as fit into one pass; a probe that is too large for company rides alone. */
function nextRiders(waiting: Rider[]): Rider[] {
  let pieces = 0;
  let probes = 0;
  let count = 0;
  for (const rider of waiting) {
    pieces += rider.pieces;
    probes += rider.search.probes.length;
    if (count > 0 && (pieces > MAX_PIECES_PER_PASS || probes > MAX_PROBES)) break;
    count++;
  }
  return waiting.splice(0, count);
}

/** A probe of a search, for one pass. */
interface Seat {
  readonly rider: Rider;
  readonly probe: number;
  readonly prepared: PreparedProbe;
}

/** A search on its way through a pass, with the products it has not read yet. */
class Rider {
  readonly search: Search;
  readonly products: ReadableStream<BlockAnswer>;
  /** Pieces of its probes at the stride where they have the most. */
  readonly pieces: number;
  readonly #wanted: ReadonlySet<number>;
  /** The stream hands it over while it is made. */
  #controller!: ReadableStreamDefaultController<BlockAnswer>;
  #over = false;
  #pushedBytes = 0;
  /** How long others have waited for it so far. */
  #awaitedMs = 0;
  #awaitedSince: number | undefined;
  #blocked = false;
  #impatience: NodeJS.Timeout | undefined;
  #leave: () => void = () => undefined;
  #resume: () => void = () => undefined;

  constructor(search: Search) {
    this.search = search;
    this.pieces = search.probes.reduce((sum, probe) => sum + mostPieces(probe), 0);
    this.#wanted = new Set(search.blocks.map(({ block }) => block));
    const source = {
      start: (controller: ReadableStreamDefaultController<BlockAnswer>): void => void (this.#controller = controller),
      pull: (): void => {
        this.#resume();
      },
      cancel: (): void => {
        this.#gone();
      },
    };
    this.products = new ReadableStream(source, { highWaterMark: MAX_UNREAD_BYTES, size: bytesOf });
    search.signal.addEventListener("abort", this.#onAbort);
    if (search.signal.aborted) this.#onAbort();
  }

  /** Whether nobody waits for its products any more. */
  get over(): boolean {
    return this.#over;
  }

  get strides(): number[] {
    return this.#over ? [] : [...new Set(this.search.blocks.map(({ stride }) => stride))];
  }

  /** Its probes at a stride; none where it has no blocks of it. */
  seatsAt(stride: number): Seat[] {
    if (!this.strides.includes(stride)) return [];
    return this.search.probes.map((probes, probe) => {
      const prepared = probes.get(stride) ?? impossible(`a search without a probe of stride ${stride}`);
      return { rider: this, probe, prepared };
    });
  }

  blocksAt(stride: number): BlockTask[] {
    return this.search.blocks.filter((block) => block.stride === stride);
  }

  /** Calls back once nobody waits for this search any more. */
  onGone(leave: () => void): void {
    this.#leave = leave;
    if (this.#over) leave();
  }

  push(answer: BlockAnswer): void {
    if (this.#over || !this.#wanted.has(answer.block)) return;
    this.#pushedBytes += bytesOf(answer);
    this.#controller.enqueue(answer);
  }

  /**
   * Resolves when there is room for more, or when the search is over, which it is once others have lost patience with
   * it.
   */
  async room(awaited: boolean): Promise<void> {
    if (this.#over || this.#free > 0) return;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#resume = (): void => {
      resolve(undefined);
    };
    this.#blocked = true;
    if (awaited) this.hurry();
    await promise;
    this.#blocked = false;
    clearTimeout(this.#impatience);
    if (this.#awaitedSince !== undefined) this.#awaitedMs += performance.now() - this.#awaitedSince;
    this.#awaitedSince = undefined;
  }

  /** Somebody waits for it from now on. */
  hurry(): void {
    if (!this.#blocked || this.#awaitedSince !== undefined) return;
    this.#awaitedSince = performance.now();
    const readBytes = this.#pushedBytes - (MAX_UNREAD_BYTES - this.#free);
    const patience = PATIENCE_MS + readBytes / PATIENT_BYTES_PER_MS - this.#awaitedMs;
    this.#impatience = setTimeout(
      () => {
        this.fail(readsTooSlowly());
      },
      Math.max(0, patience),
    );
  }

  get #free(): number {
    return this.#controller.desiredSize ?? 0;
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

function mostPieces(probe: ReadonlyMap<number, PreparedProbe>): number {
  return Math.max(0, ...probe.values().map(({ pieces }) => pieces));
}

function bytesOf(answer: BlockAnswer): number {
  return "data" in answer ? answer.data.length : 0;
}

function readsTooSlowly(): ServerError {
  return tooSlow(
    "the client reads the answers more slowly than others that share the search wait: read them as they come",
  );
}
