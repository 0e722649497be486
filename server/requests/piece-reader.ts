import type { ByteRange } from "@veilface/fhe";
import type { Ciphertext } from "@veilface/proto";
import { checkDigest } from "../compute/envelope.ts";
import type { CiphertextEnvelope } from "../compute/envelope.ts";
import { fieldInvalid } from "../errors.ts";
import type { Holding } from "./waiting-bytes.ts";

/** What the ciphertexts of a gallery look like from outside. */
interface PieceForm<Encoding> {
  readonly contextId: string;
  check(field: string, value: Ciphertext | undefined, context: string): CiphertextEnvelope<Encoding>;
  bytes(encoding: Encoding): ByteRange;
  /** Looks into one whose length no ciphertext has, and throws with what it is. */
  explain(piece: CiphertextEnvelope<Encoding>): Promise<unknown>;
}

/**
 * Reads the ciphertexts of requests for one gallery. What it gives has bytes of its own: a message may be far larger
 * than they are.
 */
export class PieceReader<Encoding> {
  readonly #form: PieceForm<Encoding>;

  constructor(form: PieceForm<Encoding>) {
    this.#form = form;
  }

  /** One that is looked into at once. Throws ServerError with what its envelope or its length tell. */
  async read(field: string, value: Ciphertext | undefined): Promise<CiphertextEnvelope<Encoding>> {
    return owned(await this.#fitting(field, value));
  }

  /**
   * One that waits for others, counted in `holding`; its digest is compared at once. Throws as {@link read}, and
   * OVERLOADED.
   */
  async readWaiting(
    field: string,
    value: Ciphertext | undefined,
    holding: Holding,
  ): Promise<CiphertextEnvelope<Encoding>> {
    const piece = await this.#fitting(field, value);
    checkDigest(piece);
    await holding.takeOrWait(piece.data.length);
    return { ...owned(piece), sha256: undefined };
  }

  async #fitting(field: string, value: Ciphertext | undefined): Promise<CiphertextEnvelope<Encoding>> {
    const form = this.#form;
    const piece = form.check(field, value, form.contextId);
    const { least, most } = form.bytes(piece.encoding);
    const { length } = piece.data;
    if (length >= least && length <= most) return piece;
    await form.explain(owned(piece));
    throw fieldInvalid(`${field}.data`, `has ${length} bytes: expected at most ${most}`, "CIPHERTEXT_TOO_LARGE");
  }
}

function owned<Encoding>(piece: CiphertextEnvelope<Encoding>): CiphertextEnvelope<Encoding> {
  return { ...piece, data: new Uint8Array(piece.data), sha256: piece.sha256 && new Uint8Array(piece.sha256) };
}
