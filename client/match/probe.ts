import type { ProbePiece } from "@veilface/proto";
import type { OpenGallery } from "../open-galleries.ts";
import { toWireCiphertext } from "../remote/wire.ts";

/** The probes of a question, for a gallery at some of its strides. */
export class Probe {
  readonly strides: ReadonlySet<number>;
  readonly #gallery: OpenGallery;
  readonly #probes: ReturnType<OpenGallery["crypto"]["probePieces"]>[];

  /** Throws ClientError EMBEDDING_INVALID. */
  constructor(gallery: OpenGallery, embeddings: readonly ArrayLike<number>[], strides: readonly number[]) {
    this.strides = new Set(strides);
    this.#gallery = gallery;
    this.#probes = embeddings.map((embedding) => gallery.crypto.probePieces(embedding, strides));
  }

  /** How many there are. */
  get count(): number {
    return this.#probes.length;
  }

  /** Of a probe's embedding; undefined where there is no such probe. */
  squaredNorm(probe: number): number | undefined {
    return this.#probes[probe]?.squaredNorm;
  }

  /** The pieces of all probes, encrypted as they are taken; once. */
  *pieces(): Generator<ProbePiece, void, undefined> {
    const { contextId } = this.#gallery.info;
    for (const [probe, { pieces }] of this.#probes.entries())
      for (const { stride, piece, data } of pieces)
        yield { probe, stride, piece, ciphertext: toWireCiphertext(contextId, data) };
  }
}

/**
 * The strides that a search is made at. A search must have a probe, and an empty gallery may have templates by now.
 */
export function searchStrides({ info, crypto }: OpenGallery): readonly number[] {
  return info.strides.length === 0 ? [crypto.looseStride] : info.strides;
}
