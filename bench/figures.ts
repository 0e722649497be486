import type { ByteCounter } from "../scripts/dev/byte-counter.ts";

/** One line of the bench: what was measured on, and figures named with their units. */
export interface BenchLine {
  readonly case: string;
  readonly templates: number;
  readonly dimension: number;
  readonly parameterSet: string;
  /** 0 in the pairwise scheme, which has none. */
  readonly stride: number;
  readonly [figure: string]: string | number;
}

/** What a case measures, where the time per template is compared. */
export interface Work {
  /** Templates that one run compares with a probe. */
  readonly templates: number;
  readonly run: (round: number) => void;
  /** Throws unless the last distances are the plain ones. */
  readonly check: () => void;
}

/** The value that a share of the samples does not exceed. */
export function quantile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
}

/** Three significant digits: what a shared machine can be trusted with. */
export function round(value: number): number {
  return Number(value.toPrecision(3));
}

/** Median and 95th percentile, in milliseconds. */
export function latency(samplesMs: readonly number[]): { p50_ms: number; p95_ms: number } {
  return { p50_ms: round(quantile(samplesMs, 0.5)), p95_ms: round(quantile(samplesMs, 0.95)) };
}

/** Runs something `rounds` times, after two rounds of warming up; milliseconds of each. */
export async function sample(rounds: number, run: (round: number) => unknown): Promise<number[]> {
  const [samples] = await interleave(rounds, [run]);
  return samples!;
}

/**
 * As {@link sample} for several things that take turns, so that whatever else the machine does falls on all of them
 * alike.
 */
export async function interleave(rounds: number, runs: readonly ((round: number) => unknown)[]): Promise<number[][]> {
  const samples = runs.map((): number[] => []);
  for (let i = -2; i < rounds; i++) {
    for (const [k, run] of runs.entries()) {
      const start = performance.now();
      await run(i + 2);
      if (i >= 0) samples[k]!.push(performance.now() - start);
    }
  }
  return samples;
}

/** Bytes that pass while something runs, all of gRPC's included. */
export async function passing(
  wire: ByteCounter,
  run: () => Promise<unknown>,
): Promise<{ bytes_sent: number; bytes_received: number }> {
  const { sent, received } = wire;
  await run();
  return { bytes_sent: wire.sent - sent, bytes_received: wire.received - received };
}

/** A pseudo-random unit vector, the same for the same seed: xorshift32 and the Box-Muller transform. */
export function unitVector(seed: number, dimension: number): Float32Array {
  let state = (seed + 1) * 2654435761;
  const uniform = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return ((state >>> 0) + 1) / 2 ** 32;
  };
  const vector = Float32Array.from(
    { length: dimension },
    () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()),
  );
  const norm = Math.hypot(...vector);
  return vector.map((x) => x / norm);
}
