import { encodedDimension, freshCiphertextBytes, looseLayout, parameterSet, sealCiphertextBytes } from "@veilface/fhe";
import type { ByteRange, CiphertextEncoding, ParameterSetName } from "@veilface/fhe";
import type { Ciphertext } from "@veilface/proto";
import type { Matcher } from "./matcher.ts";
import type { PairwiseMatcher } from "./pairwise/pairwise-matcher.ts";
import { checkDigest } from "./sealed-bytes.ts";
import type { PairwiseEncoding, SealedBytes } from "./sealed-bytes.ts";
import type { ContextLocation, PairwiseScheme, StoredGallery } from "./store/gallery-store.ts";
import { ciphertext, fieldInvalid, pairwiseCiphertext } from "./validate.ts";
import type { CheckCiphertext } from "./validate.ts";
import type { Holding } from "./waiting-bytes.ts";

/** What the ciphertexts of a gallery look like from outside. */
interface PieceForm<Encoding> {
  readonly contextId: string;
  readonly check: CheckCiphertext<Encoding>;
  readonly bytes: (encoding: Encoding) => ByteRange;
  /** Looks into one whose length no ciphertext has, and throws with what it is. */
  readonly explain: (piece: SealedBytes<Encoding>) => Promise<unknown>;
}

/** Reads the ciphertexts of requests for one gallery. What it gives has bytes of its own: a message may be far larger than they are. */
export class PieceReader<Encoding> {
  readonly #form: PieceForm<Encoding>;

  constructor(form: PieceForm<Encoding>) {
    this.#form = form;
  }

  /** One that is looked into at once. Throws ServerError with what its envelope or its length tell. */
  async read(field: string, value: Ciphertext | undefined): Promise<SealedBytes<Encoding>> {
    return owned(await this.#fitting(field, value));
  }

  /** One that waits for others, counted in `holding`; its digest is compared at once. Throws as {@link read}, and LIMIT_EXCEEDED. */
  async readWaiting(field: string, value: Ciphertext | undefined, holding: Holding): Promise<SealedBytes<Encoding>> {
    const piece = await this.#fitting(field, value);
    checkDigest(piece);
    await holding.takeOrWait(piece.data.length);
    return { ...owned(piece), sha256: undefined };
  }

  async #fitting(field: string, value: Ciphertext | undefined): Promise<SealedBytes<Encoding>> {
    const { check, contextId, bytes, explain } = this.#form;
    const piece = check(field, value, contextId);
    const { least, most } = bytes(piece.encoding);
    const { length } = piece.data;
    if (length >= least && length <= most) return piece;
    await explain(owned(piece));
    throw fieldInvalid(`${field}.data`, `has ${length} bytes: expected at most ${most}`, "CIPHERTEXT_TOO_LARGE");
  }
}

/** For a gallery of the packed scheme. */
export function packedPieces(matcher: Matcher, gallery: StoredGallery, name: ParameterSetName): PieceReader<CiphertextEncoding> {
  const layout = looseLayout(encodedDimension(gallery.space));
  return new PieceReader({
    contextId: gallery.contextId, check: ciphertext,
    bytes: (encoding) => freshCiphertextBytes(parameterSet(name), encoding),
    explain: (piece) => matcher.prepareTemplate(name, piece, layout, 0),
  });
}

/** For a gallery of the pairwise scheme. */
export function pairwisePieces(matcher: PairwiseMatcher, gallery: StoredGallery, { context, scheme }: PairwiseTarget): PieceReader<PairwiseEncoding> {
  // One prime of the chain is for switching keys, and none of a ciphertext's.
  const bytes = sealCiphertextBytes(scheme.degree, 2 * (scheme.modulusBits.length - 1));
  return new PieceReader({
    contextId: gallery.contextId, check: pairwiseCiphertext, bytes: () => bytes,
    explain: (piece) => matcher.prepare({ context, ciphertext: piece, dimension: gallery.space.dimension }),
  });
}

/** A pairwise context, and where its keys are. */
interface PairwiseTarget {
  readonly context: ContextLocation;
  readonly scheme: PairwiseScheme;
}

function owned<Encoding>(piece: SealedBytes<Encoding>): SealedBytes<Encoding> {
  return { ...piece, data: new Uint8Array(piece.data), sha256: piece.sha256 && new Uint8Array(piece.sha256) };
}
