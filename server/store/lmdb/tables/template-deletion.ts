import { GalleryEdit } from "./gallery-edit.ts";
import type { DeletedTemplates, Deletion, RosterEntry, StruckTemplate } from "../../gallery-store.ts";
import { keysUnder, subjectKey } from "../rows/schema.ts";
import type { Tables } from "../rows/schema.ts";
import { liveIn, readLiveSlots } from "./packed-lookup.ts";
import type { PackedLookup, PackedTemplate } from "./packed-lookup.ts";
import { PackedSearch } from "./packed-search.ts";
import { pagesOf } from "../disk/pages.ts";
import { readEntry, readState } from "./roster.ts";
import { Pace, Turn } from "../disk/turns.ts";
import type { Gate } from "../disk/turns.ts";

/** A template to delete: a loose one, of this subject if it was named by its subject; or one in a packed block. */
type Target = PackedTemplate | { readonly templateId: string; readonly subjectId: string | undefined };

/**
 * Templates that a deletion names, and packed blocks: a reply has a bound, and so does what is kept until it is over.
 */
const MOST_NAMED = 10_000;
/** All that it names as deleted, and as many that were struck before. */
const MOST_STRUCK = 2 * MOST_NAMED;

/** Deleting so many takes about half a millisecond. */
const STEP_TEMPLATES = 16;

/** The gallery that a deletion is made in. */
export interface DeletionPlace {
  readonly tables: Tables;
  readonly lookup: PackedLookup;
  readonly gallery: number;
  readonly gate: Gate;
}

/** What one step did, which counts once it is committed. */
interface DeletionStep {
  readonly entries: readonly RosterEntry[];
  readonly emptiedBlocks: readonly number[];
  /** Blobs that nothing names any more. */
  readonly doomed: readonly number[];
  /** The first target that the next step looks at. */
  readonly next: number;
}

/**
 * A deletion in steps. It looks for its templates outside of any write transaction; a step then looks again at each
 * that it deletes, as it may have been replaced or deleted meanwhile.
 */
export class TemplateDeletion {
  /** Blobs that the committed steps left without a name. */
  readonly doomed: number[] = [];
  readonly #place: DeletionPlace;
  readonly #deletion: Deletion;
  readonly #pace: Pace;
  readonly #byId: PackedSearch;
  readonly #bySubject: PackedSearch;
  #targets: Target[] = [];
  /** Of those that were named, the ones that have templates. */
  readonly #subjects = new Set<string>();
  readonly #unknownIds = new Set<string>();
  #next = 0;
  #count = 0;
  /** Ids of what is deleted so far, of more than MOST_NAMED the first ones. */
  readonly #deletedIds: string[] = [];
  readonly #erasedBlocks: number[] = [];

  constructor(place: DeletionPlace, deletion: Deletion) {
    this.#place = place;
    this.#deletion = deletion;
    this.#pace = new Pace(place.gate);
    this.#byId = new PackedSearch({ ...place, ids: deletion.templateIds ?? [], kind: "templates" });
    this.#bySubject = new PackedSearch({ ...place, ids: deletion.subjectIds ?? [], kind: "subjects" });
  }

  /** Whether there is nothing left to do. */
  get isDone(): boolean {
    return this.#next >= this.#targets.length || this.#count >= this.#most;
  }

  /** How many templates are deleted so far. */
  get count(): number {
    return this.#count;
  }

  /** Finds the templates. */
  async find(): Promise<void> {
    const { templateIds = [], subjectIds = [] } = this.#deletion;
    await this.#byId.run(this.#pace);
    await this.#bySubject.run(this.#pace);
    const targets = new Map<string, Target>();
    await this.#named(templateIds, targets);
    for (const subjectId of subjectIds) await this.#looseOf(subjectId, targets);
    for await (const template of this.#live(this.#bySubject)) {
      targets.set(template.templateId, template);
      this.#subjects.add(template.subjectId);
    }
    this.#targets = [...targets.values()];
  }

  /** Deletes until its turn is over, inside a write transaction. */
  step(): DeletionStep {
    const edit = new GalleryEdit(this.#place.tables, this.#place.lookup, this.#place.gallery);
    const entries: RosterEntry[] = [];
    const turn = new Turn();
    let next = this.#next;
    // Deletions of a few are one step, however slow the machine.
    const mayGoOn = (): boolean => (next - this.#next) % STEP_TEMPLATES !== 0 || next === this.#next || !turn.isOver;
    const target = (): Target | undefined =>
      this.#count + entries.length < this.#most ? this.#targets[next] : undefined;
    for (let one = target(); one !== undefined && mayGoOn(); one = target()) {
      next++;
      const entry = deleteTarget(edit, one);
      if (entry !== undefined) entries.push(entry);
    }
    if (entries.length > 0) edit.save();
    return { entries, emptiedBlocks: edit.emptiedBlocks, doomed: edit.doomed, next };
  }

  /** Takes note of a step that was committed. */
  commit({ entries, emptiedBlocks, doomed, next }: DeletionStep): void {
    this.#count += entries.length;
    for (const { templateId } of entries.slice(0, MOST_NAMED - this.#deletedIds.length))
      this.#deletedIds.push(templateId);
    for (const block of emptiedBlocks.slice(0, MOST_NAMED - this.#erasedBlocks.length)) this.#erasedBlocks.push(block);
    for (const blob of doomed) this.doomed.push(blob);
    this.#next = next;
  }

  /** What was deleted, once it is done. */
  async result(): Promise<DeletedTemplates> {
    const { revision } = readState(this.#place.tables, this.#place.gallery);
    const unknownSubjectIds = [...new Set(this.#deletion.subjectIds)].filter(
      (subjectId) => !this.#subjects.has(subjectId),
    );
    const more = this.#next < this.#targets.length;
    const unknownTemplateIds = [...this.#unknownIds];
    const named = { unknownTemplateIds, struck: await this.#struck(), erasedBlocks: this.#erasedBlocks };
    return { ...named, count: this.#count, revision, unknownSubjectIds, more };
  }

  get #most(): number {
    return this.#deletion.most ?? Infinity;
  }

  async #named(templateIds: readonly string[], into: Map<string, Target>): Promise<void> {
    const packed = new Map<string, PackedTemplate>();
    for await (const template of this.#live(this.#byId)) packed.set(template.templateId, template);
    for (const templateId of templateIds) {
      await this.#pace.step();
      const isLoose = readEntry(this.#place.tables, this.#place.gallery, templateId)?.live !== undefined;
      const target = packed.get(templateId) ?? (isLoose ? { templateId, subjectId: undefined } : undefined);
      if (target === undefined) this.#unknownIds.add(templateId);
      else into.set(templateId, target);
    }
  }

  async #looseOf(subjectId: string, into: Map<string, Target>): Promise<void> {
    const { tables, gallery } = this.#place;
    await this.#pace.step();
    for (const page of pagesOf(tables.subjects, keysUnder(subjectKey(gallery, subjectId)))) {
      this.#subjects.add(subjectId);
      for (const templateId of page.map(({ value }) => value.toString("latin1"))) {
        if (!into.has(templateId)) into.set(templateId, { templateId, subjectId });
      }
      await this.#pace.step();
    }
  }

  /** Those of the found that are live. */
  async *#live({ found }: PackedSearch): AsyncGenerator<PackedTemplate> {
    for (const [block, ofBlock] of found) {
      await this.#pace.step();
      yield* ofBlock.filter(liveIn(this.#place.tables, this.#place.gallery, block));
    }
  }

  async #struck(): Promise<StruckTemplate[]> {
    const before = new Map<string, StruckTemplate[]>();
    for (const [block, ofBlock] of [...this.#byId.found, ...this.#bySubject.found]) {
      await this.#pace.step();
      const live = readLiveSlots(this.#place.tables, this.#place.gallery, block);
      const struck = live === undefined ? [] : ofBlock.filter(({ slot }) => !live.has(slot));
      for (const templateId of new Set(struck.map((template) => template.templateId))) {
        const others = before.get(templateId)?.filter((other) => other.block !== block) ?? [];
        before.set(templateId, [...others, { templateId, block }]);
      }
    }
    const now: StruckTemplate[] = [];
    for (const templateId of this.#deletedIds) {
      await this.#pace.step();
      now.push(...(before.get(templateId) ?? []));
      before.delete(templateId);
    }
    return [...now, ...[...before.values()].flat()].slice(0, MOST_STRUCK);
  }
}

function deleteTarget(edit: GalleryEdit, target: Target): RosterEntry | undefined {
  return "block" in target ? edit.deletePacked(target) : edit.deleteLoose(target.templateId, target.subjectId);
}
