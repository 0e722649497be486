import type { CiphertextEncoding } from "@veilface/fhe";
import type { CiphertextEncoding as WireEncoding, ProbePiece } from "@veilface/proto";
import type { BlockAnswer } from "../compute/block-answer.ts";
import type { BlockTask } from "../compute/block-task.ts";
import type { PairwiseEncoding, CiphertextEnvelope, Envelope } from "../compute/envelope.ts";
import type { Matchers } from "../compute/matchers.ts";
import type { GalleryStore, ReaderLocation, StoredGallery } from "../store/gallery-store.ts";
import { PackedGallery } from "./packed-gallery.ts";
import { PairwiseGallery } from "./pairwise-gallery.ts";
import type { PieceReader } from "./piece-reader.ts";
import type { Holding } from "./waiting-bytes.ts";

/** How ciphertexts of any scheme are laid out. */
export type AnyEncoding = CiphertextEncoding | PairwiseEncoding;

/** Blocks of a gallery that a probe is compared with. */
export interface AskedBlocks {
  readonly blocks: readonly BlockTask[];
  readonly location: ReaderLocation;
  readonly signal: AbortSignal;
}

/** Products with the blocks of a gallery, and how they are sent. */
export interface Answers {
  readonly encoding: AnyEncoding;
  readonly products: AsyncIterable<BlockAnswer>;
}

/** What probes are opened with. */
export interface AskedProbe {
  /** How answers are to be encoded. */
  readonly replyEncoding: WireEncoding;
  /** How many there will be, >= 1. */
  readonly probes: number;
  /** What counts their bytes. */
  readonly holding: Holding;
}

/** The probes of a question, of its gallery's scheme, while their pieces come in, and once they are there. */
export interface SchemeProbe {
  /** Takes pieces in any order. Throws ServerError as ProbeAssembly.add. */
  add(pieces: readonly ProbePiece[]): Promise<void>;
  /** Compares them with whole blocks. Throws ServerError PROBE_INCOMPLETE, and what is wrong with a piece. */
  search(asked: AskedBlocks): Promise<Answers>;
  /** Compares them with some slots of few blocks. Throws as {@link search}. */
  compare(asked: AskedBlocks): Promise<Answers>;
}

/** What requests need of a gallery's scheme. Methods, so that each scheme may take its own encodings alone. */
export interface GalleryScheme {
  /** Reads ciphertexts of requests. */
  readonly reader: PieceReader<AnyEncoding>;
  /** Of templates that are enrolled alone. */
  readonly looseStride: number;
  readonly looseSlots: number;
  /** How stored ciphertexts are sent to the key holder. */
  readonly storedEncoding: CiphertextEncoding;
  /** Throws ServerError FIELD_INVALID, SCHEME_MISMATCH. */
  openProbe(asked: AskedProbe): SchemeProbe;
  /**
   * The residues of a template at its slot, as stored. Throws ServerError or FheError for a ciphertext that is not
   * sound.
   */
  prepareTemplate(ciphertext: CiphertextEnvelope<AnyEncoding>, slot: number): Promise<Uint8Array>;
  /** The chunks of a packed block, as stored. Throws as {@link prepareTemplate}. */
  prepareBlock(pieces: readonly CiphertextEnvelope<AnyEncoding>[]): Promise<Uint8Array[]>;
  /** A stored template as it is sent. The bytes are given away. */
  looseAsSent(residues: Uint8Array<ArrayBuffer>): Promise<Envelope[]>;
  /** A stored block as it is sent, one ciphertext a piece. The chunks are given away. */
  blockAsSent(stride: number, chunks: readonly Uint8Array<ArrayBuffer>[]): Promise<Envelope[]>;
}

/** What galleries are served with. */
export interface Serving {
  readonly store: GalleryStore;
  readonly matchers: Matchers;
}

/** The scheme of a gallery: the one place where requests ask which it is. */
export function schemeOf({ store, matchers }: Serving, gallery: StoredGallery): GalleryScheme {
  const { scheme } = store.getContext(gallery.contextId);
  if (scheme.kind === "packed") return new PackedGallery(gallery, scheme.parameterSet, matchers);
  const context = store.contextLocation(gallery.contextId);
  return new PairwiseGallery(gallery, { context, scheme }, matchers.pairwise);
}
