import { Presets, SingleBar } from "cli-progress";

/** Work done so far, shown on standard error. */
export interface Progress extends Disposable {
  readonly advance: (done: number) => void;
}

const FEW = 3;
const LINE_EVERY_MS = 10_000;

/** A bar on a terminal, a line every ten seconds elsewhere; nothing for a few things. */
export function showProgress(what: string, total: number): Progress {
  if (total <= FEW) return { advance: () => undefined, [Symbol.dispose]: () => undefined };
  return process.stderr.isTTY ? barProgress(what, total) : lineProgress(what, total);
}

function barProgress(what: string, total: number): Progress {
  const bar = new SingleBar({ format: `${what} {bar} {value}/{total} {eta_formatted}`, stream: process.stderr, clearOnComplete: true, hideCursor: true }, Presets.shades_classic);
  bar.start(total, 0);
  return {
    advance: (done) => {
      bar.update(done);
    },
    [Symbol.dispose]: () => {
      bar.stop();
    },
  };
}

function lineProgress(what: string, total: number): Progress {
  let shown = performance.now();
  return {
    advance: (done) => {
      if (performance.now() - shown < LINE_EVERY_MS) return;
      shown = performance.now();
      process.stderr.write(`${what} ${done}/${total}\n`);
    },
    [Symbol.dispose]: () => undefined,
  };
}
