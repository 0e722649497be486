import {
  DEGREE,
  FheError,
  emptyPolynomials,
  encodeProbe,
  encodeProbeEmbedding,
  encodeTemplateEmbedding,
  encodedDimension,
  layoutOf,
  looseLayout,
  nearestTemplateVector,
  placeTemplate,
  readScores,
  scalesOf,
  scoreRange,
} from "@veilface/fhe";
import type { CiphertextEncoding, EmbeddingSpace, Layout, Scales } from "@veilface/fhe";
import { ClientError } from "../errors.ts";
import type { ClientErrorReason } from "../errors.ts";
import type { KeyHolder } from "./key-holder.ts";
import { ciphersOf } from "./key-holder.ts";
import { distancesFromScores, readTemplate } from "./slots.ts";

/** One encrypted polynomial of a probe: piece `piece` of those it has at `stride`. */
export interface EncryptedPiece {
  /** The stride that the probe is cut at, in [1, encoded dimension]. */
  readonly stride: number;
  /** Which of its pieces this is, in [0, ceil(encoded dimension / stride)). */
  readonly piece: number;
  /** Packed residues of a fresh ciphertext. */
  readonly data: Uint8Array;
}

/** An encrypted probe, with what its distances cannot be read without and the server must not have. */
export interface EncryptedProbe {
  /** All pieces of each stride, in order. */
  readonly pieces: readonly EncryptedPiece[];
  /** |p / R|^2 of the plain probe. */
  readonly squaredNorm: number;
}

/** As {@link EncryptedProbe}; each piece is encrypted when it is asked for. */
export interface ProbePieces {
  /** All pieces of each stride, in order; to be iterated once. */
  readonly pieces: Iterable<EncryptedPiece>;
  /** |p / R|^2 of the plain probe, as EncryptedProbe.squaredNorm. */
  readonly squaredNorm: number;
}

/** A ciphertext's bytes and how they are laid out. */
export interface EncodedBytes {
  /** How `data` is laid out. */
  readonly encoding: CiphertextEncoding;
  /** SEAL's serialization or packed residues, 30 bits each, as docs/wire-format.md has them. */
  readonly data: Uint8Array;
}

interface Packing {
  readonly layout: Layout;
  readonly scales: Scales;
}

/** Embeddings of one space to ciphertexts of one key, and encrypted products to distances. */
export class PackedCrypto {
  /** The space of all embeddings and distances that pass through it. */
  readonly space: EmbeddingSpace;
  /** The stride of templates enrolled alone: the encoded dimension. */
  readonly looseStride: number;
  readonly #keyHolder: KeyHolder;
  readonly #packings = new Map<number, Packing>();

  /** The key holder stays the caller's, and has to outlive this. */
  constructor(keyHolder: KeyHolder, space: EmbeddingSpace) {
    this.#keyHolder = keyHolder;
    this.space = space;
    this.looseStride = looseLayout(encodedDimension(space)).stride;
  }

  /**
   * A template enrolled alone: one ciphertext, at slot 0. Throws ClientError EMBEDDING_INVALID for an embedding not of
   * this space.
   */
  encryptTemplate(embedding: ArrayLike<number>): Uint8Array {
    return this.encryptLoose(this.encode(embedding));
  }

  /** As {@link encryptTemplate}, from an embedding in encoded form. */
  encryptLoose(vector: Float64Array): Uint8Array {
    const polynomial = new Float64Array(DEGREE);
    this.#place(this.looseStride, [vector], [polynomial]);
    return ciphersOf(this.#keyHolder).encryptPolynomial(polynomial);
  }

  /**
   * A block of templates in slots 0, 1, …: ceil(encoded dimension / stride) ciphertexts. Throws ClientError
   * EMBEDDING_INVALID, and FheError LAYOUT_INVALID for more templates than the stride has slots.
   */
  encryptBlock(stride: number, embeddings: readonly ArrayLike<number>[]): Uint8Array[] {
    return [
      ...this.encryptEncoded(
        stride,
        embeddings.map((embedding) => this.encode(embedding)),
      ),
    ];
  }

  /**
   * A template's embedding in encoded form. Throws ClientError EMBEDDING_INVALID for an embedding not of this space.
   */
  encode(embedding: ArrayLike<number>): Float64Array {
    checkShape(embedding);
    return translated("EMBEDDING_INVALID", () => encodeTemplateEmbedding(this.space, embedding).vector);
  }

  /** As {@link encryptBlock}, from embeddings in encoded form and one ciphertext at a time, each about 1 ms of work. */
  *encryptEncoded(stride: number, vectors: readonly Float64Array[]): Generator<Uint8Array, void, undefined> {
    const polynomials = emptyPolynomials(this.layout(stride));
    this.#place(stride, vectors, polynomials);
    for (const polynomial of polynomials) yield ciphersOf(this.#keyHolder).encryptPolynomial(polynomial);
  }

  /**
   * Decrypts a block, from all its ciphertexts in order, and reads the encoded embeddings that lie in its slots. They
   * differ from what was encrypted by the encryption's noise: 3.2 / (scale of templates) a component, less what would
   * make them no embedding's any more. Throws ClientError REPLY_INVALID for a stride or slot that this space cannot
   * have, bytes that are no fresh ciphertexts of this parameter set, or a vector that is no embedding's.
   */
  decryptBlock(stride: number, pieces: readonly EncodedBytes[]): (slot: number) => Float64Array {
    return translated("REPLY_INVALID", () => {
      const { layout, scales } = this.#packing(stride);
      if (pieces.length !== layout.pieces)
        throw new ClientError(
          "REPLY_INVALID",
          `a block of ${pieces.length} ciphertexts: expected ${layout.pieces} at stride ${stride}`,
        );
      const polynomials = pieces.map(({ encoding, data }) =>
        ciphersOf(this.#keyHolder).decryptPolynomial(encoding, data),
      );
      const places = { layout, scale: scales.template };
      return (slot) =>
        translated("REPLY_INVALID", () => nearestTemplateVector(this.space, readTemplate(polynomials, slot, places)));
    });
  }

  /**
   * How vectors of the space lie in blocks of a stride. Throws FheError LAYOUT_INVALID for a stride that this space
   * cannot have.
   */
  layout(stride: number): Layout {
    return this.#packing(stride).layout;
  }

  /** A probe at each of the strides, all pieces of each. Throws ClientError EMBEDDING_INVALID. */
  encryptProbe(embedding: ArrayLike<number>, strides: readonly number[]): EncryptedProbe {
    const { pieces, squaredNorm } = this.probePieces(embedding, strides);
    return { pieces: [...pieces], squaredNorm };
  }

  /**
   * As {@link encryptProbe}, one piece at a time, each about 1 ms of work. Throws ClientError EMBEDDING_INVALID before
   * the first.
   */
  probePieces(embedding: ArrayLike<number>, strides: readonly number[]): ProbePieces {
    checkShape(embedding);
    const { vector, squaredNorm } = translated("EMBEDDING_INVALID", () => encodeProbeEmbedding(this.space, embedding));
    return { pieces: this.#encryptPieces(vector, strides), squaredNorm };
  }

  *#encryptPieces(vector: Float64Array, strides: readonly number[]): Generator<EncryptedPiece, void, undefined> {
    for (const stride of strides) {
      const { layout, scales } = this.#packing(stride);
      for (const [piece, polynomial] of encodeProbe(layout, scales, vector).entries()) {
        yield { stride, piece, data: ciphersOf(this.#keyHolder).encryptPolynomial(polynomial) };
      }
    }
  }

  /**
   * The distances of a block's slots to the probe, floor(4096 / stride) of them, in the space's metric; meaningless
   * for slots without a template, and NaN where the inner product is further than 8 standard deviations of noise from
   * what embeddings can have. Throws ClientError REPLY_INVALID for a stride that this space cannot have, or bytes that
   * are no product of this parameter set.
   */
  decryptDistances(stride: number, product: EncodedBytes, probeSquaredNorm: number): Float64Array {
    const scores = this.decryptScores(stride, product);
    const { layout } = this.#packing(stride);
    const { parameterSet: set } = ciphersOf(this.#keyHolder);
    const range = scoreRange(this.space, { set, layout }, probeSquaredNorm);
    return distancesFromScores(scores, range, { space: this.space, probeSquaredNorm });
  }

  /** The inner products behind {@link decryptDistances}, one for each slot. Throws as that does. */
  decryptScores(stride: number, { encoding, data }: EncodedBytes): Float64Array {
    return translated("REPLY_INVALID", () => {
      const { layout, scales } = this.#packing(stride);
      return readScores(layout, scales, ciphersOf(this.#keyHolder).decryptProduct(encoding, data));
    });
  }

  #place(stride: number, vectors: readonly Float64Array[], polynomials: Float64Array[]): void {
    const { layout, scales } = this.#packing(stride);
    vectors.forEach((vector, slot) => {
      placeTemplate({ layout, scales, polynomials }, slot, vector);
    });
  }

  #packing(stride: number): Packing {
    const known = this.#packings.get(stride);
    if (known !== undefined) return known;
    const layout = layoutOf(encodedDimension(this.space), stride);
    const packing = { layout, scales: scalesOf(ciphersOf(this.#keyHolder).parameterSet, layout) };
    this.#packings.set(stride, packing);
    return packing;
  }
}

function checkShape(embedding: unknown): void {
  if (typeof embedding === "object" && embedding !== null && "length" in embedding) return;
  throw new ClientError("EMBEDDING_INVALID", "the embedding is missing: expected an array of numbers");
}

/**
 * What the caller or the server got wrong, as a ClientError; a failure of SEAL itself is neither's fault and passes as
 * it is.
 */
function translated<T>(reason: ClientErrorReason, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    throw cause instanceof FheError && cause.reason !== "SEAL_FAILED"
      ? new ClientError(reason, cause.message, { cause })
      : cause;
  }
}
