import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { ServerError } from "../../../errors.ts";
import { unusable } from "./data-folder.ts";
import { MAP_BYTES } from "./environment.ts";

/** What a child that tries a store prints, as JSON: what is wrong with it, if anything. */
export interface TrialOutcome {
  readonly problem?: string;
}

interface Ending {
  readonly signal: NodeJS.Signals | null;
  readonly outcome: TrialOutcome;
}

const CHILD = fileURLToPath(
  new URL(import.meta.url.endsWith(".ts") ? "./store-trial-child.ts" : "./store-trial-child.js", import.meta.url),
);
const SMALL_MAP_BYTES = 2 ** 20;

/**
 * Opens a store in a child process first: LMDB ends its process by a signal where pages of a file are damaged, a disk
 * is full or the address space does not suffice, and nobody would say why. Takes about 0.2 s. Throws ServerError
 * STORE_UNUSABLE, saying what is wrong and what to do.
 */
export async function tryStore(path: string, mapBytes = MAP_BYTES): Promise<void> {
  const { signal, outcome } = await runChild(path, mapBytes);
  if (signal === null) {
    if (outcome.problem === undefined) return;
    throw new ServerError("STORE_UNUSABLE", outcome.problem);
  }
  const smaller = await runChild(path, SMALL_MAP_BYTES);
  if (smaller.signal === null) {
    throw unusable(
      path,
      `cannot be mapped: ${mapBytes} bytes of address space are not to be had (ulimit -v): give fewer with --map-bytes`,
    );
  }
  throw unusable(
    path,
    `cannot be opened, trying it ended by ${signal}: its files are damaged, or its disk is full; restore it from a backup`,
  );
}

async function runChild(path: string, mapBytes: number): Promise<Ending> {
  const child = spawn(process.execPath, [...process.execArgv, CHILD, path, `${mapBytes}`], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const closed = once(child, "close") as Promise<[number | null, NodeJS.Signals | null]>;
  const [output, [code, signal]] = await Promise.all([text(child.stdout), closed]);
  if (code === 0) return { signal, outcome: JSON.parse(output) as TrialOutcome };
  return {
    signal,
    outcome: { problem: `store folder ${path} cannot be opened: trying it ended with exit code ${code}` },
  };
}
