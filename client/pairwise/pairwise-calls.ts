import type { Ciphertext } from "@veilface/proto";
import { call, callStream, repeatableCall } from "../remote/calls.ts";
import type { CallOptions } from "../remote/calls.ts";
import type { Services } from "../remote/channel.ts";
import { checkContextId } from "../ids.ts";
import { isUnavailable, retrying } from "../remote/retrying.ts";
import { invalidReply } from "../remote/wire.ts";
import { dimensionOf, openVector, toServedContext, toWireVector } from "./pairwise-wire.ts";
import type { PairwiseCiphertext } from "./pairwise-wire.ts";
import { PrimeDropper } from "./prime-dropping.ts";

/** A vector ready to be sent, and how many components it says it has. */
export interface OutgoingVector {
  readonly wire: Ciphertext;
  readonly dimension: number | undefined;
}

/**
 * What all calls of the pairwise scheme share: a connection, a deadline, and what vectors have to become before they
 * are sent.
 */
export class PairwiseCalls {
  readonly services: Services;
  readonly #deadlineMs: number;
  readonly #droppers = new Map<string, Promise<PrimeDropper>>();

  constructor(services: Services, deadlineMs: number) {
    this.services = services;
    this.#deadlineMs = deadlineMs;
  }

  /**
   * Runs a call that changes nothing within its deadline, or the client's; again where the server is away. Throws
   * ClientError.
   */
  read<T>(options: CallOptions, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return repeatableCall(this.services.address, this.deadline(options), run);
  }

  /** Runs any other call; again where nothing of it reached the server. Throws ClientError. */
  run<T>(options: CallOptions, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return call(this.services.address, this.deadline(options), run);
  }

  /**
   * The messages of a stream that changes nothing; begun again where the server is away before it says anything. Throws
   * ClientError.
   */
  async *readStream<T>(
    options: CallOptions,
    run: (signal: AbortSignal) => AsyncIterable<T>,
  ): AsyncGenerator<T, void, undefined> {
    const bounded = this.deadline(options);
    const { messages, first } = await retrying(
      bounded,
      async () => {
        const begun = callStream(this.services.address, bounded, run);
        return { messages: begun, first: await begun.next() };
      },
      isUnavailable,
    );
    if (first.done === true) return;
    yield first.value;
    yield* messages;
  }

  /** The options with a deadline: their own, or the client's. */
  deadline<T extends CallOptions>(options: T): T & { deadlineMs: number } {
    return { ...options, deadlineMs: options.deadlineMs ?? this.#deadlineMs };
  }

  /**
   * A vector as it is sent to a context: without the primes that the context was uploaded without. Throws ClientError
   * as PairwiseClient.compare.
   */
  async outgoing(contextId: string, vector: PairwiseCiphertext, options: CallOptions): Promise<OutgoingVector> {
    const { name = "a vector" } = vector;
    const opened = openVector(vector);
    const dropper = await this.#dropperOf(contextId, options);
    return { wire: toWireVector(contextId, await dropper.fit(opened, name), name), dimension: dimensionOf(opened) };
  }

  /** One question a context: it never changes. */
  #dropperOf(contextId: string, options: CallOptions): Promise<PrimeDropper> {
    const known = this.#droppers.get(contextId);
    if (known !== undefined) return known;
    const asked = this.#askDropper(contextId, options);
    asked.catch(() => this.#droppers.delete(contextId));
    this.#droppers.set(contextId, asked);
    return asked;
  }

  async #askDropper(contextId: string, options: CallOptions): Promise<PrimeDropper> {
    checkContextId(contextId);
    const { context } = await this.read(options, (signal) =>
      this.services.contexts.getContext({ contextId }, { signal }),
    );
    const served = toServedContext(context);
    if (served.contextId !== contextId) throw invalidReply("another context than was asked for");
    return new PrimeDropper(served);
  }
}
