import { setImmediate } from "node:timers/promises";
import type { ProbePiece } from "@veilface/proto";

// A piece takes 1 ms to encrypt; in between the connection is served and an abort is seen.
const PIECES_PER_MESSAGE = 8;

/** A message of a comparison or a search. */
export interface ProbeRequest<Target> {
  readonly message:
    | { readonly $case: "target"; readonly value: Target }
    | { readonly $case: "pieces"; readonly value: { readonly pieces: ProbePiece[] } };
}

/**
 * What a comparison or a search sends: the target at once, the pieces of the probe once it is known what they are.
 * They are made as they are sent.
 */
export class ProbeRequests<Target> implements Disposable {
  readonly #target: Target;
  readonly #pieces = Promise.withResolvers<Iterable<ProbePiece>>();

  constructor(target: Target) {
    this.#target = target;
  }

  /** Sends the probe, and no more after it. */
  send(pieces: Iterable<ProbePiece>): void {
    this.#pieces.resolve(pieces);
  }

  /** The messages; to be read once. */
  async *messages(): AsyncGenerator<ProbeRequest<Target>, void, undefined> {
    yield { message: { $case: "target", value: this.#target } };
    let pieces: ProbePiece[] = [];
    for (const piece of await this.#pieces.promise) {
      pieces.push(piece);
      if (pieces.length < PIECES_PER_MESSAGE) continue;
      yield { message: { $case: "pieces", value: { pieces } } };
      pieces = [];
      await setImmediate();
    }
    if (pieces.length > 0) yield { message: { $case: "pieces", value: { pieces } } };
  }

  /** Ends a wait for a probe that does not come. */
  [Symbol.dispose](): void {
    this.#pieces.resolve([]);
  }
}
