import type { Ciphertext } from "@veilface/proto";
import type { Bounded } from "../remote/call-bounds.ts";
import type { RpcOptions, Rpcs } from "../remote/calls.ts";
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
 * What all calls of the pairwise scheme share: a connection, and what vectors have to become before they are sent.
 */
export class PairwiseCalls {
  readonly rpcs: Rpcs;
  readonly #droppers = new Map<string, Promise<PrimeDropper>>();

  constructor(rpcs: Rpcs) {
    this.rpcs = rpcs;
  }

  /**
   * The messages of a stream that changes nothing; begun again where the server is away before it says anything. Throws
   * ClientError.
   */
  async *readStream<T>(
    options: Bounded,
    run: (rpc: RpcOptions) => AsyncIterable<T>,
  ): AsyncGenerator<T, void, undefined> {
    const begin = async () => {
      const messages = this.rpcs.stream(options, run);
      return { messages, first: await messages.next() };
    };
    const { messages, first } = await retrying(options.bounds, begin, isUnavailable);
    if (first.done === true) return;
    yield first.value;
    yield* messages;
  }

  /**
   * A vector as it is sent to a context: without the primes that the context was uploaded without. Throws ClientError
   * as PairwiseClient.compare.
   */
  async outgoing(contextId: string, vector: PairwiseCiphertext, options: Bounded): Promise<OutgoingVector> {
    const { name = "a vector" } = vector;
    const opened = openVector(vector);
    const dropper = await this.#dropperOf(contextId, options);
    return { wire: toWireVector(contextId, await dropper.fit(opened, name), name), dimension: dimensionOf(opened) };
  }

  /** One question a context: it never changes. Whoever waits while another call's fails asks for itself. */
  async #dropperOf(contextId: string, options: Bounded): Promise<PrimeDropper> {
    for (;;) {
      const asked = this.#droppers.get(contextId);
      if (asked === undefined) break;
      const dropper = await options.bounds.unlessOver(asked.catch(() => undefined));
      if (dropper !== undefined) return dropper;
    }
    const asking = this.#askDropper(contextId, options);
    asking.catch(() => this.#droppers.delete(contextId));
    this.#droppers.set(contextId, asking);
    return asking;
  }

  async #askDropper(contextId: string, options: Bounded): Promise<PrimeDropper> {
    checkContextId(contextId);
    const { context } = await this.rpcs.call(
      options,
      (rpc) => this.rpcs.services.contexts.getContext({ contextId }, rpc),
      isUnavailable,
    );
    const served = toServedContext(context);
    if (served.contextId !== contextId) throw invalidReply("another context than was asked for");
    return new PrimeDropper(served);
  }
}
