// What tests do with a gallery over the independent client: enroll, search, compare, and read distances back.
import { createHash, randomUUID } from "node:crypto";
import type { IndependentKey } from "./independent-crypto.ts";
import type { Form } from "./independent-crypto.ts";
import type { IndependentClient } from "./independent-client.ts";
import {
  distanceOf,
  encodedDimension,
  probePolynomials,
  scalesOf,
  templatePolynomial,
} from "./independent-encoding.ts";
import type { Scales, Space } from "./independent-encoding.ts";

export interface CiphertextMessage {
  readonly context_id: string;
  readonly encoding: string;
  readonly data: Buffer;
  readonly sha256: Buffer;
}

export interface TemplateMessage {
  readonly template_id: string;
  readonly subject_id: string;
  readonly ciphertext: CiphertextMessage;
}

export interface PieceMessage {
  readonly stride: number;
  readonly piece: number;
  readonly ciphertext: CiphertextMessage;
  readonly probe?: number;
}

export interface EntryMessage {
  readonly template_id: string;
  readonly subject_id: string;
  readonly placement: { readonly block: number; readonly slot: number; readonly stride: number } | null;
  readonly revision: number;
  readonly deleted: boolean;
}

export interface GalleryMessage {
  readonly gallery_id: string;
  readonly context_id: string;
  readonly space: Space;
  readonly strides: readonly number[];
  readonly template_count: number;
  readonly revision: number;
  readonly create_time: { readonly seconds: number };
  readonly uid: Buffer;
  readonly labels: readonly { readonly key: string; readonly value: string }[];
}

export interface DistancesMessage {
  readonly block: number;
  readonly stride: number;
  /** Null where one of the next two is set, which the packed scheme has not. */
  readonly ciphertext: CiphertextMessage;
  readonly identical: boolean;
  /** An ErrorReason; ERROR_REASON_UNSPECIFIED where the block was compared. */
  readonly refused: string;
  /** Slots that `ciphertext` goes without. */
  readonly damaged_slots: readonly number[];
  readonly probe: number;
}

/** A step of a search: one of these. */
export interface SearchMessage {
  readonly message: "gallery" | "roster_changes" | "start" | "distances";
  readonly gallery?: GalleryMessage;
  readonly roster_changes?: { readonly entries: readonly EntryMessage[] };
  readonly start?: { readonly revision: number };
  readonly distances?: DistancesMessage;
}

/** A step of a comparison: one of these. */
export interface CompareMessage {
  readonly subject?: { readonly gallery: GalleryMessage; readonly strides: readonly number[] };
  readonly comparison?: { readonly distances: DistancesMessage; readonly entries: readonly EntryMessage[] };
}

/** What became durable: one of these. */
export interface EnrolledMessage {
  readonly template?: { readonly entry: EntryMessage; readonly struck_template_ids: readonly string[] };
  readonly block?: {
    readonly block: number;
    readonly stride: number;
    readonly count: number;
    readonly first_revision: number;
    readonly struck_template_ids: readonly string[];
  };
}

/** What was deleted. */
export interface DeletedMessage {
  readonly deleted_count: number;
  readonly revision: number;
  readonly struck_template_ids: readonly string[];
  readonly more: boolean;
  readonly struck_blocks: readonly number[];
  readonly erased_blocks: readonly number[];
  readonly unknown_subject_ids: readonly string[];
  readonly unknown_template_ids: readonly string[];
}

/** A page of a roster's changes. */
export interface RosterMessage {
  readonly entries: readonly EntryMessage[];
  readonly next_page_token: string;
  readonly revision: number;
}

/** A template's embedding and its names. */
export interface Person {
  readonly template_id: string;
  readonly subject_id: string;
  readonly embedding: readonly number[];
}

/** SEAL's serialisation or packed residues, as the wire names them. */
export function encodingOf(form: Form): string {
  return form === "packed" ? "CIPHERTEXT_ENCODING_PACKED_RESIDUES" : "CIPHERTEXT_ENCODING_SEAL";
}

/** The one message that creates a key's context. */
export function newPackedContext({ set, keyId }: Pick<IndependentKey, "set" | "keyId">): object {
  return { new_context: { context: { packed: { parameter_set: `PARAMETER_SET_${set}`, key_id: keyId } } } };
}

/** The messages of a comparison or a search whose probe goes in one message. */
export function question(target: object, pieces: readonly object[]): readonly [object, object] {
  return [{ target }, { pieces: { pieces } }];
}

/** The line of the roster of a template enrolled alone, of an answer to its enrollment. */
export function enrolledEntry(answer: object | undefined): EntryMessage {
  return (answer as EnrolledMessage).template!.entry;
}

/** A whole answer to a search. */
export interface SearchAnswer {
  readonly gallery: GalleryMessage;
  /** Page by page. */
  readonly changes: readonly (readonly EntryMessage[])[];
  readonly revision: number;
  readonly distances: readonly DistancesMessage[];
}

/** Reads the answers to a search. Throws where they do not come in the contract's order. */
export function readSearch(messages: readonly SearchMessage[]): SearchAnswer {
  const order = messages.map(({ message }) => message).join(" ");
  if (!/^gallery( roster_changes)* start( distances)*$/.test(order))
    throw new Error(`a search was answered with "${order}": expected gallery, roster_changes, start, distances`);
  return {
    gallery: messages[0]!.gallery!,
    changes: messages.flatMap(({ roster_changes }) => (roster_changes === undefined ? [] : [roster_changes.entries])),
    revision: messages.find(({ start }) => start !== undefined)!.start!.revision,
    distances: messages.flatMap(({ distances }) => distances ?? []),
  };
}

/** A whole answer to a comparison. */
export interface CompareAnswer extends NonNullable<CompareMessage["subject"]> {
  readonly comparisons: readonly NonNullable<CompareMessage["comparison"]>[];
}

/** Reads the answers to a comparison. Throws where they do not come in the contract's order. */
export function readComparison([first, ...rest]: readonly CompareMessage[]): CompareAnswer {
  if (first?.subject === undefined) throw new Error("a comparison's first answer is not what will be compared");
  const comparisons = rest.map(({ comparison }) => {
    if (comparison === undefined) throw new Error("a comparison's later answer is not a comparison");
    return comparison;
  });
  return { ...first.subject, comparisons };
}

/** An id that no other test uses. */
export function freshId(prefix: string): string {
  return `${prefix}-${randomUUID()}`;
}

export const COSINE_128: Space = { dimension: 128, metric: "METRIC_COSINE", model_id: "model-a", norm_bound: 1 };
export const EUCLIDEAN_128: Space = {
  dimension: 128,
  metric: "METRIC_EUCLIDEAN",
  model_id: "model-a",
  norm_bound: 1.5,
};

/** A gallery on a running server, with the key it belongs to. */
export class TestGallery {
  readonly client: IndependentClient;
  readonly key: IndependentKey;
  readonly space: Space;
  readonly galleryId: string;
  readonly stride: number;
  readonly scales: Scales;

  /** Creates the key's context and a gallery of that space under it. */
  static async create(
    client: IndependentClient,
    key: IndependentKey,
    space: Space = COSINE_128,
    galleryId = freshId("gallery"),
  ): Promise<TestGallery> {
    await client.call("ContextService/CreateContext", newPackedContext(key));
    await client.call("GalleryService/CreateGallery", {
      gallery: { gallery_id: galleryId, context_id: key.contextId, space },
    });
    return new TestGallery(client, key, space, galleryId);
  }

  /** A gallery that is there already. */
  constructor(client: IndependentClient, key: IndependentKey, space: Space, galleryId: string) {
    this.client = client;
    this.key = key;
    this.space = space;
    this.galleryId = galleryId;
    this.stride = encodedDimension(space);
    this.scales = scalesOf(key.modulus, this.stride, this.stride);
  }

  get target() {
    return { gallery_id: this.galleryId, space: this.space };
  }

  ciphertext(data: Buffer, form: Form = "packed"): CiphertextMessage {
    return {
      context_id: this.key.contextId,
      encoding: encodingOf(form),
      data,
      sha256: createHash("sha256").update(data).digest(),
    };
  }

  template(person: Person, form: Form = "packed"): TemplateMessage {
    const data = this.key.encrypt(templatePolynomial(this.space, person.embedding, this.scales.template), form);
    return { template_id: person.template_id, subject_id: person.subject_id, ciphertext: this.ciphertext(data, form) };
  }

  pieces(probe: readonly number[], form: Form = "packed"): PieceMessage[] {
    const polynomials = probePolynomials(this.space, probe, this.stride, this.scales.probe);
    return polynomials.map((polynomial, piece) => ({
      stride: this.stride,
      piece,
      ciphertext: this.ciphertext(this.key.encrypt(polynomial, form), form),
    }));
  }

  /** The messages of a whole enrollment. */
  enrollment(templates: readonly TemplateMessage[]): object[] {
    return [{ target: this.target }, ...templates.map((template) => ({ template }))];
  }

  async enroll(people: readonly Person[], form: Form = "packed"): Promise<EntryMessage[]> {
    return this.enrollTemplates(people.map((person) => this.template(person, form)));
  }

  async enrollTemplates(templates: readonly TemplateMessage[]): Promise<EntryMessage[]> {
    const answers = await this.client.call<EnrolledMessage>(
      "GalleryService/EnrollTemplates",
      ...this.enrollment(templates),
    );
    return answers.map(enrolledEntry);
  }

  /** Distances by template id, of every live template of the roster. */
  async search(probe: readonly number[], form: Form = "packed", reply?: Form): Promise<Map<string, number>> {
    const target = { ...this.target, ...(reply === undefined ? {} : { reply_encoding: encodingOf(reply) }) };
    const { distances } = await this.ask(target, this.pieces(probe, form));
    const entries = await this.roster();
    return new Map(distances.flatMap((block) => this.read(block, entries, probe, reply ?? "packed")));
  }

  /** A search as it was answered. */
  async ask(target: object, pieces: readonly PieceMessage[]): Promise<SearchAnswer> {
    return readSearch(
      await this.client.call<SearchMessage>("MatchingService/SearchGallery", ...question(target, pieces)),
    );
  }

  /** Distances by template id, of one subject's templates; NaN for those that the server could not compare. */
  async compare(
    subjectId: string,
    probe: readonly number[],
    form: Form = "packed",
    reply?: Form,
  ): Promise<Map<string, number>> {
    const target = {
      ...this.target,
      subject_id: subjectId,
      ...(reply === undefined ? {} : { reply_encoding: encodingOf(reply) }),
    };
    const { comparisons } = await this.askSubject(target, this.pieces(probe, form));
    return new Map(
      comparisons.flatMap(({ distances, entries }) => this.read(distances, entries, probe, reply ?? "packed")),
    );
  }

  /** A comparison as it was answered. */
  async askSubject(target: object, pieces: readonly PieceMessage[]): Promise<CompareAnswer> {
    return readComparison(
      await this.client.call<CompareMessage>("MatchingService/CompareTemplates", ...question(target, pieces)),
    );
  }

  /**
   * Decrypts one block's answer and reads the slots of the entries that lie in it; NaN for what the server could not
   * compare.
   */
  read(
    distances: DistancesMessage,
    entries: readonly EntryMessage[],
    probe: readonly number[],
    reply: Form,
  ): [string, number][] {
    if (distances.refused !== "ERROR_REASON_UNSPECIFIED") {
      return entries
        .filter(({ placement }) => placement?.block === distances.block)
        .map(({ template_id }) => [template_id, NaN]);
    }
    const { context_id, encoding, data, sha256 } = distances.ciphertext;
    if (
      context_id !== this.key.contextId ||
      encoding !== encodingOf(reply) ||
      !createHash("sha256").update(data).digest().equals(sha256)
    ) {
      throw new Error("an answer names another context or encoding than expected, or its SHA-256 is wrong");
    }
    const coefficients = this.key.decryptProduct(encoding, data);
    const unit = this.scales.template * this.scales.probe;
    return entries.flatMap(({ template_id, placement }): [string, number][] => {
      if (placement?.block !== distances.block) return [];
      if (distances.damaged_slots.includes(placement.slot)) return [[template_id, NaN]];
      return [
        [
          template_id,
          distanceOf(this.space, coefficients[placement.slot * this.stride + this.stride - 1]! / unit, probe),
        ],
      ];
    });
  }

  /** The changes of the roster, page by page: without a revision all of it. */
  async roster(sinceRevision = 0, pageSize = 0): Promise<EntryMessage[]> {
    const entries: EntryMessage[] = [];
    for (let token = ""; ; ) {
      const request = {
        gallery_id: this.galleryId,
        since_revision: sinceRevision,
        page_size: pageSize,
        page_token: token,
      };
      const [page] = await this.client.call<RosterMessage>("GalleryService/ListTemplateChanges", request);
      entries.push(...page!.entries);
      token = page!.next_page_token;
      if (token === "") return entries;
    }
  }

  async describe(): Promise<GalleryMessage> {
    const [answer] = await this.client.call<{ gallery: GalleryMessage }>("GalleryService/GetGallery", {
      gallery_id: this.galleryId,
    });
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
    return answer!;
  }
}
