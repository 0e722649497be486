import { setImmediate } from "node:timers/promises";
import { PIECES_PER_MESSAGE } from "@veilface/proto";
import type { Ciphertext, EnrollTemplatesRequest } from "@veilface/proto";
import { callersSource } from "../boundary.ts";
import { ClientError } from "../errors.ts";
import { checkId } from "../ids.ts";
import type { PackedCrypto } from "../keys/packed-crypto.ts";
import type { Packing } from "./packing.ts";
import { toWireCiphertext } from "../remote/wire.ts";

/** A template to enroll. Ids: 1 to 64 of a-z, 0-9 and "-". An id that the gallery has is replaced. */
export interface Enrollment {
  /** What the template is called; one of its name is replaced. */
  readonly templateId: string;
  /** Whose it is; subjects may own several. */
  readonly subjectId: string;
  /** The gallery's dimension of finite numbers. */
  readonly embedding: ArrayLike<number>;
}

/** A template to enroll whose embedding is in encoded form (see PackedCrypto.encode). */
export interface EncodedTemplate {
  readonly templateId: string;
  readonly subjectId: string;
  readonly vector: Float64Array;
}

/** What is sent and becomes durable as one: a template enrolled alone, or a packed block. */
export interface EnrollmentUnit {
  readonly kind: "template" | "block";
  readonly stride: number;
  /** In the order of their slots; exactly one where it is a template enrolled alone. */
  readonly templates: readonly { readonly templateId: string; readonly subjectId: string }[];
  /** Encrypted, so that sending it again takes no work; at most 1 MiB each. */
  readonly messages: readonly EnrollTemplatesRequest[];
}

/** Encodes what a source yields. Throws ClientError USAGE for a malformed id, EMBEDDING_INVALID naming the template. */
export async function* encodeEnrollments(
  source: AsyncIterable<Enrollment> | Iterable<Enrollment>,
  crypto: PackedCrypto,
): AsyncGenerator<EncodedTemplate, void, undefined> {
  for await (const { templateId, subjectId, embedding } of callersSource(source)) {
    checkId("template", templateId);
    checkId("subject", subjectId);
    yield { templateId, subjectId, vector: encode(crypto, templateId, embedding) };
  }
}

function encode(crypto: PackedCrypto, templateId: string, embedding: ArrayLike<number>): Float64Array {
  try {
    return crypto.encode(embedding);
  } catch (cause) {
    throw cause instanceof ClientError
      ? new ClientError(cause.reason, `template "${templateId}": ${cause.message}`, { cause })
      : cause;
  }
}

/** Encrypts templates for sending. Belongs to one key and one space. */
export class UnitMaker {
  readonly #crypto: PackedCrypto;
  readonly #contextId: string;
  readonly #packing: Packing | undefined;

  /** `packing`: undefined to enroll every template alone. */
  constructor(crypto: PackedCrypto, contextId: string, packing: Packing | undefined) {
    this.#crypto = crypto;
    this.#contextId = contextId;
    this.#packing = packing;
  }

  /**
   * Fills blocks and encrypts them. A block takes G ciphertexts however few templates it holds and a template alone
   * takes one, so of the last templates more than G are packed, unless there are only these and the packing would
   * rather not, and up to G are enrolled alone. An id that comes twice within a block counts once, as it came last.
   * Where the source throws, what it yielded before is still made into units, then its error is thrown.
   */
  async *units(source: AsyncIterable<EncodedTemplate>): AsyncGenerator<EnrollmentUnit, void, undefined> {
    if (this.#packing === undefined) {
      for await (const template of source) yield this.#loose(template);
      return;
    }
    const { stride, packsFew } = this.#packing;
    const { slots, pieces } = this.#crypto.layout(stride);
    let held = new Map<string, EncodedTemplate>();
    let blocks = 0;
    let failure: { readonly error: unknown } | undefined;
    try {
      for await (const template of source) {
        held.set(template.templateId, template);
        if (held.size < slots) continue;
        const full = held;
        held = new Map();
        blocks++;
        yield await this.#block(stride, [...full.values()]);
      }
    } catch (error) {
      failure = { error };
    }
    if (held.size > pieces && (blocks > 0 || packsFew(held.size))) yield await this.#block(stride, [...held.values()]);
    else for (const template of held.values()) yield this.#loose(template);
    if (failure !== undefined) throw failure.error;
  }

  #loose({ templateId, subjectId, vector }: EncodedTemplate): EnrollmentUnit {
    const ciphertext = toWireCiphertext(this.#contextId, this.#crypto.encryptLoose(vector));
    const value = { templateId, subjectId, ciphertext };
    return {
      kind: "template",
      stride: this.#crypto.looseStride,
      templates: [{ templateId, subjectId }],
      messages: [{ message: { $case: "template", value } }],
    };
  }

  async #block(stride: number, encoded: readonly EncodedTemplate[]): Promise<EnrollmentUnit> {
    const templates = encoded.map(({ templateId, subjectId }) => ({ templateId, subjectId }));
    const messages: EnrollTemplatesRequest[] = [{ message: { $case: "block", value: { stride, slots: templates } } }];
    let pieces: Ciphertext[] = [];
    for (const data of this.#crypto.encryptEncoded(
      stride,
      encoded.map(({ vector }) => vector),
    )) {
      pieces.push(toWireCiphertext(this.#contextId, data));
      if (pieces.length < PIECES_PER_MESSAGE) continue;
      messages.push({ message: { $case: "pieces", value: { pieces } } });
      pieces = [];
      // A block takes 0.1 s and more to encrypt; in between the connection is served.
      await setImmediate();
    }
    if (pieces.length > 0) messages.push({ message: { $case: "pieces", value: { pieces } } });
    return { kind: "block", stride, templates, messages };
  }
}
