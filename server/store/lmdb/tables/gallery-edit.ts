import { ServerError, storedCorrupt } from "../../../errors.ts";
import { blockKind, decodeBlock, encodeBlock } from "../rows/block-rows.ts";
import type {
  LooseTemplate,
  PackedBlock,
  PackedBlockEntry,
  PackedSlot,
  Placement,
  RosterEntry,
} from "../../gallery-store.ts";
import { encodeState } from "../rows/gallery-rows.ts";
import { encodeIndex, indexIds } from "../rows/id-index.ts";
import {
  NEW_STRIDE,
  blockKey,
  changeKey,
  encodeChange,
  encodeEntry,
  entryKey,
  idKey,
  subjectKey,
  u32,
  u48,
} from "../rows/schema.ts";
import type {
  ChunkRow,
  EntryRow,
  GalleryState,
  LiveRow,
  LooseBlockRow,
  PackedBlockRow,
  StrideState,
  Tables,
} from "../rows/schema.ts";
import { packedBlocksOf, readLiveSlots, readPacked } from "./packed-lookup.ts";
import type { PackedLookup, PackedTemplate } from "./packed-lookup.ts";
import { LiveSlots, encodeRoster } from "../rows/packed-rows.ts";
import { hasEntries, readEntry, readState, rosterEntry } from "./roster.ts";

/** The templates of a packed block, and where to look for others of their ids: in these places, if they are live. */
interface PackedPut extends Pick<PackedBlock, "stride" | "slots"> {
  readonly replaced: Iterable<readonly PackedTemplate[]>;
}

/**
 * One change of a gallery's roster inside a write transaction: rows, indexes and counters stay in step. Nothing may be
 * read through the lookup between a change and `save`.
 */
export class GalleryEdit {
  readonly #tables: Tables;
  readonly #lookup: PackedLookup;
  readonly #gallery: number;
  #state: GalleryState;
  /** Live slots of packed blocks in which templates were struck. */
  readonly #struckBlocks = new Map<number, LiveSlots>();
  readonly #struck: PackedTemplate[] = [];
  /** Blobs that nothing names any more, to be erased after the commit. */
  readonly doomed: number[] = [];

  constructor(tables: Tables, lookup: PackedLookup, gallery: number) {
    this.#tables = tables;
    this.#lookup = lookup;
    this.#gallery = gallery;
    this.#state = readState(tables, gallery);
  }

  get revision(): number {
    return this.#state.revision;
  }

  /** Templates that were struck from packed blocks which have live ones left. */
  get struckTemplateIds(): string[] {
    return this.#struck
      .filter(({ block }) => this.#struckBlocks.get(block)?.isEmpty() === false)
      .map(({ templateId }) => templateId);
  }

  /** Packed blocks that have no live template any more. */
  get emptiedBlocks(): number[] {
    return [...this.#struckBlocks].filter(([, live]) => live.isEmpty()).map(([block]) => block);
  }

  /**
   * Makes the template live at its place with the blob that `store` makes. Throws ServerError if another template holds
   * the place.
   */
  put({ templateId, subjectId, placement: { block, slot, stride } }: LooseTemplate, store: () => number): RosterEntry {
    const old = readEntry(this.#tables, this.#gallery, templateId);
    this.#checkFree({ block, slot, stride }, old?.live);
    if (old?.live !== undefined) this.#unlink(old.live);
    else if (old === undefined)
      this.#lookup.templates(this.#gallery, [templateId]).forEach((packed) => {
        this.#strike(packed);
      });
    const live: LiveRow = { subjectId, block, slot, stride, blob: store() };
    this.#link(templateId, live);
    return this.#record(templateId, old, live);
  }

  /**
   * Makes the templates of a block live, with the chunks that `store` makes. `replaced`: those in packed blocks that
   * have their ids.
   */
  putPacked(block: number, { stride, slots, replaced }: PackedPut, store: () => ChunkRow[]): PackedBlockEntry {
    const templateIds = slots.map(({ templateId }) => templateId);
    for (const ofBlock of replaced) for (const template of ofBlock) this.#strike(template);
    this.#forget(templateIds);
    const row: PackedBlockRow = {
      kind: "packed",
      stride,
      count: slots.length,
      firstRevision: this.#state.revision + 1,
      chunks: store(),
    };
    this.#addPacked(block, row);
    this.#putSlots(blockKey(this.#gallery, block), slots);
    this.#state = {
      ...this.#state,
      revision: this.#state.revision + row.count,
      nextBlock: Math.max(this.#state.nextBlock, block + 1),
    };
    return { block, stride, count: row.count, firstRevision: row.firstRevision };
  }

  /** Deletes a live loose template, of this subject if one is given. Undefined if there is none. */
  deleteLoose(templateId: string, subjectId?: string): RosterEntry | undefined {
    const old = readEntry(this.#tables, this.#gallery, templateId);
    if (old?.live === undefined || (subjectId !== undefined && subjectId !== old.live.subjectId)) return undefined;
    this.#unlink(old.live);
    return this.#record(templateId, old, undefined);
  }

  /** Deletes a live template of a packed block. Undefined if it is not live. */
  deletePacked(template: PackedTemplate): RosterEntry | undefined {
    if (!this.#strike(template)) return undefined;
    return this.#record(template.templateId, readEntry(this.#tables, this.#gallery, template.templateId), undefined);
  }

  save(): void {
    for (const [block, live] of this.#struckBlocks) {
      if (live.isEmpty()) this.#dropPacked(block);
      else this.#tables.liveSlots.putSync(blockKey(this.#gallery, block), live.bytes);
    }
    this.#tables.states.putSync(u32(this.#gallery), encodeState(this.#state));
  }

  #checkFree({ block, slot }: Placement, own: LiveRow | undefined): void {
    if (own?.block === block && own.slot === slot) return;
    const bytes = this.#tables.blocks.get(blockKey(this.#gallery, block));
    if (
      bytes === undefined ||
      (blockKind(bytes) === "loose" && !this.#membersOf(block).some((member) => member.slot === slot))
    )
      return;
    // Unreachable with reserved places. Thrown before the first write, as the write queue asks.
    throw new ServerError(
      "STORED_CORRUPT",
      `slot ${slot} of block ${block} holds another template: reserve a place before storing`,
    );
  }

  #record(templateId: string, old: EntryRow | undefined, live: LiveRow | undefined): RosterEntry {
    if (old !== undefined) this.#tables.changes.removeSync(changeKey(this.#gallery, old.revision));
    const row = { revision: this.#state.revision + 1, live };
    this.#tables.changes.putSync(changeKey(this.#gallery, row.revision), encodeChange({ templateId }));
    this.#tables.entries.putSync(entryKey(this.#gallery, templateId), encodeEntry(row));
    this.#state = { ...this.#state, revision: row.revision };
    return rosterEntry(templateId, row);
  }

  /** Removes the lines of loose or deleted templates, because a packed block has these templates now. */
  #forget(templateIds: readonly string[]): void {
    // Most galleries that are enrolled in blocks have no line at all: thousands of look-ups would hold the event loop
    // for 20 ms.
    if (!hasEntries(this.#tables, this.#gallery)) return;
    for (const templateId of templateIds) {
      const old = readEntry(this.#tables, this.#gallery, templateId);
      if (old === undefined) continue;
      if (old.live !== undefined) this.#unlink(old.live);
      this.#tables.changes.removeSync(changeKey(this.#gallery, old.revision));
      this.#tables.entries.removeSync(entryKey(this.#gallery, templateId));
    }
  }

  #membersOf(block: number): LooseBlockRow["members"] {
    const bytes = this.#tables.blocks.get(blockKey(this.#gallery, block));
    const row = bytes && decodeBlock(bytes);
    if (row?.kind === "packed") throw storedCorrupt(`block ${block}`);
    return row?.members ?? [];
  }

  #link(templateId: string, { subjectId, block, slot, stride, blob }: LiveRow): void {
    this.#tables.subjects.putSync(subjectKey(this.#gallery, subjectId, { block, slot }), idKey(templateId));
    const before = this.#membersOf(block);
    const members = [...before, { slot, blob }].sort((a, b) => a.slot - b.slot);
    this.#tables.blocks.putSync(blockKey(this.#gallery, block), encodeBlock({ kind: "loose", stride, members }));
    this.#count(stride, 1, before.length === 0 ? 1 : 0);
    this.#fill({ block, slot, stride });
  }

  #unlink({ subjectId, block, slot, stride, blob }: LiveRow): void {
    this.#tables.subjects.removeSync(subjectKey(this.#gallery, subjectId, { block, slot }));
    const key = blockKey(this.#gallery, block);
    const members = this.#membersOf(block).filter((member) => member.slot !== slot);
    if (members.length === 0) this.#tables.blocks.removeSync(key);
    else this.#tables.blocks.putSync(key, encodeBlock({ kind: "loose", stride, members }));
    this.#doom(blob);
    this.#count(stride, -1, members.length === 0 ? -1 : 0);
  }

  /** A packed block's live slots as this edit leaves them; undefined if it is gone. */
  #liveSlots(block: number): LiveSlots | undefined {
    return this.#struckBlocks.get(block) ?? readLiveSlots(this.#tables, this.#gallery, block);
  }

  /** Strikes a template if it is live, and returns whether it was. */
  #strike(template: PackedTemplate): boolean {
    const { block, slot } = template;
    const live = this.#liveSlots(block);
    if (live?.has(slot) !== true) return false;
    this.#struck.push(template);
    this.#struckBlocks.set(block, live);
    live.strike(slot);
    this.#state = { ...this.#state, templates: this.#state.templates - 1 };
    return true;
  }

  /** The rows that say whose templates a packed block has, all of them live. */
  #putSlots(key: Buffer, slots: readonly PackedSlot[]): void {
    const templates = indexIds(slots.map(({ templateId }) => templateId));
    const subjects = indexIds(slots.map(({ subjectId }) => subjectId));
    this.#tables.rosters.putSync(key, encodeRoster(slots));
    this.#tables.indexes.putSync(key, Buffer.concat([encodeIndex(templates), encodeIndex(subjects)]));
    this.#tables.liveSlots.putSync(key, LiveSlots.all(slots.length).bytes);
  }

  #addPacked(block: number, row: PackedBlockRow): void {
    this.#tables.blocks.putSync(blockKey(this.#gallery, block), encodeBlock(row));
    this.#tables.changes.putSync(changeKey(this.#gallery, row.firstRevision), encodeChange({ packedBlock: block }));
    this.#listPacked([...packedBlocksOf(this.#tables, this.#gallery), block]);
    this.#count(row.stride, row.count, 1);
  }

  #dropPacked(block: number): void {
    const key = blockKey(this.#gallery, block);
    const { stride, firstRevision, chunks } = readPacked(this.#tables, this.#gallery, block);
    for (const table of [this.#tables.blocks, this.#tables.rosters, this.#tables.indexes, this.#tables.liveSlots])
      table.removeSync(key);
    this.#tables.changes.removeSync(changeKey(this.#gallery, firstRevision));
    this.#listPacked(packedBlocksOf(this.#tables, this.#gallery).filter((other) => other !== block));
    for (const { blob } of chunks) this.#doom(blob);
    this.#count(stride, 0, -1);
  }

  #listPacked(blocks: readonly number[]): void {
    this.#tables.packedBlocks.putSync(u32(this.#gallery), Buffer.concat(blocks.map(u32)));
  }

  #doom(blob: number): void {
    this.#tables.doomedBlobs.putSync(u48(blob), Buffer.alloc(0));
    this.doomed.push(blob);
  }

  #count(stride: number, templates: number, blocks: number): void {
    const before = this.#stride(stride);
    this.#state = { ...this.#state, templates: this.#state.templates + templates };
    this.#setStride(stride, { ...before, liveBlocks: before.liveBlocks + blocks });
  }

  // The next slot only grows, whatever the order in which reserved places are filled.
  #fill({ block, slot, stride }: Placement): void {
    const before = this.#stride(stride);
    this.#state = { ...this.#state, nextBlock: Math.max(this.#state.nextBlock, block + 1) };
    const later = block > before.block || (block === before.block && slot >= before.nextSlot);
    if (later) this.#setStride(stride, { ...before, block, nextSlot: slot + 1 });
  }

  #stride(stride: number): StrideState {
    return this.#state.strides[stride] ?? NEW_STRIDE;
  }

  #setStride(stride: number, state: StrideState): void {
    this.#state = { ...this.#state, strides: { ...this.#state.strides, [stride]: state } };
  }
}
