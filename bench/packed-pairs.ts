import { KeyHolder } from "@veilface/client";
import { PackedCrypto } from "@veilface/client/advanced";
import {
  CiphertextCodec,
  RingKernel,
  expectedError,
  loadPublicSeal,
  parameterSet,
  plainDistance,
  toTiles,
} from "@veilface/fhe";
import type { ParameterSetName } from "@veilface/fhe";
import { BlockGallery } from "./block-gallery.ts";
import { unitVector } from "./figures.ts";
import type { Work } from "./figures.ts";

// What stands here against comparisons of pairs goes from residues in memory to products serialised for sending.
const ENCODING = "PACKED_RESIDUES";
// One error in 10^11 is larger.
const TOLERANCE_SIGMAS = 7;

/** A probe against blocks at stride 1, more of them than the CPU's caches hold. */
export async function packedScan(owned: DisposableStack, name: ParameterSetName, dimension: number): Promise<Work> {
  const block = owned.use(await EncryptedBlock.create(name, dimension, 1));
  const gallery = BlockGallery.filledWith(toTiles(block.template));
  block.kernel.loadProbes([toTiles(block.probe)]);
  let product: Uint8Array = new Uint8Array();
  const run = (): void => {
    gallery.match(block.kernel, ([residues]) => (product = block.serialize(residues!)));
  };
  return {
    templates: gallery.blocks * block.slots,
    run,
    check: () => {
      block.check(product);
    },
  };
}

/** A probe against one template that was enrolled alone. */
export async function looseComparison(
  owned: DisposableStack,
  name: ParameterSetName,
  dimension: number,
): Promise<Work> {
  const block = owned.use(await EncryptedBlock.create(name, dimension, dimension));
  const { kernel } = block;
  let product: Uint8Array = new Uint8Array();
  const run = (): void => {
    kernel.loadProbes([toTiles(block.probe)]);
    const [residues] = kernel.matchBlock([toTiles([kernel.sum(block.template)])]);
    product = block.serialize(residues!);
  };
  return {
    templates: 1,
    run,
    check: () => {
      block.check(product);
    },
  };
}

/**
 * An encrypted block and an encrypted probe, as residues, with the kernel that multiplies them: full at stride 1, of
 * one template where the stride is the dimension.
 */
class EncryptedBlock implements Disposable {
  readonly slots: number;
  readonly template: readonly Uint32Array[];
  readonly probe: readonly Uint32Array[];
  readonly kernel: RingKernel;
  readonly #crypto: PackedCrypto;
  readonly #codec: CiphertextCodec;
  readonly #stride: number;
  readonly #probeSquaredNorm: number;
  readonly #owned: DisposableStack;

  static async create(name: ParameterSetName, dimension: number, stride: number): Promise<EncryptedBlock> {
    using owned = new DisposableStack();
    const keyHolder = owned.use(await KeyHolder.create(name));
    const crypto = new PackedCrypto(keyHolder, { dimension, metric: "cosine", normBound: 1 });
    const { pieces } = crypto.layout(stride);
    const kernel = RingKernel.create(parameterSet(name).dataPrimes, { probes: 1, pieces });
    const codec = owned.use(new CiphertextCodec(await loadPublicSeal(), kernel, parameterSet(name)));
    return new EncryptedBlock(crypto, codec, kernel, stride, owned.move());
  }

  private constructor(
    crypto: PackedCrypto,
    codec: CiphertextCodec,
    kernel: RingKernel,
    stride: number,
    owned: DisposableStack,
  ) {
    const { dimension } = crypto.space;
    this.slots = stride === dimension ? 1 : crypto.layout(stride).slots;
    this.#crypto = crypto;
    this.#codec = codec;
    this.kernel = kernel;
    this.#stride = stride;
    this.#owned = owned;
    const { pieces, squaredNorm } = crypto.encryptProbe(probeEmbedding(dimension), [stride]);
    this.#probeSquaredNorm = squaredNorm;
    this.probe = pieces.map(({ data }) => codec.parseFresh(ENCODING, data));
    const embeddings = Array.from({ length: this.slots }, (_, slot) => unitVector(slot, dimension));
    this.template = crypto.encryptBlock(stride, embeddings).map((data) => codec.parseFresh(ENCODING, data));
  }

  serialize(product: Uint32Array): Uint8Array {
    return this.#codec.serialize(ENCODING, product);
  }

  /** Throws unless the distances in a product are the plain ones. */
  check(product: Uint8Array): void {
    const { space } = this.#crypto;
    const distances = this.#crypto.decryptDistances(
      this.#stride,
      { encoding: ENCODING, data: product },
      this.#probeSquaredNorm,
    );
    const tolerance = TOLERANCE_SIGMAS * expectedError(this.#codec.set, this.#crypto.layout(this.#stride));
    for (let slot = 0; slot < this.slots; slot++) {
      const expected = plainDistance(space, unitVector(slot, space.dimension), probeEmbedding(space.dimension));
      if (!(Math.abs(distances[slot]! - expected) < tolerance))
        throw new Error(`the distance of slot ${slot} is ${distances[slot]!}: expected ${expected}`);
    }
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

function probeEmbedding(dimension: number): Float32Array {
  return unitVector(1_000_003, dimension);
}
