// A gallery of made-up faces under a key of its own, and an encrypted probe as a file: what a client needs that has no
// key itself.
import { KeyHolder, VeilfaceClient, plainDistance } from "@veilface/client";
import type { Enrollment } from "@veilface/client";
import { PackedCrypto } from "@veilface/client/advanced";
import type { EncryptedProbe } from "@veilface/client/advanced";
import { CiphertextEncoding, ProbePieces } from "@veilface/proto";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { createHash } from "node:crypto";

const SPACE = { dimension: 128, metric: "cosine", modelId: "made-up", normBound: 1 } as const;
/** A block of 128 slots and one of 40, then one of 32 slots and one of 8. */
const PACKED_STRIDE = 32;
const PACKED_PEOPLE = 168;
const LOOSE_PEOPLE = 40;
const TEMPLATES_PER_SUBJECT = 2;
/** Of at most 61,440 bytes each, in messages of at most 1 MiB. */
const PIECES_PER_MESSAGE = 16;

/** Dispose of it: the key goes, and the gallery can be read no more. */
export class SearchableGallery implements Disposable {
  readonly galleryId: string;
  readonly keyHolder: KeyHolder;
  readonly crypto: PackedCrypto;
  readonly templates: readonly Enrollment[];
  /** Who is looked for: a second look at the first template. */
  readonly embedding: readonly number[];
  readonly probe: EncryptedProbe;

  /** Makes a key, its context, the gallery, and a probe at the strides that it has. */
  static async create(address: string, galleryId: string): Promise<SearchableGallery> {
    const keyHolder = await KeyHolder.create();
    using client = new VeilfaceClient({ address, keyHolder });
    await client.createGallery(galleryId, SPACE, { packedStride: PACKED_STRIDE });
    const templates = Array.from({ length: PACKED_PEOPLE + LOOSE_PEOPLE }, (_, i) => templateOf(i));
    await client.enroll(galleryId, templates.slice(0, PACKED_PEOPLE));
    await client.enroll(galleryId, templates.slice(PACKED_PEOPLE), { packing: "never" });
    const { strides } = await client.getGallery(galleryId);
    return new SearchableGallery({ galleryId, keyHolder, templates, strides });
  }

  private constructor(made: Pick<SearchableGallery, "galleryId" | "keyHolder" | "templates"> & StridesOfGallery) {
    this.galleryId = made.galleryId;
    this.keyHolder = made.keyHolder;
    this.templates = made.templates;
    this.crypto = new PackedCrypto(made.keyHolder, SPACE);
    this.embedding = Array.from(made.templates[0]!.embedding, (x) => x + 0.2 * (Math.random() - 0.5));
    this.probe = this.crypto.encryptProbe(this.embedding, made.strides);
  }

  /** The subjects of its templates, each once. */
  get subjectIds(): ReadonlySet<string> {
    return new Set(this.templates.map(({ subjectId }) => subjectId));
  }

  /** The distance of a template to the probe, in the clear. */
  plainDistance(templateId: string): number {
    const { embedding } = this.templates.find((template) => template.templateId === templateId)!;
    return plainDistance(SPACE, embedding, this.embedding);
  }

  /** The probe in messages as they are sent. */
  probeMessages(): ProbePieces[] {
    const pieces = this.probe.pieces.map(({ stride, piece, data }) => ({
      stride,
      piece,
      probe: 0,
      ciphertext: {
        contextId: this.keyHolder.contextId,
        encoding: CiphertextEncoding.CIPHERTEXT_ENCODING_PACKED_RESIDUES,
        data: Buffer.from(data),
        sha256: createHash("sha256").update(data).digest(),
      },
    }));
    return Array.from({ length: Math.ceil(pieces.length / PIECES_PER_MESSAGE) }, (_, i) => ({
      pieces: pieces.slice(i * PIECES_PER_MESSAGE, (i + 1) * PIECES_PER_MESSAGE),
    }));
  }

  [Symbol.dispose](): void {
    this.keyHolder[Symbol.dispose]();
  }
}

interface StridesOfGallery {
  readonly strides: readonly number[];
}

/** Messages one after the other, each after its length as a varint: what protobuf's libraries call delimited. */
export function delimited(messages: readonly ProbePieces[]): Uint8Array {
  const writer = new BinaryWriter();
  for (const message of messages) writer.bytes(ProbePieces.encode(message).finish());
  return writer.finish();
}

function templateOf(i: number): Enrollment {
  const embedding = Array.from({ length: SPACE.dimension }, () => Math.random() - 0.5);
  return { templateId: `template-${i}`, subjectId: `subject-${Math.floor(i / TEMPLATES_PER_SUBJECT)}`, embedding };
}
