import { Presets, SingleBar } from "cli-progress";

/** Work done so far, shown on standard error. */
export interface Progress extends Disposable {
  /** How many things are done, and of how many where that has become clearer since. */
  readonly advance: (done: number, total?: number) => void;
}

const FEW = 3;
const LINE_EVERY_MS = 10_000;

/**
 * A bar with count, rate and time left on a terminal, a line every ten seconds elsewhere; nothing for a few things.
 * `total`: undefined where nobody knows yet.
 */
export function showProgress(what: string, total?: number): Progress {
  if (total !== undefined && total <= FEW) return { advance: () => undefined, [Symbol.dispose]: () => undefined };
  return process.stderr.isTTY ? barProgress(what, total) : lineProgress(what, total);
}

function barProgress(what: string, total = 0): Progress {
  const format = `${what} {bar} {value}/{total} {rate}/s {eta_formatted}`;
  const bar = new SingleBar(
    { format, stream: process.stderr, clearOnComplete: true, hideCursor: true },
    Presets.shades_classic,
  );
  const rate = rateSince(performance.now());
  bar.start(total, 0, { rate: 0 });
  return {
    advance: (done, newTotal) => {
      if (newTotal !== undefined) bar.setTotal(newTotal);
      bar.update(done, { rate: rate(done) });
    },
    [Symbol.dispose]: () => {
      bar.stop();
    },
  };
}

function lineProgress(what: string, firstTotal = 0): Progress {
  const rate = rateSince(performance.now());
  let total = firstTotal;
  let shown = performance.now();
  return {
    advance: (done, newTotal) => {
      total = newTotal ?? total;
      if (performance.now() - shown < LINE_EVERY_MS) return;
      shown = performance.now();
      process.stderr.write(`${what} ${done}/${total} ${rate(done)}/s\n`);
    },
    [Symbol.dispose]: () => undefined,
  };
}

function rateSince(start: number): (done: number) => number {
  return (done) => Number(((done / Math.max(1, performance.now() - start)) * 1000).toPrecision(3));
}
