import assert from "node:assert/strict";
import type {
  DeletedTemplates,
  PackedBlockEntry,
  PackedSlot,
  RosterEntry,
  StruckTemplate,
  SubjectLine,
} from "../../../server/store/gallery-store.ts";
import { placeOf } from "./fixture.ts";

/** What a change of the store answered, with the bytes that were stored. */
export type Made =
  | { readonly kind: "loose"; readonly entry: RosterEntry; readonly residues: Uint8Array }
  | {
      readonly kind: "packed";
      readonly entry: PackedBlockEntry;
      readonly slots: readonly PackedSlot[];
      readonly chunks: readonly Uint8Array[];
    }
  | (DeletedTemplates & { readonly kind: "deleted"; readonly named: Named });

/** What a deletion names. */
export interface Named {
  readonly templateIds: readonly string[];
  readonly subjectIds: readonly string[];
}

/**
 * A plain model of a gallery: a roster line per template, the bytes of each place or packed block, and who ever held
 * each place.
 */
export class Model {
  readonly lines = new Map<string, RosterEntry>();
  /** By "block/slot" of loose templates and "block#i" of chunks; also of what is gone. */
  readonly bytes = new Map<string, Uint8Array>();
  readonly packed = new Map<number, number>();
  readonly owners = new Map<string, string>();
  revision = 0;

  apply(made: Exclude<Made, { kind: "deleted" }>): void {
    if (made.kind === "packed") this.#applyPacked(made);
    else {
      this.#change(made.entry);
      this.bytes.set(placeOf(made.entry), made.residues);
    }
  }

  /** Deletes a template, which is there. Returns the block that it lay in. */
  delete(templateId: string, revision: number): number {
    const { live } = this.lines.get(templateId) ?? {};
    assert.ok(live !== undefined, "what is not there is not deleted");
    this.#change({ templateId, revision, live: undefined });
    return live.placement.block;
  }

  /** Templates so named that were in packed blocks which are still there, and are not any more. */
  struck({ templateIds, subjectIds }: Named): StruckTemplate[] {
    const stored = new Set(this.live().map((entry) => entry.live!.placement.block));
    const live = new Set(this.live().map(placeOf));
    return [...this.owners].flatMap(([place, owner]) => {
      const block = Number(place.split("/")[0]);
      const [templateId, subjectId] = owner.split(" of ");
      const isNamed = templateIds.includes(templateId!) || subjectIds.includes(subjectId!);
      return isNamed && this.packed.has(block) && stored.has(block) && !live.has(place)
        ? [{ templateId: templateId!, block }]
        : [];
    });
  }

  /** Another model's templates take the place of this one's. */
  replaceBy(draft: Model): void {
    for (const place of draft.owners.keys())
      assert.ok(!this.owners.has(place), "no place of the replaced gallery is used again");
    for (const { revision } of draft.lines.values())
      assert.ok(revision > this.revision, "clients that ask for changes learn of every template");
    this.lines.clear();
    for (const [map, from] of [
      [this.lines, draft.lines],
      [this.bytes, draft.bytes],
      [this.packed, draft.packed],
      [this.owners, draft.owners],
    ] as const) {
      for (const [key, value] of from) (map as Map<unknown, unknown>).set(key, value);
    }
    this.revision = draft.revision + 1;
  }

  isLive(templateId: string): boolean {
    return this.lines.get(templateId)?.live !== undefined;
  }

  /** Whether a deletion names a template that is there. */
  isNamed({ templateIds, subjectIds }: Named, templateId: string): boolean {
    const subjectId = this.lines.get(templateId)?.live?.subjectId;
    return subjectId !== undefined && (templateIds.includes(templateId) || subjectIds.includes(subjectId));
  }

  /** The subjects with how many live templates each has, in the order of the oldest of these. */
  subjects(): SubjectLine[] {
    const counts = new Map<string, number>();
    for (const { live } of this.changes())
      if (live !== undefined) counts.set(live.subjectId, (counts.get(live.subjectId) ?? 0) + 1);
    return Array.from(counts, ([subjectId, templateCount]) => ({ subjectId, templateCount }));
  }

  /** In the order of their places. */
  live(): RosterEntry[] {
    const live = [...this.lines.values()].filter((entry) => entry.live !== undefined);
    const order = ({ live: at }: RosterEntry): number => at!.placement.block * 1e6 + at!.placement.slot;
    return live.sort((a, b) => order(a) - order(b));
  }

  /** Oldest first. */
  changes(): RosterEntry[] {
    return [...this.lines.values()].sort((a, b) => a.revision - b.revision);
  }

  blocks(): { block: number; stride: number }[] {
    const strides = new Map(this.live().map((entry) => [entry.live!.placement.block, entry.live!.placement.stride]));
    return [...strides].map(([block, stride]) => ({ block, stride }));
  }

  /** The bytes that are to be found, by place, in the order of places. */
  stored(): Map<string, Uint8Array> {
    const live = this.live();
    const keys = this.blocks().flatMap(({ block }) => {
      const chunks = this.packed.get(block);
      if (chunks !== undefined) return Array.from({ length: chunks }, (_, i) => `${block}#${i}`);
      return live.filter((entry) => entry.live!.placement.block === block).map(placeOf);
    });
    return new Map(keys.map((key) => [key, this.bytes.get(key)!]));
  }

  #applyPacked({ entry: { block, stride, count, firstRevision }, slots, chunks }: Made & { kind: "packed" }): void {
    assert.equal(count, slots.length);
    slots.forEach(({ templateId, subjectId }, slot) => {
      this.#change({
        templateId,
        revision: firstRevision + slot,
        live: { subjectId, placement: { block, slot, stride } },
      });
    });
    this.packed.set(block, chunks.length);
    chunks.forEach((chunk, i) => this.bytes.set(`${block}#${i}`, chunk));
  }

  #change(entry: RosterEntry): void {
    assert.equal(entry.revision, this.revision + 1, "every change has the next revision");
    this.revision = entry.revision;
    this.lines.set(entry.templateId, entry);
    if (entry.live === undefined) return;
    const owner = `${entry.templateId} of ${entry.live.subjectId}`;
    assert.equal(
      this.owners.get(placeOf(entry)) ?? owner,
      owner,
      "a place belongs to one template of one subject for ever",
    );
    this.owners.set(placeOf(entry), owner);
  }
}
