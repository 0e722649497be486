import { encodedDimension, freshCiphertextBytes, layoutOf, looseLayout, parameterSet } from "@veilface/fhe";
import type { CiphertextEncoding, Layout, ParameterSetName } from "@veilface/fhe";
import type { ProbePiece } from "@veilface/proto";
import type { BlockAnswer } from "../compute/block-answer.ts";
import type { CiphertextEnvelope, Envelope } from "../compute/envelope.ts";
import type { Matchers } from "../compute/matchers.ts";
import type { PackedMatcher } from "../compute/packed/packed-matcher.ts";
import type { PreparedProbe } from "../compute/packed/packed-task.ts";
import type { Search, SharedScans } from "../compute/packed/shared-scans.ts";
import { cutChunks } from "../store/lmdb/rows/packed-chunks.ts";
import type { StoredGallery } from "../store/gallery-store.ts";
import { ciphertext, replyEncoding } from "./from-wire.ts";
import type { Answers, AskedBlocks, AskedProbe, GalleryScheme, SchemeProbe } from "./gallery-scheme.ts";
import { PieceReader } from "./piece-reader.ts";
import { ProbeAssembly } from "./probe-assembly.ts";

/** A gallery under a context of the packed scheme. */
export class PackedGallery implements GalleryScheme {
  readonly reader: PieceReader<CiphertextEncoding>;
  readonly storedEncoding = "PACKED_RESIDUES";
  readonly #gallery: StoredGallery;
  readonly #parameterSet: ParameterSetName;
  readonly #matchers: Pick<Matchers, "packed" | "scans">;
  readonly #loose: Layout;

  constructor(gallery: StoredGallery, name: ParameterSetName, matchers: Pick<Matchers, "packed" | "scans">) {
    this.#gallery = gallery;
    this.#parameterSet = name;
    this.#matchers = matchers;
    this.#loose = looseLayout(encodedDimension(gallery.space));
    this.reader = new PieceReader({
      contextId: gallery.contextId,
      check: ciphertext,
      bytes: (encoding) => freshCiphertextBytes(parameterSet(name), encoding),
      explain: (piece) => this.prepareTemplate(piece, 0),
    });
  }

  get looseStride(): number {
    return this.#loose.stride;
  }

  get looseSlots(): number {
    return this.#loose.slots;
  }

  openProbe({ replyEncoding: reply, probes, holding }: AskedProbe): SchemeProbe {
    const { space, strides } = this.#gallery;
    const pieces = new ProbeAssembly(this.reader, holding, { dimension: encodedDimension(space), strides, probes });
    const encoding = replyEncoding("target.reply_encoding", reply);
    return new PackedProbe({ pieces, encoding, parameterSet: this.#parameterSet, ...this.#matchers });
  }

  prepareTemplate(template: CiphertextEnvelope, slot: number): Promise<Uint8Array> {
    const exponent = slot * this.#loose.stride;
    return this.#matchers.packed.prepareTemplate({ parameterSet: this.#parameterSet, ciphertext: template, exponent });
  }

  async prepareBlock(pieces: readonly CiphertextEnvelope[]): Promise<Uint8Array[]> {
    const primes = parameterSet(this.#parameterSet).dataPrimes.length;
    return cutChunks(await this.#matchers.packed.prepareBlock(this.#parameterSet, pieces), primes);
  }

  looseAsSent(residues: Uint8Array<ArrayBuffer>): Promise<Envelope[]> {
    return this.#matchers.packed.serialize(this.#parameterSet, [residues]);
  }

  blockAsSent(stride: number, chunks: readonly Uint8Array<ArrayBuffer>[]): Promise<Envelope[]> {
    const { pieces } = layoutOf(encodedDimension(this.#gallery.space), stride);
    return this.#matchers.packed.serialize(this.#parameterSet, chunks, pieces);
  }
}

interface PackedProbeParts {
  readonly pieces: ProbeAssembly<CiphertextEncoding>;
  /** Of the answers. */
  readonly encoding: CiphertextEncoding;
  readonly parameterSet: ParameterSetName;
  readonly packed: PackedMatcher;
  readonly scans: SharedScans;
}

class PackedProbe implements SchemeProbe {
  readonly #parts: PackedProbeParts;

  constructor(parts: PackedProbeParts) {
    this.#parts = parts;
  }

  add(pieces: readonly ProbePiece[]): Promise<void> {
    return this.#parts.pieces.add(pieces);
  }

  search(asked: AskedBlocks): Promise<Answers> {
    return this.#answers(asked, (search) => this.#parts.scans.search(search));
  }

  compare(asked: AskedBlocks): Promise<Answers> {
    return this.#answers(asked, (search) => this.#parts.scans.compare(search));
  }

  async #answers(asked: AskedBlocks, scan: (search: Search) => AsyncIterable<BlockAnswer>): Promise<Answers> {
    const { encoding, packed, parameterSet: name, pieces } = this.#parts;
    const strides = new Set(asked.blocks.map((block) => block.stride));
    const probes: Map<number, PreparedProbe>[] = [];
    for (let probe = 0; probe < pieces.probes; probe++) {
      const prepared = new Map<number, PreparedProbe>();
      for (const stride of strides)
        prepared.set(stride, await packed.prepareProbe(name, pieces.complete(stride, probe)));
      probes.push(prepared);
    }
    return { encoding, products: scan({ parameterSet: name, probes, encoding, ...asked }) };
  }
}
