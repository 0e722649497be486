import { galleryChanged } from "../../../errors.ts";
import type {
  BlockForm,
  DeletedTemplates,
  Deletion,
  LooseTemplate,
  PackedBlock,
  PackedBlockEntry,
  PackedSlot,
  Reservation,
  RosterEntry,
  Stored,
} from "../../gallery-store.ts";
import { encodeBlob, putBlob } from "../disk/blob-store.ts";
import type { StorageRoom } from "../disk/storage-room.ts";
import { Pace } from "../disk/turns.ts";
import type { WriteQueue } from "../disk/write-queue.ts";
import type { Tables } from "../rows/schema.ts";
import { GalleryEdit } from "./gallery-edit.ts";
import { notFound } from "./gallery-table.ts";
import type { GalleryTable } from "./gallery-table.ts";
import type { PackedLookup } from "./packed-lookup.ts";
import { readyBlock } from "./packed-put.ts";
import type { ReadyBlock } from "./packed-put.ts";
import { PackedSearch } from "./packed-search.ts";
import { PlacementCounter } from "./placement-counter.ts";
import { PutOrder } from "./put-order.ts";
import type { Removals } from "./removals.ts";
import { readEntry, readState } from "./roster.ts";
import { TemplateDeletion } from "./template-deletion.ts";
import type { DeletionPlace } from "./template-deletion.ts";

/** What templates are written with. */
interface TemplateWriting {
  readonly tables: Tables;
  readonly lookup: PackedLookup;
  readonly galleries: GalleryTable;
  readonly queue: WriteQueue;
  readonly room: StorageRoom;
  readonly removals: Removals;
}

/** What a change did, and the blobs that it left without a name, to be erased. */
interface Edited<Entry> extends Stored<Entry> {
  readonly doomed: readonly number[];
}

/** Where a change is made, and about how many bytes it adds. */
interface EditPlace {
  readonly galleryId: string;
  /** The number that the gallery had when the change was begun. */
  readonly gallery: number;
  readonly bytes: number;
}

// What a put may add beside the ciphertext: its rows, and what is left unused of the last page of each.
const PUT_OVERHEAD_BYTES = 8 * 1024;

/** Stores, replaces and deletes the templates of galleries. See the methods of GalleryStore for what each promises. */
export class TemplateWriter {
  readonly #writing: TemplateWriting;
  readonly #order = new PutOrder();
  readonly #counters = new Map<number, PlacementCounter>();

  constructor(writing: TemplateWriting) {
    this.#writing = writing;
  }

  /** As GalleryStore.reservePlacement. */
  reservePlacement(galleryId: string, { templateId, subjectId }: PackedSlot, form: BlockForm): Reservation {
    const { tables, galleries } = this.#writing;
    const { gallery } = galleries.row(galleryId);
    const live = readEntry(tables, gallery, templateId)?.live;
    if (live?.subjectId === subjectId && live.stride === form.stride)
      return { gallery, block: live.block, slot: live.slot, stride: form.stride };
    return { gallery, ...this.#counter(gallery).next(form.stride, form.slots) };
  }

  /** As GalleryStore.putLooseTemplate. */
  async putLoose(galleryId: string, template: LooseTemplate): Promise<Stored<RosterEntry>> {
    const { tables } = this.#writing;
    const { gallery } = template.placement;
    const encoded = encodeBlob(template.residues);
    const bytes = encoded.length + PUT_OVERHEAD_BYTES;
    const before = this.#order.after(gallery);
    if (before !== undefined) await before;
    const { doomed, ...stored } = await this.#edit({ galleryId, gallery, bytes }, (edit) =>
      edit.put(template, () => putBlob(tables, encoded)),
    );
    await this.#writing.removals.eraseBlobs(doomed);
    return stored;
  }

  /** As GalleryStore.putPackedBlock. */
  async putPacked(galleryId: string, block: PackedBlock): Promise<Stored<PackedBlockEntry>> {
    const { gallery, slots } = block;
    const ids = slots.map(({ templateId }) => templateId);
    const replaced = new PackedSearch({ ...this.#place(gallery), ids, kind: "templates" });
    const ready = readyBlock(this.#writing, block, () => replaced.run(new Pace(this.#writing.queue)));
    const { bytes, store, staged } = await this.#order.take(gallery, ready);
    try {
      const { doomed, ...stored } = await this.#edit({ galleryId, gallery, bytes }, (edit) =>
        this.#makeLive(edit, block, { replaced, store }),
      );
      await this.#writing.removals.eraseBlobs(doomed);
      return stored;
    } catch (error) {
      await this.#writing.removals.eraseBlobs(staged);
      throw error;
    }
  }

  /** As GalleryStore.deleteTemplates. */
  async delete(galleryId: string, deletion: Deletion): Promise<DeletedTemplates> {
    const { galleries, queue, removals } = this.#writing;
    const { gallery } = galleries.row(galleryId);
    const work = new TemplateDeletion(this.#place(gallery), deletion);
    await work.find();
    try {
      while (!work.isDone) {
        const step = await queue.write(() => (galleries.row(galleryId).gallery === gallery ? work.step() : undefined));
        // Replaced meanwhile: what is to be deleted is in the new one.
        if (step === undefined && work.count === 0) return await this.delete(galleryId, deletion);
        if (step === undefined) throw galleryChanged();
        work.commit(step);
      }
    } finally {
      await removals.eraseBlobs(work.doomed);
    }
    return work.result();
  }

  /** A gallery of that number is deleted. */
  forget(gallery: number): void {
    this.#counters.delete(gallery);
  }

  #makeLive(
    edit: GalleryEdit,
    block: PackedBlock,
    { replaced, store }: { readonly replaced: PackedSearch } & Pick<ReadyBlock, "store">,
  ): PackedBlockEntry {
    replaced.catchUp();
    const number = this.#counter(block.gallery).nextBlock();
    return edit.putPacked(number, { ...block, replaced: replaced.found.values() }, store);
  }

  /** One change in a commit. Throws STORAGE_FULL; GALLERY_NOT_FOUND if another gallery has the id by now. */
  #edit<Entry>({ galleryId, gallery, bytes }: EditPlace, change: (edit: GalleryEdit) => Entry): Promise<Edited<Entry>> {
    const { tables, lookup, galleries, queue, room } = this.#writing;
    return queue.write(() => {
      const row = galleries.row(galleryId);
      if (row.gallery !== gallery) throw notFound(galleryId);
      room.take(bytes);
      if (row.draftOf !== undefined) galleries.drafts.touch(row.draftOf.galleryId, galleryId);
      const edit = new GalleryEdit(tables, lookup, gallery);
      const entry = change(edit);
      edit.save();
      return { entry, struckTemplateIds: edit.struckTemplateIds, doomed: edit.doomed };
    }, bytes);
  }

  #counter(gallery: number): PlacementCounter {
    const counter = this.#counters.get(gallery) ?? new PlacementCounter(readState(this.#writing.tables, gallery));
    this.#counters.set(gallery, counter);
    return counter;
  }

  #place(gallery: number): DeletionPlace {
    const { tables, lookup, queue } = this.#writing;
    return { tables, lookup, gallery, gate: queue };
  }
}
