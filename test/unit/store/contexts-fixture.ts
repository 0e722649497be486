import type { ContextKeys, PairwiseContext, PairwiseScheme } from "../../../server/store/gallery-store.ts";
import { openBlockReader } from "../../../server/store/lmdb/readers/block-reader.ts";
import { residuesOf } from "./fixture.ts";
import type { StoreFixture } from "./fixture.ts";

export const MIB = 2 ** 20;

export const PAIRWISE: PairwiseScheme = {
  kind: "pairwise",
  parameters: residuesOf("parameters", 129),
  scale: 2 ** 40 + 1 / 3,
  degree: 8192,
  modulusBits: [60, 40, 40, 60],
  rotationSteps: [1, 2, 4, 8],
  maxDimension: 16,
  maxDistance: 524287.9,
};

/** Keys that differ from those of every other seed. */
export function keysOf(seed: string, relinBytes: number, galoisBytes = relinBytes): ContextKeys {
  return { relinKeys: residuesOf(`${seed} relin`, relinBytes), galoisKeys: residuesOf(`${seed} galois`, galoisBytes) };
}

/** The id of a context that a process makes in one of several lanes. */
export function contextIdOf(lane: number, version: number): string {
  return `${lane}${version}`.padStart(64, "a");
}

/** The keys that belong to the context of that id: of one piece and of two. */
export function keysOfContext(contextId: string): ContextKeys {
  return keysOf(contextId, 100_000, 1_100_001);
}

/** As a worker thread would read it. */
export async function readContext({ path }: StoreFixture, contextId: string): Promise<PairwiseContext> {
  const reader = openBlockReader(path);
  try {
    return reader.pairwiseContext(contextId);
  } finally {
    await reader.close();
  }
}

/** Byte for byte; deepEqual takes seconds over megabytes. */
export function sameKeys(one: ContextKeys, other: ContextKeys): boolean {
  return (
    Buffer.from(one.relinKeys.buffer).equals(other.relinKeys) &&
    Buffer.from(one.galoisKeys.buffer).equals(other.galoisKeys)
  );
}

const SAMPLE_BYTES = 32;

/**
 * How many samples of the keys, of 32 bytes, one of every 2 KiB and the last, are in the data file: each page that
 * holds key bytes holds one.
 */
export function samplesFound(file: Buffer, { relinKeys, galoisKeys }: ContextKeys): number {
  const samples = new Map([relinKeys, galoisKeys].flatMap(samplesOf).map((sample) => [sample.readUInt32LE(), sample]));
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  const found = new Set<Buffer>();
  // One pass over the file, as it would take seconds to look for each sample of megabytes.
  for (let at = 0; at <= file.length - SAMPLE_BYTES; at++) {
    const sample = samples.get(view.getUint32(at, true));
    if (sample?.equals(file.subarray(at, at + SAMPLE_BYTES)) === true) found.add(sample);
  }
  return found.size;
}

function samplesOf(key: Uint8Array): Buffer[] {
  const bytes = Buffer.from(key.buffer, key.byteOffset, key.length);
  const starts = [
    ...Array.from({ length: Math.ceil(key.length / 2048) }, (_, i) => i * 2048),
    key.length - SAMPLE_BYTES,
  ];
  return starts
    .filter((start) => start >= 0 && start + SAMPLE_BYTES <= key.length)
    .map((start) => bytes.subarray(start, start + SAMPLE_BYTES));
}
