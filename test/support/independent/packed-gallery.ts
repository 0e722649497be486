// A gallery of packed blocks at stride 16 and of templates enrolled alone, as the contract's comments say it is done.
import { DEGREE } from "../../../scripts/vectors/independent-ring.ts";
import { COSINE_128, TestGallery, freshId, newPackedContext, readSearch } from "./gallery-fixture.ts";
import type {
  CiphertextMessage,
  DistancesMessage,
  EnrolledMessage,
  EntryMessage,
  Person,
  PieceMessage,
  SearchMessage,
} from "./gallery-fixture.ts";
import type { IndependentClient } from "./independent-client.ts";
import type { IndependentKey } from "./independent-crypto.ts";
import { probePolynomials, scalesOf, templatePolynomial } from "./independent-encoding.ts";

export const STRIDE = 16;
/** Polynomials of a block, and of a probe at its stride. */
export const PIECES = COSINE_128.dimension / STRIDE;
export const SLOTS = DEGREE / STRIDE;

export class PackedGallery extends TestGallery {
  readonly packedScales = scalesOf(this.key.modulus, COSINE_128.dimension, STRIDE);

  /** Creates it. `asked`: what else is asked of the gallery. */
  static async open(client: IndependentClient, key: IndependentKey, asked: object = {}): Promise<PackedGallery> {
    const gallery_id = freshId("packed");
    await client.call("ContextService/CreateContext", newPackedContext(key));
    await client.call("GalleryService/CreateGallery", {
      gallery: { gallery_id, context_id: key.contextId, space: COSINE_128, packed_stride: STRIDE, ...asked },
    });
    return new PackedGallery(client, key, COSINE_128, gallery_id);
  }

  /** The polynomials of a block: component g*s + l of the template in slot i at coefficient i*s + l of polynomial g. */
  blockPieces(people: readonly Person[]): CiphertextMessage[] {
    const vectors = people.map(({ embedding }) =>
      templatePolynomial(COSINE_128, embedding, this.packedScales.template),
    );
    return Array.from({ length: PIECES }, (_, g) => {
      const polynomial = Array.from(
        { length: DEGREE },
        (_unused, at) => vectors[Math.floor(at / STRIDE)]?.[g * STRIDE + (at % STRIDE)] ?? 0,
      );
      return this.ciphertext(this.key.encrypt(polynomial, "packed"));
    });
  }

  head(people: readonly Person[]): object {
    return {
      block: { stride: STRIDE, slots: people.map(({ template_id, subject_id }) => ({ template_id, subject_id })) },
    };
  }

  async enrollBlock(people: readonly Person[]): Promise<NonNullable<EnrolledMessage["block"]>> {
    const [answer] = await this.client.call<EnrolledMessage>(
      "GalleryService/EnrollTemplates",
      { target: this.target },
      this.head(people),
      { pieces: { pieces: this.blockPieces(people) } },
    );
    return answer!.block!;
  }

  packedProbe(probe: readonly number[]): PieceMessage[] {
    const polynomials = probePolynomials(COSINE_128, probe, STRIDE, this.packedScales.probe);
    return polynomials.map((polynomial, piece) => ({
      stride: STRIDE,
      piece,
      ciphertext: this.ciphertext(this.key.encrypt(polynomial, "packed")),
    }));
  }

  /** A probe at both strides. */
  wholeProbe(probe: readonly number[]): PieceMessage[] {
    return [...this.packedProbe(probe), ...this.pieces(probe)];
  }

  /** Distances by template id, over packed and loose blocks. */
  async searchAll(probe: readonly number[]): Promise<Map<string, number>> {
    const [found] = await this.searchWith([this.wholeProbe(probe)]);
    return found!;
  }

  /** The same of several probes in one search, whose pieces these are; a probe to each message. */
  async searchWith(probes: readonly (readonly PieceMessage[])[]): Promise<Map<string, number>[]> {
    const messages = probes.map((pieces, probe) => ({
      pieces: { pieces: pieces.map((piece) => ({ ...piece, probe })) },
    }));
    const { distances } = readSearch(
      await this.client.call<SearchMessage>(
        "MatchingService/SearchGallery",
        { target: { ...this.target, probes: probes.length } },
        ...messages,
      ),
    );
    const entries = (await this.roster()).filter(({ deleted }) => !deleted);
    return probes.map(
      (_, k) =>
        new Map(distances.filter(({ probe }) => probe === k).flatMap((block) => this.#readBlock(block, entries))),
    );
  }

  #readBlock({ block, stride, ciphertext }: DistancesMessage, entries: readonly EntryMessage[]): [string, number][] {
    const scales = stride === STRIDE ? this.packedScales : this.scales;
    const coefficients = this.key.decryptProduct(ciphertext.encoding, ciphertext.data);
    return entries.flatMap(({ template_id, placement }): [string, number][] =>
      placement?.block === block
        ? [[template_id, 1 - coefficients[placement.slot * stride + stride - 1]! / (scales.template * scales.probe)]]
        : [],
    );
  }
}
