import {
  FheError, distanceFromScore, emptyPolynomials, encodeProbe, encodeProbeEmbedding, encodeTemplateEmbedding, encodedDimension,
  layoutOf, looseLayout, placeTemplate, readScores, scalesOf,
} from "@veilface/fhe";
import type { CiphertextEncoding, EmbeddingSpace, Layout, Scales } from "@veilface/fhe";
import { ClientError } from "./errors.ts";
import type { ClientErrorReason } from "./errors.ts";
import type { KeyHolder } from "./key-holder.ts";

/** One encrypted polynomial of a probe: piece `piece` of those it has at `stride`. */
export interface EncryptedPiece {
  readonly stride: number;
  readonly piece: number;
  /** Packed residues of a fresh ciphertext. */
  readonly data: Uint8Array;
}

/** An encrypted probe, with what its distances cannot be read without and the server must not have. */
export interface EncryptedProbe {
  readonly pieces: readonly EncryptedPiece[];
  /** |p / R|^2 of the plain probe. */
  readonly squaredNorm: number;
}

interface Packing {
  readonly layout: Layout;
  readonly scales: Scales;
}

/** Embeddings of one space to ciphertexts of one key, and encrypted products to distances. */
export class PackedCrypto {
  readonly space: EmbeddingSpace;
  /** The stride of templates enrolled alone: the encoded dimension. */
  readonly looseStride: number;
  readonly #keyHolder: KeyHolder;
  readonly #packings = new Map<number, Packing>();

  constructor(keyHolder: KeyHolder, space: EmbeddingSpace) {
    this.#keyHolder = keyHolder;
    this.space = space;
    this.looseStride = looseLayout(encodedDimension(space)).stride;
  }

  /** A template enrolled alone: one ciphertext, at slot 0. Throws ClientError EMBEDDING_INVALID for an embedding not of this space. */
  encryptTemplate(embedding: ArrayLike<number>): Uint8Array {
    return this.encryptBlock(this.looseStride, [embedding])[0]!;
  }

  /**
   * A block of templates in slots 0, 1, …: ceil(encoded dimension / stride) ciphertexts. Throws ClientError EMBEDDING_INVALID, and
   * FheError LAYOUT_INVALID for more templates than the stride has slots.
   */
  encryptBlock(stride: number, embeddings: readonly ArrayLike<number>[]): Uint8Array[] {
    const { layout, scales } = this.#packing(stride);
    const polynomials = emptyPolynomials(layout);
    embeddings.forEach((embedding, slot) => {
      const { vector } = translated("EMBEDDING_INVALID", () => encodeTemplateEmbedding(this.space, embedding));
      placeTemplate(layout, scales, vector, slot, polynomials);
    });
    return polynomials.map((polynomial) => this.#keyHolder.encryptPolynomial(polynomial));
  }

  /** A probe at each of the strides, all pieces of each. Throws ClientError EMBEDDING_INVALID. */
  encryptProbe(embedding: ArrayLike<number>, strides: readonly number[]): EncryptedProbe {
    const { vector, squaredNorm } = translated("EMBEDDING_INVALID", () => encodeProbeEmbedding(this.space, embedding));
    const pieces = strides.flatMap((stride) => {
      const { layout, scales } = this.#packing(stride);
      return encodeProbe(layout, scales, vector).map((polynomial, piece) => ({ stride, piece, data: this.#keyHolder.encryptPolynomial(polynomial) }));
    });
    return { pieces, squaredNorm };
  }

  /**
   * The distances of a block's slots to the probe, floor(4096 / stride) of them, in the space's metric; meaningless for slots without
   * a template. Throws ClientError REPLY_INVALID for a stride that this space cannot have, or bytes that are no product of this parameter set.
   */
  decryptDistances(stride: number, encoding: CiphertextEncoding, data: Uint8Array, probeSquaredNorm: number): Float64Array {
    return this.decryptScores(stride, encoding, data).map((score) => distanceFromScore(this.space, score, probeSquaredNorm));
  }

  /** The inner products behind {@link decryptDistances}. */
  decryptScores(stride: number, encoding: CiphertextEncoding, data: Uint8Array): Float64Array {
    return translated("REPLY_INVALID", () => {
      const { layout, scales } = this.#packing(stride);
      return readScores(layout, scales, this.#keyHolder.decryptProduct(encoding, data));
    });
  }

  #packing(stride: number): Packing {
    const known = this.#packings.get(stride);
    if (known !== undefined) return known;
    const layout = layoutOf(encodedDimension(this.space), stride);
    const packing = { layout, scales: scalesOf(this.#keyHolder.parameterSet, layout) };
    this.#packings.set(stride, packing);
    return packing;
  }
}

/** What the caller or the server got wrong, as a ClientError; a failure of SEAL itself is neither's fault and passes as it is. */
function translated<T>(reason: ClientErrorReason, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    throw cause instanceof FheError && cause.reason !== "SEAL_FAILED" ? new ClientError(reason, cause.message, { cause }) : cause;
  }
}
