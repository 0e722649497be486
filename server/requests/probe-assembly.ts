import type { ProbePiece } from "@veilface/proto";
import { ServerError } from "../errors.ts";
import type { PieceReader } from "./piece-reader.ts";
import type { CiphertextEnvelope } from "../compute/envelope.ts";
import { fieldInvalid } from "../errors.ts";
import type { Holding } from "./waiting-bytes.ts";

/** What a probe for a gallery looks like. */
export interface ProbeForm {
  /** The encoded dimension. */
  readonly dimension: number;
  /** Those the gallery uses; the stride of loose templates is always welcome. */
  readonly strides: readonly number[];
}

/** Collects the pieces of a probe, which may come in any order and in several messages. */
export class ProbeAssembly<Encoding> {
  readonly #reader: PieceReader<Encoding>;
  readonly #holding: Holding;
  readonly #dimension: number;
  readonly #allowed: ReadonlySet<number>;
  readonly #pieces = new Map<number, (CiphertextEnvelope<Encoding> | undefined)[]>();

  constructor(reader: PieceReader<Encoding>, holding: Holding, { dimension, strides }: ProbeForm) {
    this.#reader = reader;
    this.#holding = holding;
    this.#dimension = dimension;
    this.#allowed = new Set([...strides, dimension]);
  }

  /**
   * Throws ServerError FIELD_INVALID, PROBE_INCOMPLETE (a piece sent twice), CONTEXT_MISMATCH, LIMIT_EXCEEDED (too many
   * probes wait), and what a piece's length or digest tell.
   */
  async add(pieces: readonly ProbePiece[]): Promise<void> {
    for (const { stride, piece, ciphertext } of pieces) {
      const ofStride = this.#ofStride(stride);
      if (piece < 0 || piece >= ofStride.length)
        throw fieldInvalid(
          "pieces.piece",
          `is ${piece}, but a probe has pieces 0 to ${ofStride.length - 1} at stride ${stride}`,
        );
      if (ofStride[piece] !== undefined)
        throw new ServerError(
          "PROBE_INCOMPLETE",
          `piece ${piece} at stride ${stride} was sent twice: send each piece once`,
        );
      ofStride[piece] = await this.#reader.readWaiting("pieces.ciphertext", ciphertext, this.#holding);
    }
  }

  /** The pieces at a stride, in order. Throws ServerError PROBE_INCOMPLETE, naming what is missing. */
  complete(stride: number): [CiphertextEnvelope<Encoding>, ...CiphertextEnvelope<Encoding>[]] {
    const expected = this.#piecesAt(stride);
    const pieces = this.#pieces.get(stride) ?? [];
    const present = pieces.filter((piece) => piece !== undefined);
    const [first, ...others] = present;
    if (first !== undefined && present.length === expected) return [first, ...others];
    throw new ServerError(
      "PROBE_INCOMPLETE",
      `the probe has ${present.length} of ${expected} pieces at stride ${stride}, which the gallery uses: send all of them`,
    );
  }

  #ofStride(stride: number): (CiphertextEnvelope<Encoding> | undefined)[] {
    if (!this.#allowed.has(stride)) {
      throw fieldInvalid(
        "pieces.stride",
        `is ${stride}, but the gallery uses ${[...this.#allowed].sort((a, b) => a - b).join(", ")}: read the gallery's strides again`,
      );
    }
    let ofStride = this.#pieces.get(stride);
    if (ofStride === undefined) {
      ofStride = new Array<undefined>(this.#piecesAt(stride)).fill(undefined);
      this.#pieces.set(stride, ofStride);
    }
    return ofStride;
  }

  #piecesAt(stride: number): number {
    return Math.ceil(this.#dimension / stride);
  }
}
