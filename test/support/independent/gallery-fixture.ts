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

interface DistancesMessage {
  readonly block: number;
  readonly stride: number;
  /** Null where one of the next two is set, which the packed scheme has not. */
  readonly ciphertext: CiphertextMessage;
  readonly identical: boolean;
  /** An ErrorReason; ERROR_REASON_UNSPECIFIED where the block was compared. */
  readonly refused: string;
  /** Slots that `ciphertext` goes without. */
  readonly damaged_slots: readonly number[];
}

export interface SearchMessage {
  readonly revision: number;
  readonly distances: DistancesMessage | null;
}

export interface CompareMessage {
  readonly distances: DistancesMessage;
  readonly entries: readonly EntryMessage[];
}

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
    await client.call("ContextService/CreateContext", {
      context: { packed: { parameter_set: `PARAMETER_SET_${key.set}`, key_id: key.keyId } },
    });
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
    const answers = await this.client.call<{ entry: EntryMessage }>(
      "GalleryService/EnrollTemplates",
      ...this.enrollment(templates),
    );
    return answers.map(({ entry }) => entry);
  }

  /** Distances by template id, of every live template of the roster. */
  async search(probe: readonly number[], form: Form = "packed", reply?: Form): Promise<Map<string, number>> {
    const target = { ...this.target, ...(reply === undefined ? {} : { reply_encoding: encodingOf(reply) }) };
    const [first, ...rest] = await this.client.call<SearchMessage>("MatchingService/SearchGallery", {
      target,
      pieces: this.pieces(probe, form),
    });
    if (first === undefined || first.distances !== null || rest.some((message) => message.distances === null)) {
      throw new Error(
        "the first answer of a search carries the revision alone, each later one the distances of a block",
      );
    }
    const entries = await this.roster();
    return new Map(rest.flatMap(({ distances }) => this.read(distances!, entries, probe, reply ?? "packed")));
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
    const answers = await this.client.call<CompareMessage>("MatchingService/CompareTemplates", {
      target,
      pieces: this.pieces(probe, form),
    });
    return new Map(
      answers.flatMap(({ distances, entries }) => this.read(distances, entries, probe, reply ?? "packed")),
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

  /** The whole roster, page by page. */
  async roster(sinceRevision = 0, pageSize = 0): Promise<EntryMessage[]> {
    const entries: EntryMessage[] = [];
    for (let token = ""; ; ) {
      const request = {
        gallery_id: this.galleryId,
        since_revision: sinceRevision,
        page_size: pageSize,
        page_token: token,
      };
      const [page] = await this.client.call<RosterMessage>("GalleryService/ListTemplates", request);
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
  }): Promise<{ entries: EntryMessage[]; revision: number }> {
    const [answer] = await this.client.call<{ entries: EntryMessage[]; revision: number }>(
      "GalleryService/DeleteTemplates",
      { gallery_id: this.galleryId, ...request },
    );
    return answer!;
  }
}
