import { sealCiphertextBytes } from "@veilface/fhe";
import type { ProbePiece } from "@veilface/proto";
import type { BlockAnswer } from "../compute/block-answer.ts";
import { envelopeOf } from "../compute/envelope.ts";
import type { PairwiseEncoding, CiphertextEnvelope, Envelope } from "../compute/envelope.ts";
import { scanPairwise } from "../compute/pairwise/pairwise-matcher.ts";
import type { PairwiseMatcher } from "../compute/pairwise/pairwise-matcher.ts";
import { fieldInvalid } from "../errors.ts";
import type { ContextLocation, ModelSpace, PairwiseScheme, StoredGallery } from "../store/gallery-store.ts";
import { pairwiseCiphertext, pairwiseReplyEncoding } from "./from-wire.ts";
import type { Answers, AskedBlocks, AskedProbe, GalleryScheme, SchemeProbe } from "./gallery-scheme.ts";
import { PieceReader } from "./piece-reader.ts";
import { ProbeAssembly } from "./probe-assembly.ts";

/** A pairwise context, and where its keys are. */
interface PairwiseTarget {
  readonly context: ContextLocation;
  readonly scheme: PairwiseScheme;
}

/** A gallery under a context of the pairwise scheme. A template is a block of its own: a product takes one each. */
export class PairwiseGallery implements GalleryScheme {
  readonly reader: PieceReader<PairwiseEncoding>;
  readonly looseSlots = 1;
  readonly storedEncoding = "SEAL";
  readonly #gallery: StoredGallery;
  readonly #context: ContextLocation;
  readonly #matcher: PairwiseMatcher;

  constructor(gallery: StoredGallery, { context, scheme }: PairwiseTarget, matcher: PairwiseMatcher) {
    this.#gallery = gallery;
    this.#context = context;
    this.#matcher = matcher;
    // One prime of the chain is for switching keys, and none of a ciphertext's.
    const bytes = sealCiphertextBytes(scheme.degree, 2 * (scheme.modulusBits.length - 1));
    this.reader = new PieceReader({
      contextId: gallery.contextId,
      check: pairwiseCiphertext,
      bytes: () => bytes,
      explain: (piece) => this.prepareTemplate(piece),
    });
  }

  get looseStride(): number {
    return this.#gallery.space.dimension;
  }

  openProbe({ replyEncoding: reply, probes, holding }: AskedProbe): SchemeProbe {
    const { space, strides } = this.#gallery;
    if (probes > 1) throw fieldInvalid("target.probes", "must be 1, or 0, in the pairwise scheme");
    const pieces = new ProbeAssembly(this.reader, holding, { dimension: space.dimension, strides, probes });
    const encoding = pairwiseReplyEncoding("target.reply_encoding", reply);
    return new PairwiseProbe({ pieces, encoding, space, context: this.#context, matcher: this.#matcher });
  }

  prepareTemplate(template: CiphertextEnvelope<PairwiseEncoding>): Promise<Uint8Array> {
    const { dimension } = this.#gallery.space;
    return this.#matcher.prepare({ context: this.#context, ciphertext: template, dimension });
  }

  // Unreachable: a block's head is refused where the gallery has no packed stride.
  prepareBlock(): Promise<Uint8Array[]> {
    return Promise.reject(fieldInvalid("block", "is of the packed scheme", "SCHEME_MISMATCH"));
  }

  looseAsSent(residues: Uint8Array): Promise<Envelope[]> {
    return Promise.resolve([envelopeOf(residues)]);
  }

  // Unreachable: there are none.
  blockAsSent(): Promise<Envelope[]> {
    return Promise.reject(fieldInvalid("block", "is of the packed scheme", "SCHEME_MISMATCH"));
  }
}

interface PairwiseProbeParts {
  readonly pieces: ProbeAssembly<PairwiseEncoding>;
  /** Of the answers; the probe's own if undefined. */
  readonly encoding: PairwiseEncoding | undefined;
  readonly space: ModelSpace;
  readonly context: ContextLocation;
  readonly matcher: PairwiseMatcher;
}

class PairwiseProbe implements SchemeProbe {
  readonly #parts: PairwiseProbeParts;

  constructor(parts: PairwiseProbeParts) {
    this.#parts = parts;
  }

  add(pieces: readonly ProbePiece[]): Promise<void> {
    return this.#parts.pieces.add(pieces);
  }

  async search(asked: AskedBlocks): Promise<Answers> {
    if (asked.blocks.length === 0) return { encoding: "SEAL", products: nothing() };
    const { context, matcher, pieces, space } = this.#parts;
    const [ciphertext] = pieces.complete(space.dimension);
    const { encoding = ciphertext.encoding } = this.#parts;
    return { encoding, products: await scanPairwise(matcher, { ciphertext, space }, { context, encoding, ...asked }) };
  }

  compare(asked: AskedBlocks): Promise<Answers> {
    return this.search(asked);
  }
}

async function* nothing(): AsyncGenerator<BlockAnswer> {
  // A gallery without templates has no products.
}
