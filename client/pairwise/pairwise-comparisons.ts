import { MAX_NORM_BOUND, MIN_NORM_BOUND, PAIRWISE_OPERATIONS, definedOnly } from "@veilface/proto";
import type { CompareCiphertextsRequest } from "@veilface/proto";
import { callersSource } from "../boundary.ts";
import { ClientError } from "../errors.ts";
import { checkContextId } from "../ids.ts";
import type { Bounded } from "../remote/call-bounds.ts";
import { isUnavailable } from "../remote/retrying.ts";
import { invalidReply } from "../remote/wire.ts";
import { mapInOrder } from "./map-in-order.ts";
import type { OutgoingVector, PairwiseCalls } from "./pairwise-calls.ts";
import type { PairwiseCompareOptions, VectorPair, VectorWithOthers } from "./pairwise-options.ts";
import { areSameVectors, fromWireDistance, toWireEncoding } from "./pairwise-wire.ts";
import type { PairwiseCiphertext } from "./pairwise-wire.ts";

const COMPARISONS_UNDER_WAY = 4;

/** Has vectors compared, two at a time. */
export class PairwiseComparisons {
  readonly #calls: PairwiseCalls;

  constructor(calls: PairwiseCalls) {
    this.#calls = calls;
  }

  /** As PairwiseClient.compare. */
  async compare(
    contextId: string,
    { first, second }: VectorPair,
    options: Bounded<PairwiseCompareOptions>,
  ): Promise<PairwiseCiphertext | undefined> {
    checkContextId(contextId);
    const normBound = checkedNormBound(options);
    const replyEncoding = options.replyEncoding ?? first.encoding;
    const x = await this.#calls.outgoing(contextId, first, options);
    const y = await this.#calls.outgoing(contextId, second, options);
    const request = {
      first: x.wire,
      second: y.wire,
      operation: PAIRWISE_OPERATIONS.toWire(options.operation),
      dimension: agreedDimension(x, y, options.dimension),
      normBound,
      replyEncoding: toWireEncoding(replyEncoding),
    } satisfies CompareCiphertextsRequest;
    const reply = await this.#calls.rpcs.call(
      options,
      (rpc) => this.#calls.rpcs.services.matching.compareCiphertexts(request, rpc),
      isUnavailable,
    );
    if (!reply.identical) return fromWireDistance(contextId, replyEncoding, reply.distance);
    if (options.operation === "SQUARED_DISTANCE" && areSameVectors(x.wire, y.wire)) return undefined;
    throw invalidReply("that two different ciphertexts are one and the same");
  }

  /** As PairwiseClient.compareMany. */
  compareMany(
    contextId: string,
    { first, others }: VectorWithOthers,
    options: Bounded<PairwiseCompareOptions>,
  ): AsyncGenerator<PairwiseCiphertext | undefined, void, undefined> {
    return mapInOrder(callersSource(others), COMPARISONS_UNDER_WAY, async (second) => {
      try {
        return await this.compare(contextId, { first, second }, options);
      } catch (cause) {
        throw namingVector(cause, second.name);
      }
    });
  }
}

/** 0 where none is given: the server then computes with all of the context's modulus. */
function checkedNormBound({ normBound }: PairwiseCompareOptions): number {
  if (normBound === undefined) return 0;
  if (normBound >= MIN_NORM_BOUND && normBound <= MAX_NORM_BOUND) return normBound;
  throw new ClientError(
    "USAGE",
    `norm bound ${normBound} is out of range: expected a number in [${MIN_NORM_BOUND}, ${MAX_NORM_BOUND}]`,
  );
}

/** What the server refused of one vector among others, with the vector's name. */
function namingVector(cause: unknown, name: string | undefined): unknown {
  if (!(cause instanceof ClientError) || cause.reason !== "SERVER_REFUSED" || name === undefined) return cause;
  const { reason, serverReason } = cause;
  return new ClientError(reason, `${name}: ${cause.message}`, definedOnly({ cause, serverReason }));
}

/** The dimension that is given or that the vectors say they have. */
function agreedDimension(x: OutgoingVector, y: OutgoingVector, given: number | undefined): number {
  const said = [given, x.dimension, y.dimension].filter((dimension) => dimension !== undefined);
  const [dimension] = said;
  if (dimension === undefined)
    throw new ClientError(
      "USAGE",
      "the dimension is missing: SEAL ciphertexts do not say how many components their vectors have",
    );
  if (!Number.isInteger(dimension) || dimension < 1)
    throw new ClientError("USAGE", `dimension ${dimension} is out of range: expected a whole number >= 1`);
  if (said.some((other) => other !== dimension))
    throw new ClientError("USAGE", `the vectors have ${said.join(" and ")} components: expected the same`);
  return dimension;
}
