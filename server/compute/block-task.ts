/**
 * Blocks that a worker matches side by side and hands over together: a probe of 8 MB is read from memory once for all
 * of them, and searches share the workers fairly, as four blocks take it a few milliseconds.
 */
export const BLOCKS_PER_TASK = 4;

/** What to multiply: a block, or only some of its slots. */
export interface BlockTask {
  readonly block: number;
  readonly stride: number;
  readonly slots?: readonly number[];
}

/** Whether nobody waits for any of the probes any more. */
export function allCancelled(cancelled: Int32Array): boolean {
  return cancelled.every((_, i) => Atomics.load(cancelled, i) !== 0);
}

/**
 * A scan cut into tasks of few blocks each, until it is cancelled. `cancelled`: an i32 each; not 0 once it was
 * cancelled.
 */
export function* tasksOf<Scan extends { readonly blocks: readonly BlockTask[]; readonly cancelled: SharedArrayBuffer }>(
  scan: Scan,
): Generator<Scan> {
  const cancelled = new Int32Array(scan.cancelled);
  for (let first = 0; first < scan.blocks.length && !allCancelled(cancelled); first += BLOCKS_PER_TASK)
    yield { ...scan, blocks: scan.blocks.slice(first, first + BLOCKS_PER_TASK) };
}
