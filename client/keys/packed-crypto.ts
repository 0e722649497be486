import {
  FheError,
  distanceFromScore,
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

/** As {@link EncryptedProbe}; each piece is encrypted when it is asked for. */
export interface ProbePieces {
  readonly pieces: Iterable<EncryptedPiece>;
  readonly squaredNorm: number;
}

/** A ciphertext's bytes and how they are laid out. */
export interface EncodedBytes {
  readonly encoding: CiphertextEncoding;
  readonly data: Uint8Array;
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

  /**
   * A template enrolled alone: one ciphertext, at slot 0. Throws ClientError EMBEDDING_INVALID for an embedding not of
   * this space.
   */
  encryptTemplate(embedding: ArrayLike<number>): Uint8Array {
    return this.encryptBlock(this.looseStride, [embedding])[0]!;
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
    const { layout, scales } = this.#packing(stride);
    const polynomials = emptyPolynomials(layout);
    vectors.forEach((vector, slot) => {
      placeTemplate({ layout, scales, polynomials }, slot, vector);
    });
    for (const polynomial of polynomials) yield ciphersOf(this.#keyHolder).encryptPolynomial(polynomial);
  }

  /**
   * The encoded embeddings that lie in slots of a block, from all its ciphertexts in order. They differ from what was
   * encrypted by the encryption's noise: 3.2 / (scale of templates) a component, less what would make them no
   * embedding's any more. Throws ClientError REPLY_INVALID for a stride or slot that this space cannot have, bytes
   * that are no fresh ciphertexts of this parameter set, or a vector that is no embedding's.
   */
  decryptTemplates(stride: number, pieces: readonly EncodedBytes[], slots: readonly number[]): Float64Array[] {
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
      return slots.map((slot) => nearestTemplateVector(this.space, readTemplate(layout, scales, slot, polynomials)));
    });
  }

  /**
   * Templates in a block and ciphertexts that it takes. Throws FheError LAYOUT_INVALID for a stride that this space
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
  decryptDistances(
    stride: number,
    encoding: CiphertextEncoding,
    data: Uint8Array,
    probeSquaredNorm: number,
  ): Float64Array {
    const values = this.decryptScores(stride, encoding, data);
    const { layout } = this.#packing(stride);
    const { least, largest } = scoreRange(
      this.space,
      { set: ciphersOf(this.#keyHolder).parameterSet, layout },
      probeSquaredNorm,
    );
    // A plain loop: a million of these are part of every large search.
    for (let slot = 0; slot < values.length; slot++) {
      const score = values[slot]!;
      values[slot] = score < least || score > largest ? NaN : distanceFromScore(this.space, score, probeSquaredNorm);
    }
    return values;
  }

  /** The inner products behind {@link decryptDistances}. */
  decryptScores(stride: number, encoding: CiphertextEncoding, data: Uint8Array): Float64Array {
    return translated("REPLY_INVALID", () => {
      const { layout, scales } = this.#packing(stride);
      return readScores(layout, scales, ciphersOf(this.#keyHolder).decryptProduct(encoding, data));
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

/** The inverse of placeTemplate: component g*s + l from coefficient slot*s + l of polynomial g. */
function readTemplate(
  { dimension, stride, slots }: Layout,
  { template }: Scales,
  slot: number,
  polynomials: readonly Float64Array[],
): Float64Array {
  if (slot < 0 || slot >= slots)
    throw new ClientError("REPLY_INVALID", `a template in slot ${slot}: expected one in [0, ${slots})`);
  const vector = new Float64Array(dimension);
  for (let k = 0; k < dimension; k++)
    vector[k] = polynomials[Math.floor(k / stride)]![slot * stride + (k % stride)]! / template;
  return vector;
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
