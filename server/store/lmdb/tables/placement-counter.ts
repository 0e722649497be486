import type { Placement } from "../../gallery-store.ts";
import type { GalleryState } from "../rows/schema.ts";

/**
 * Gives out the places of one gallery, each once. Counts in memory, from what is stored: a commit moves the stored
 * counters past every place it fills, so that only places that nothing ever filled are given out again after a restart.
 */
export class PlacementCounter {
  #nextBlock: number;
  readonly #filling: Map<number, { block: number; nextSlot: number }>;

  constructor(state: GalleryState) {
    this.#nextBlock = state.nextBlock;
    const strides = Object.entries(state.strides).filter(([, { block }]) => block >= 0);
    this.#filling = new Map(strides.map(([stride, { block, nextSlot }]) => [Number(stride), { block, nextSlot }]));
  }

  next(stride: number, slots: number): Placement {
    let filling = this.#filling.get(stride);
    if (filling === undefined || filling.nextSlot >= slots) {
      filling = { block: this.nextBlock(), nextSlot: 0 };
      this.#filling.set(stride, filling);
    }
    return { block: filling.block, slot: filling.nextSlot++, stride };
  }

  /** A block that no loose template gets into. */
  nextBlock(): number {
    return this.#nextBlock++;
  }
}
