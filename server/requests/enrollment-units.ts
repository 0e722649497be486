import { encodedDimension, layoutOf } from "@veilface/fhe";
import type { Layout } from "@veilface/fhe";
import type { BlockPieces, EnrollTemplatesRequest, LooseTemplate, PackedBlock } from "@veilface/proto";
import { ServerError } from "../errors.ts";
import { IDLE_BETWEEN_UNITS_MS } from "../limits.ts";
import type { AnyEncoding } from "./gallery-scheme.ts";
import type { PieceReader } from "./piece-reader.ts";
import { later, readAll } from "./read-all.ts";
import type { CiphertextEnvelope } from "../compute/envelope.ts";
import type { PackedSlot, StoredGallery } from "../store/gallery-store.ts";
import type { Patience } from "../streams.ts";
import { fieldInvalid } from "../errors.ts";
import { resourceId } from "./from-wire.ts";
import type { Holding, StreamHoldings } from "./waiting-bytes.ts";

/** A template enrolled alone. */
export interface TemplateUnit {
  readonly kind: "template";
  readonly templateId: string;
  readonly subjectId: string;
  readonly ciphertext: CiphertextEnvelope<AnyEncoding>;
  readonly holding: Holding;
}

/** A packed block with all of its polynomials. */
export interface BlockUnit {
  readonly kind: "block";
  readonly stride: number;
  readonly slots: readonly PackedSlot[];
  readonly pieces: readonly CiphertextEnvelope<AnyEncoding>[];
  readonly holding: Holding;
}

/** What is stored as a whole; its bytes wait until its holding is closed. */
export type EnrollmentUnit = TemplateUnit | BlockUnit;

/** Where units come from and go to. */
interface UnitSource {
  readonly messages: AsyncIterator<EnrollTemplatesRequest>;
  readonly patience: Patience;
  readonly gallery: StoredGallery;
  /** That of the gallery's scheme. */
  readonly reader: PieceReader<AnyEncoding>;
  readonly holdings: StreamHoldings;
}

/**
 * The messages after the target as units: a block's head is gathered with its polynomials. Throws ServerError
 * FIELD_INVALID, BLOCK_INVALID (a head that does not fit the gallery, polynomials too many, too few or without a head),
 * SCHEME_MISMATCH, CONTEXT_MISMATCH, OVERLOADED (too much is open), and what a ciphertext's length or digest tell.
 */
export async function* enrollmentUnits(source: UnitSource): AsyncGenerator<EnrollmentUnit> {
  const assembly = new UnitAssembly(source);
  try {
    for (let read = await assembly.read(); read !== "end"; read = await assembly.read())
      if (read !== "more") yield read;
  } finally {
    // Not awaited: a source that is silent would hold up the failure that ends this stream.
    void source.messages.return?.().catch(() => undefined);
  }
}

/** Puts units together. Each message has a call of its own, so that none is held while the next is awaited. */
class UnitAssembly {
  readonly #source: UnitSource;
  #open: OpenBlock | undefined;

  constructor(source: UnitSource) {
    this.#source = source;
  }

  async read(): Promise<EnrollmentUnit | "more" | "end"> {
    const next = await this.#source.messages.next();
    if (next.done !== true) return this.#take(next.value);
    if (this.#open !== undefined) throw this.#open.missing();
    return "end";
  }

  async #take({ message }: EnrollTemplatesRequest): Promise<EnrollmentUnit | "more"> {
    if (this.#open !== undefined && message?.$case !== "pieces") throw this.#open.missing();
    switch (message?.$case) {
      case "template":
        this.#source.patience.renew(IDLE_BETWEEN_UNITS_MS);
        return this.#template(message.value);
      case "block":
        return this.#begin(message.value);
      case "pieces":
        return this.#add(message.value);
      default:
        throw fieldInvalid("message", "must be a template, a block or its pieces after the first message");
    }
  }

  async #template({ templateId, subjectId, ciphertext }: LooseTemplate): Promise<TemplateUnit> {
    const { received, ...ids } = readAll({
      templateId: () => resourceId("template.template_id", templateId),
      subjectId: () => resourceId("template.subject_id", subjectId),
      received: await later(this.#source.reader.read("template.ciphertext", ciphertext)),
    });
    const holding = this.#source.holdings.open();
    holding.settle();
    await holding.takeOrWait(received.data.length);
    return { kind: "template", ...ids, ciphertext: received, holding };
  }

  async #begin(head: PackedBlock): Promise<"more"> {
    const { holdings, patience } = this.#source;
    this.#open = new OpenBlock(head, this.#source, holdings.open());
    patience.renew();
    patience.interrupt = this.#open.holding.signal;
    await this.#open.holding.takeOrWait(head.slots.length * SLOT_BYTES);
    return "more";
  }

  async #add(pieces: BlockPieces): Promise<BlockUnit | "more"> {
    const open = this.#open;
    if (open === undefined)
      throw new ServerError("BLOCK_INVALID", "pieces came without the head of their block: send the block first");
    const { patience } = this.#source;
    const before = open.holding.bytes;
    await open.add(pieces);
    patience.earn(open.holding.bytes - before);
    if (!open.complete) return "more";
    this.#open = undefined;
    patience.interrupt = undefined;
    patience.renew(IDLE_BETWEEN_UNITS_MS);
    return open.unit();
  }
}

/** Two ids of up to 64 characters, and what holds them. */
const SLOT_BYTES = 256;

/** A block whose polynomials are coming in. */
class OpenBlock {
  readonly holding: Holding;
  readonly #reader: PieceReader<AnyEncoding>;
  readonly #layout: Layout;
  readonly #slots: readonly PackedSlot[];
  readonly #pieces: CiphertextEnvelope<AnyEncoding>[] = [];

  constructor(
    { stride, slots }: PackedBlock,
    { gallery, reader }: Pick<UnitSource, "gallery" | "reader">,
    holding: Holding,
  ) {
    if (gallery.packedStride === 0)
      throw fieldInvalid(
        "block",
        "is of the packed scheme, the gallery is not: send templates one by one",
        "SCHEME_MISMATCH",
      );
    if (stride !== gallery.packedStride)
      throw blockInvalid("block.stride", `is ${stride}, but the gallery packs at stride ${gallery.packedStride}`);
    this.holding = holding;
    this.#reader = reader;
    this.#layout = layoutOf(encodedDimension(gallery.space), stride);
    if (slots.length < 1 || slots.length > this.#layout.slots) {
      throw blockInvalid(
        "block.slots",
        `has ${slots.length} templates: expected 1 to ${this.#layout.slots} at stride ${stride}`,
      );
    }
    this.#slots = slots.map((slot) =>
      readAll({
        templateId: () => resourceId("block.slots.template_id", slot.templateId),
        subjectId: () => resourceId("block.slots.subject_id", slot.subjectId),
      }),
    );
  }

  get complete(): boolean {
    return this.#pieces.length === this.#layout.pieces;
  }

  async add({ pieces }: BlockPieces): Promise<void> {
    const most = this.#layout.pieces;
    if (this.#pieces.length + pieces.length > most)
      throw blockInvalid("pieces.pieces", `has more than the ${most} polynomials that a block has at this stride`);
    for (const piece of pieces) this.#pieces.push(await this.#reader.readWaiting("pieces.pieces", piece, this.holding));
  }

  missing(): ServerError {
    return blockInvalid(
      "pieces.pieces",
      `ended after ${this.#pieces.length} of the block's ${this.#layout.pieces} polynomials: send all of them before anything else`,
    );
  }

  unit(): BlockUnit {
    this.holding.settle();
    return {
      kind: "block",
      stride: this.#layout.stride,
      slots: this.#slots,
      pieces: this.#pieces,
      holding: this.holding,
    };
  }
}

function blockInvalid(field: string, description: string): ServerError {
  return fieldInvalid(field, description, "BLOCK_INVALID");
}
