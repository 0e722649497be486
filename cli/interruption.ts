import { constants } from "node:os";

// What asks a program to end: Ctrl-C, and a supervisor.
const SIGNALS = ["SIGINT", "SIGTERM"] as const;

// What does not look at the signal, such as encoding a photo, takes less; what waits for ever is not waited for.
const PATIENCE_MS = 10_000;

/** What tells a command to stop, and with which code. */
export interface Interruption {
  readonly signal: AbortSignal;
  /**
   * 128 + the signal's number, as shells say it: 130 for Ctrl-C, at the passphrase prompt too, and 143 for SIGTERM.
   */
  readonly exitCode: () => number;
}

/**
 * The first signal cancels what is under way, which then leaves the terminal as it was; a second one does not wait.
 */
export function listenForSignals(): Interruption {
  const interrupted = new AbortController();
  let exitCode = 128 + constants.signals.SIGINT;
  for (const name of SIGNALS) {
    process.on(name, () => {
      exitCode = 128 + constants.signals[name];
      if (interrupted.signal.aborted) process.exit(exitCode);
      interrupted.abort();
      setTimeout(() => process.exit(exitCode), PATIENCE_MS).unref();
    });
  }
  return { signal: interrupted.signal, exitCode: () => exitCode };
}
