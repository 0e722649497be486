import { encodedDimension, layoutOf } from "@veilface/fhe";
import type { Layout } from "@veilface/fhe";
import type { BlockPieces, EnrollTemplatesRequest, LooseTemplate, PackedBlock } from "@veilface/proto";
import { ServerError } from "./errors.ts";
import type { PackedSlot, StoredGallery } from "./store/gallery-store.ts";
import { ciphertext, fieldInvalid, resourceId } from "./validate.ts";
import type { SealedBytes } from "./validate.ts";

/** A template enrolled alone. */
export interface TemplateUnit {
  readonly kind: "template";
  readonly templateId: string;
  readonly subjectId: string;
  readonly ciphertext: SealedBytes;
}

/** A packed block with all of its polynomials. */
export interface BlockUnit {
  readonly kind: "block";
  readonly stride: number;
  readonly slots: readonly PackedSlot[];
  readonly pieces: readonly SealedBytes[];
}

/** What is stored as a whole. */
export type EnrollmentUnit = TemplateUnit | BlockUnit;

/**
 * The messages after the target as units: a block's head is gathered with its polynomials. Throws ServerError FIELD_INVALID,
 * BLOCK_INVALID (a head that does not fit the gallery, polynomials too many, too few or without a head) or CONTEXT_MISMATCH.
 */
export async function* enrollmentUnits(messages: AsyncIterable<EnrollTemplatesRequest>, gallery: StoredGallery): AsyncGenerator<EnrollmentUnit> {
  let open: OpenBlock | undefined;
  for await (const { message } of messages) {
    if (open !== undefined && message?.$case !== "pieces") throw open.missing();
    if (message?.$case === "template") yield templateUnit(message.value, gallery);
    else if (message?.$case === "block") open = new OpenBlock(message.value, gallery);
    else if (message?.$case === "pieces") {
      if (open === undefined) throw new ServerError("BLOCK_INVALID", "pieces came without the head of their block: send the block first");
      open.add(message.value);
      if (!open.complete) continue;
      yield open.unit();
      open = undefined;
    } else throw fieldInvalid("message", "must be a template, a block or its pieces after the first message");
  }
  if (open !== undefined) throw open.missing();
}

function templateUnit({ templateId, subjectId, ciphertext: sealed }: LooseTemplate, gallery: StoredGallery): TemplateUnit {
  return {
    kind: "template",
    templateId: resourceId("template.template_id", templateId),
    subjectId: resourceId("template.subject_id", subjectId),
    ciphertext: ciphertext("template.ciphertext", sealed, gallery.contextId),
  };
}

/** A block whose polynomials are coming in. */
class OpenBlock {
  readonly #contextId: string;
  readonly #layout: Layout;
  readonly #slots: readonly PackedSlot[];
  readonly #pieces: SealedBytes[] = [];

  constructor({ stride, slots }: PackedBlock, gallery: StoredGallery) {
    if (stride !== gallery.packedStride) throw blockInvalid("block.stride", `is ${stride}, but the gallery packs at stride ${gallery.packedStride}`);
    this.#contextId = gallery.contextId;
    this.#layout = layoutOf(encodedDimension(gallery.space), stride);
    if (slots.length < 1 || slots.length > this.#layout.slots) {
      throw blockInvalid("block.slots", `has ${slots.length} templates: expected 1 to ${this.#layout.slots} at stride ${stride}`);
    }
    this.#slots = slots.map((slot) => ({
      templateId: resourceId("block.slots.template_id", slot.templateId),
      subjectId: resourceId("block.slots.subject_id", slot.subjectId),
    }));
  }

  get complete(): boolean {
    return this.#pieces.length === this.#layout.pieces;
  }

  add({ pieces }: BlockPieces): void {
    const most = this.#layout.pieces;
    if (this.#pieces.length + pieces.length > most) throw blockInvalid("pieces.pieces", `has more than the ${most} polynomials that a block has at this stride`);
    for (const piece of pieces) this.#pieces.push(ciphertext("pieces.pieces", piece, this.#contextId));
  }

  missing(): ServerError {
    return blockInvalid("pieces.pieces", `ended after ${this.#pieces.length} of the block's ${this.#layout.pieces} polynomials: send all of them before anything else`);
  }

  unit(): BlockUnit {
    return { kind: "block", stride: this.#layout.stride, slots: this.#slots, pieces: this.#pieces };
  }
}

function blockInvalid(field: string, description: string): ServerError {
  return fieldInvalid(field, description, "BLOCK_INVALID");
}
