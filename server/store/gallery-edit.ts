import { ServerError } from "../errors.ts";
import type { LooseTemplate, Placement, RosterEntry } from "./gallery-store.ts";
import {
  NEW_GALLERY, blockKey, changeKey, decodeBlock, decodeEntry, decodeJson, encodeBlock, encodeEntry, encodeJson, entryKey, idKey, keysUnder, subjectKey, u32, u48,
} from "./lmdb-schema.ts";
import type { EntryRow, GalleryState, LiveRow, Tables } from "./lmdb-schema.ts";

export function readState(tables: Tables, gallery: number): GalleryState {
  const bytes = tables.states.get(u32(gallery));
  return bytes === undefined ? NEW_GALLERY : (decodeJson(bytes) as GalleryState);
}

export function readEntry(tables: Tables, gallery: number, templateId: string): EntryRow | undefined {
  const bytes = tables.entries.get(entryKey(gallery, templateId));
  return bytes === undefined ? undefined : decodeEntry(bytes);
}

/** Template ids of a subject's live templates, in the order of their places. */
export function templatesOfSubject(tables: Tables, gallery: number, subjectId: string): string[] {
  return Array.from(tables.subjects.getRange(keysUnder(subjectKey(gallery, subjectId))), ({ value }) => value.toString("latin1"));
}

export function rosterEntry(templateId: string, { revision, live }: EntryRow): RosterEntry {
  if (live === undefined) return { templateId, revision, live };
  const { subjectId, block, slot, stride } = live;
  return { templateId, revision, live: { subjectId, placement: { block, slot, stride } } };
}

/** One change of a gallery's roster inside a write transaction: rows, indexes and counters stay in step. */
export class GalleryEdit {
  readonly #tables: Tables;
  readonly #gallery: number;
  #state: GalleryState;
  /** Blobs that nothing names any more, to be erased after the commit. */
  readonly doomed: number[] = [];

  constructor(tables: Tables, gallery: number) {
    this.#tables = tables;
    this.#gallery = gallery;
    this.#state = readState(tables, gallery);
  }

  get revision(): number {
    return this.#state.revision;
  }

  /** Makes the template live at its place with the blob that `store` makes. Throws ServerError if another template holds the place. */
  put({ templateId, subjectId, placement: { block, slot, stride } }: LooseTemplate, store: () => number): RosterEntry {
    const old = readEntry(this.#tables, this.#gallery, templateId);
    this.#checkFree({ block, slot, stride }, old?.live);
    if (old?.live !== undefined) this.#unlink(old.live);
    const live: LiveRow = { subjectId, block, slot, stride, blob: store() };
    this.#link(templateId, live);
    return this.#record(templateId, old, live);
  }

  /** Undefined if there is no live template of that id. */
  delete(templateId: string): RosterEntry | undefined {
    const old = readEntry(this.#tables, this.#gallery, templateId);
    if (old?.live === undefined) return undefined;
    this.#unlink(old.live);
    return this.#record(templateId, old, undefined);
  }

  save(): void {
    this.#tables.states.putSync(u32(this.#gallery), encodeJson(this.#state));
  }

  #checkFree({ block, slot }: Placement, own: LiveRow | undefined): void {
    if (own?.block === block && own.slot === slot) return;
    const bytes = this.#tables.blocks.get(blockKey(this.#gallery, block));
    if (bytes === undefined || decodeBlock(bytes).members.every((member) => member.slot !== slot)) return;
    // Unreachable with reserved places. Thrown before the first write, as the write queue asks.
    throw new ServerError("STORED_CORRUPT", `slot ${slot} of block ${block} holds another template: reserve a place before storing`);
  }

  #record(templateId: string, old: EntryRow | undefined, live: LiveRow | undefined): RosterEntry {
    if (old !== undefined) this.#tables.changes.removeSync(changeKey(this.#gallery, old.revision));
    const row = { revision: this.#state.revision + 1, live };
    this.#tables.changes.putSync(changeKey(this.#gallery, row.revision), idKey(templateId));
    this.#tables.entries.putSync(entryKey(this.#gallery, templateId), encodeEntry(row));
    this.#state = { ...this.#state, revision: row.revision };
    return rosterEntry(templateId, row);
  }

  #link(templateId: string, { subjectId, block, slot, stride, blob }: LiveRow): void {
    this.#tables.subjects.putSync(subjectKey(this.#gallery, subjectId, { block, slot }), idKey(templateId));
    const key = blockKey(this.#gallery, block);
    const bytes = this.#tables.blocks.get(key);
    const members = bytes === undefined ? [] : decodeBlock(bytes).members;
    const after = [...members, { slot, blob }].sort((a, b) => a.slot - b.slot);
    this.#tables.blocks.putSync(key, encodeBlock({ stride, members: after }));
    this.#count({ block, slot, stride }, 1, members.length === 0 ? 1 : 0);
  }

  #unlink({ subjectId, block, slot, stride, blob }: LiveRow): void {
    this.#tables.subjects.removeSync(subjectKey(this.#gallery, subjectId, { block, slot }));
    const key = blockKey(this.#gallery, block);
    const members = decodeBlock(this.#tables.blocks.get(key)!).members.filter((member) => member.slot !== slot);
    if (members.length === 0) this.#tables.blocks.removeSync(key);
    else this.#tables.blocks.putSync(key, encodeBlock({ stride, members }));
    this.#tables.doomedBlobs.putSync(u48(blob), Buffer.alloc(0));
    this.doomed.push(blob);
    this.#count({ block, slot, stride }, -1, members.length === 0 ? -1 : 0);
  }

  // The next slot only grows, whatever the order in which reserved places are filled.
  #count({ block, slot, stride }: Placement, templates: number, blocks: number): void {
    const state = this.#state;
    const before = state.strides[stride] ?? { block, nextSlot: 0, liveBlocks: 0 };
    const later = block > before.block || (block === before.block && slot >= before.nextSlot);
    const filling = later ? { block, nextSlot: slot + 1 } : before;
    this.#state = {
      ...state,
      templates: state.templates + templates,
      nextBlock: Math.max(state.nextBlock, block + 1),
      strides: { ...state.strides, [stride]: { block: filling.block, nextSlot: filling.nextSlot, liveBlocks: before.liveBlocks + blocks } },
    };
  }
}
