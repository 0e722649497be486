// The command-line program in surroundings of all kinds: another user, closed or full outputs, a terminal, signals.
import { spawn } from "node:child_process";
import type { ChildProcess, StdioOptions } from "node:child_process";
import { join } from "node:path";

export const LAUNCHER = join(import.meta.dirname, "..", "..", "..", "cli", "bin", "veilface.js");

/** How a process ended, and what it printed to the streams that are pipes. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Surroundings {
  /** All that is set, but for PATH. */
  readonly env?: Readonly<Record<string, string>>;
  readonly stdio?: StdioOptions;
  readonly uid?: number;
  /** Called once it runs. */
  readonly meanwhile?: (child: ChildProcess) => void;
}

/** Runs a program to its end. */
export function runIn(
  command: readonly [string, ...string[]],
  { env = {}, stdio = ["ignore", "pipe", "pipe"], uid, meanwhile }: Surroundings = {},
): Promise<Ended> {
  const [program, ...args] = command;
  const options = { stdio, env: { PATH: process.env["PATH"], ...env }, ...(uid !== undefined && { uid }) };
  const child = spawn(program, args, options);
  const printed = { stdout: "", stderr: "" };
  child.stdout?.setEncoding("utf8").on("data", (text: string) => (printed.stdout += text));
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (printed.stderr += text));
  meanwhile?.(child);
  return new Promise((resolve, reject) => {
    child.on("error", reject).on("close", (code, signal) => {
      resolve({ code, signal, ...printed });
    });
  });
}
