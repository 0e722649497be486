// What tests do with a gallery under a pairwise context: enroll, search, compare, read, and turn answers into
// distances.
import assert from "node:assert/strict";
import { enrolledEntry, freshId, question, readComparison, readSearch } from "./gallery-fixture.ts";
import type {
  CiphertextMessage,
  CompareMessage,
  DeletedMessage,
  DistancesMessage,
  EnrolledMessage,
  EntryMessage,
  GalleryMessage,
  Person,
  PieceMessage,
  RosterMessage,
  SearchMessage,
  TemplateMessage,
} from "./gallery-fixture.ts";
import type { Space } from "./independent-encoding.ts";
import type { IndependentClient } from "./independent-client.ts";
import { assertReply, plainResult } from "./pairwise-context.ts";
import type { Encoding, TestContext } from "./pairwise-context.ts";
import type { VectorForm } from "./tenseal-maker.ts";

/** One stored block, as ReadTemplates gives it. */
interface ReadBlock {
  readonly block: number;
  readonly stride: number;
  readonly entries: readonly EntryMessage[];
  readonly pieces: readonly CiphertextMessage[];
}

/** A ciphertext as it is sent: its bytes' encoding and form. */
export interface Sent extends VectorForm {
  readonly encoding?: Encoding;
}

/** A gallery of one space under a pairwise context. */
export class PairwiseGallery {
  readonly context: TestContext;
  readonly space: Space;
  readonly galleryId: string;

  static async create(context: TestContext, space: Space): Promise<PairwiseGallery> {
    const gallery_id = freshId("pairwise");
    await context.client.call("GalleryService/CreateGallery", {
      gallery: { gallery_id, context_id: context.contextId, space },
    });
    return new PairwiseGallery(context, space, gallery_id);
  }

  /** A gallery that is there already. */
  constructor(context: TestContext, space: Space, galleryId: string) {
    this.context = context;
    this.space = space;
    this.galleryId = galleryId;
  }

  get client(): IndependentClient {
    return this.context.client;
  }

  get target() {
    return { gallery_id: this.galleryId, space: this.space };
  }

  template({ template_id, subject_id, embedding }: Person, { encoding, ...form }: Sent = {}): TemplateMessage {
    return { template_id, subject_id, ciphertext: this.context.vector(embedding, encoding, form) };
  }

  pieces(probe: readonly number[], { encoding, ...form }: Sent = {}): [PieceMessage] {
    return [{ stride: this.space.dimension, piece: 0, ciphertext: this.context.vector(probe, encoding, form) }];
  }

  async enroll(people: readonly Person[], sent: Sent = {}): Promise<EntryMessage[]> {
    return this.enrollTemplates(people.map((person) => this.template(person, sent)));
  }

  async enrollTemplates(templates: readonly TemplateMessage[]): Promise<EntryMessage[]> {
    const answers = await this.client.call<EnrolledMessage>(
      "GalleryService/EnrollTemplates",
      { target: this.target },
      ...templates.map((template) => ({ template })),
    );
    return answers.map(enrolledEntry);
  }

  /** Results by template id, of every live template. */
  async search(probe: readonly number[], sent: Sent = {}, reply?: Encoding): Promise<Map<string, number>> {
    const target = { ...this.target, ...replyWish(reply) };
    const { distances } = readSearch(
      await this.client.call<SearchMessage>(
        "MatchingService/SearchGallery",
        ...question(target, this.pieces(probe, sent)),
      ),
    );
    const entries = await this.roster();
    return new Map(distances.map((block) => this.#read(block, entries, reply ?? sent.encoding ?? "SEAL")));
  }

  /** Results by template id, of one subject's templates. */
  async compare(
    subjectId: string,
    probe: readonly number[],
    sent: Sent = {},
    reply?: Encoding,
  ): Promise<Map<string, number>> {
    const target = { ...this.target, subject_id: subjectId, ...replyWish(reply) };
    const { comparisons } = readComparison(
      await this.client.call<CompareMessage>(
        "MatchingService/CompareTemplates",
        ...question(target, this.pieces(probe, sent)),
      ),
    );
    return new Map(
      comparisons.map(({ distances, entries }) => this.#read(distances, entries, reply ?? sent.encoding ?? "SEAL")),
    );
  }

  /** What the server answers for a pair without any encryption. */
  plain(embedding: readonly number[], probe: readonly number[]): number {
    return plainResult(
      this.space.metric === "METRIC_EUCLIDEAN" ? "SQUARED_DISTANCE" : "INNER_PRODUCT",
      embedding,
      probe,
    );
  }

  /** The changes of the roster: without a revision all of it. */
  async roster(sinceRevision = 0): Promise<EntryMessage[]> {
    const [page] = await this.client.call<RosterMessage>("GalleryService/ListTemplateChanges", {
      gallery_id: this.galleryId,
      since_revision: sinceRevision,
      page_size: 10_000,
    });
    return [...page!.entries];
  }

  async describe(): Promise<GalleryMessage & { readonly packed_stride: number }> {
    const [answer] = await this.client.call<{ gallery: GalleryMessage & { packed_stride: number } }>(
      "GalleryService/GetGallery",
      { gallery_id: this.galleryId },
    );
    return answer!.gallery;
  }

  async delete(request: {
    template_ids?: readonly string[];
    subject_ids?: readonly string[];
  }): Promise<DeletedMessage> {
    const [answer] = await this.client.call<DeletedMessage>("GalleryService/DeleteTemplates", {
      gallery_id: this.galleryId,
      ...request,
    });
    assert.deepEqual(answer!.struck_template_ids, [], "a template of its own block is gone at once");
    return answer!;
  }

  /** Everything that ReadTemplates gives, block by block. */
  async read(): Promise<ReadBlock[]> {
    const [first, ...rest] = await this.client.call<{
      gallery?: GalleryMessage;
      block?: Omit<ReadBlock, "pieces">;
      pieces?: { pieces: CiphertextMessage[] };
    }>("GalleryService/ReadTemplates", { gallery_id: this.galleryId });
    assert.equal(first?.gallery?.gallery_id, this.galleryId);
    const blocks: (ReadBlock & { readonly pieces: CiphertextMessage[] })[] = [];
    for (const { block, pieces } of rest) {
      if (block !== undefined) blocks.push({ ...block, pieces: [] });
      else blocks.at(-1)!.pieces.push(...pieces!.pieces);
    }
    return blocks;
  }

  /** One answer: it is about exactly one template, whose block it names. */
  #read(
    { block, stride, ciphertext }: DistancesMessage,
    entries: readonly EntryMessage[],
    reply: Encoding,
  ): [string, number] {
    assertReply(ciphertext, this.context.contextId, `CIPHERTEXT_ENCODING_${reply}`);
    const owners = entries.filter(({ placement }) => placement?.block === block);
    assert.equal(owners.length, 1, "one template in a block");
    assert.deepEqual(
      { stride, placement: owners[0]!.placement },
      { stride: this.space.dimension, placement: { block, slot: 0, stride: this.space.dimension } },
    );
    return [owners[0]!.template_id, this.context.maker.decrypt(ciphertext.encoding, ciphertext.data)];
  }
}

function replyWish(reply: Encoding | undefined): object {
  return reply === undefined ? {} : { reply_encoding: `CIPHERTEXT_ENCODING_${reply}` };
}
