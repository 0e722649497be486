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
  /** How many there are, >= 1. */
  readonly probes: number;
}

/** Collects the pieces of probes, which may come in any order and in several messages. */
export class ProbeAssembly<Encoding> {
  readonly #reader: PieceReader<Encoding>;
  readonly #holding: Holding;
  readonly #dimension: number;
  readonly #allowed: ReadonlySet<number>;
  /** Of each probe by stride. */
  readonly #pieces: readonly Map<number, (CiphertextEnvelope<Encoding> | undefined)[]>[];

  constructor(reader: PieceReader<Encoding>, holding: Holding, form: ProbeForm) {
    this.#reader = reader;
    this.#holding = holding;
    this.#dimension = form.dimension;
    this.#allowed = new Set([...form.strides, form.dimension]);
    this.#pieces = Array.from({ length: form.probes }, () => new Map());
  }

  /**
   * Throws ServerError FIELD_INVALID, PROBE_INCOMPLETE (a piece sent twice), CONTEXT_MISMATCH, OVERLOADED (too many
   * probes wait), and what a piece's length or digest tell.
   */
  async add(pieces: readonly ProbePiece[]): Promise<void> {
    for (const { probe, stride, piece, ciphertext } of pieces) {
      const ofStride = this.#ofStride(probe, stride);
      if (piece < 0 || piece >= ofStride.length)
        throw fieldInvalid(
          "pieces.pieces.piece",
          `is ${piece}, but a probe has pieces 0 to ${ofStride.length - 1} at stride ${stride}`,
        );
      if (ofStride[piece] !== undefined)
        throw new ServerError(
          "PROBE_INCOMPLETE",
          `piece ${piece} at stride ${stride} was sent twice: send each piece once`,
        );
      ofStride[piece] = await this.#reader.readWaiting("pieces.pieces.ciphertext", ciphertext, this.#holding);
    }
  }

  /** The number of probes. */
  get probes(): number {
    return this.#pieces.length;
  }

  /** The pieces of a probe at a stride, in order. Throws ServerError PROBE_INCOMPLETE, naming what is missing. */
  complete(stride: number, probe = 0): [CiphertextEnvelope<Encoding>, ...CiphertextEnvelope<Encoding>[]] {
    const expected = this.#piecesAt(stride);
    const pieces = this.#pieces[probe]?.get(stride) ?? [];
    const present = pieces.filter((piece) => piece !== undefined);
    const [first, ...others] = present;
    if (first !== undefined && present.length === expected) return [first, ...others];
    throw new ServerError(
      "PROBE_INCOMPLETE",
      `probe ${probe} has ${present.length} of ${expected} pieces at stride ${stride}, which the gallery uses: send all of them`,
    );
  }

  #ofStride(probe: number, stride: number): (CiphertextEnvelope<Encoding> | undefined)[] {
    const ofProbe = this.#pieces[probe];
    if (ofProbe === undefined)
      throw fieldInvalid(
        "pieces.pieces.probe",
        `is ${probe}, but the target has ${this.probes} probes: 0 to ${this.probes - 1}`,
      );
    if (!this.#allowed.has(stride)) {
      throw fieldInvalid(
        "pieces.pieces.stride",
        `is ${stride}, but the gallery uses ${[...this.#allowed].sort((a, b) => a - b).join(", ")}: read the gallery's strides again`,
      );
    }
    let ofStride = ofProbe.get(stride);
    if (ofStride === undefined) {
      ofStride = new Array<undefined>(this.#piecesAt(stride)).fill(undefined);
      ofProbe.set(stride, ofStride);
    }
    return ofStride;
  }

  #piecesAt(stride: number): number {
    return Math.ceil(this.#dimension / stride);
  }
}
