import { encodedDimension, layoutOf } from "@veilface/fhe";
import type { Layout } from "@veilface/fhe";
import type { BlockPieces, EnrollTemplatesRequest, LooseTemplate, PackedBlock } from "@veilface/proto";
import { ServerError } from "./errors.ts";
import { readAll } from "./read-all.ts";
import type { SealedBytes } from "./sealed-bytes.ts";
import type { PackedSlot, StoredGallery } from "./store/gallery-store.ts";
import { fieldInvalid, resourceId } from "./validate.ts";
import type { CheckCiphertext } from "./validate.ts";

/** A template enrolled alone. */
export interface TemplateUnit<Encoding> {
  readonly kind: "template";
  readonly templateId: string;
  readonly subjectId: string;
  readonly ciphertext: SealedBytes<Encoding>;
}

/** A packed block with all of its polynomials. */
export interface BlockUnit<Encoding> {
  readonly kind: "block";
  readonly stride: number;
  readonly slots: readonly PackedSlot[];
  readonly pieces: readonly SealedBytes<Encoding>[];
}

/** What is stored as a whole. */
export type EnrollmentUnit<Encoding> = TemplateUnit<Encoding> | BlockUnit<Encoding>;

/**
 * The messages after the target as units: a block's head is gathered with its polynomials. Throws ServerError FIELD_INVALID,
 * BLOCK_INVALID (a head that does not fit the gallery, polynomials too many, too few or without a head), SCHEME_MISMATCH or
 * CONTEXT_MISMATCH. `check`: that of the gallery's scheme.
 */
export async function* enrollmentUnits<Encoding>(
  messages: AsyncIterable<EnrollTemplatesRequest>,
  gallery: StoredGallery,
  check: CheckCiphertext<Encoding>,
): AsyncGenerator<EnrollmentUnit<Encoding>> {
  let open: OpenBlock<Encoding> | undefined;
  for await (const { message } of messages) {
    if (open !== undefined && message?.$case !== "pieces") throw open.missing();
    if (message?.$case === "template") yield templateUnit(message.value, gallery, check);
    else if (message?.$case === "block") open = new OpenBlock(message.value, gallery, check);
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

function templateUnit<Encoding>({ templateId, subjectId, ciphertext }: LooseTemplate, { contextId }: StoredGallery, check: CheckCiphertext<Encoding>): TemplateUnit<Encoding> {
  const read = readAll({
    templateId: () => resourceId("template.template_id", templateId),
    subjectId: () => resourceId("template.subject_id", subjectId),
    ciphertext: () => check("template.ciphertext", ciphertext, contextId),
  });
  return { kind: "template", ...read };
}

/** A block whose polynomials are coming in. */
class OpenBlock<Encoding> {
  readonly #check: CheckCiphertext<Encoding>;
  readonly #contextId: string;
  readonly #layout: Layout;
  readonly #slots: readonly PackedSlot[];
  readonly #pieces: SealedBytes<Encoding>[] = [];

  constructor({ stride, slots }: PackedBlock, gallery: StoredGallery, check: CheckCiphertext<Encoding>) {
    if (gallery.packedStride === 0) throw fieldInvalid("block", "is of the packed scheme, the gallery is not: send templates one by one", "SCHEME_MISMATCH");
    if (stride !== gallery.packedStride) throw blockInvalid("block.stride", `is ${stride}, but the gallery packs at stride ${gallery.packedStride}`);
    this.#check = check;
    this.#contextId = gallery.contextId;
    this.#layout = layoutOf(encodedDimension(gallery.space), stride);
    if (slots.length < 1 || slots.length > this.#layout.slots) {
      throw blockInvalid("block.slots", `has ${slots.length} templates: expected 1 to ${this.#layout.slots} at stride ${stride}`);
    }
    this.#slots = slots.map((slot) => readAll({
      templateId: () => resourceId("block.slots.template_id", slot.templateId),
      subjectId: () => resourceId("block.slots.subject_id", slot.subjectId),
    }));
  }

  get complete(): boolean {
    return this.#pieces.length === this.#layout.pieces;
  }

  add({ pieces }: BlockPieces): void {
    const most = this.#layout.pieces;
    if (this.#pieces.length + pieces.length > most) throw blockInvalid("pieces.pieces", `has more than the ${most} polynomials that a block has at this stride`);
    for (const piece of pieces) this.#pieces.push(this.#check("pieces.pieces", piece, this.#contextId));
  }

  missing(): ServerError {
    return blockInvalid("pieces.pieces", `ended after ${this.#pieces.length} of the block's ${this.#layout.pieces} polynomials: send all of them before anything else`);
  }

  unit(): BlockUnit<Encoding> {
    return { kind: "block", stride: this.#layout.stride, slots: this.#slots, pieces: this.#pieces };
  }
}

function blockInvalid(field: string, description: string): ServerError {
  return fieldInvalid(field, description, "BLOCK_INVALID");
}
