import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { ServerError } from "../../../errors.ts";
import { unusable } from "./data-folder.ts";
import { MAP_BYTES } from "./environment.ts";

/** How a child that tries a store ended. */
interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** How a trial went. */
interface Trial {
  /** That ended it. */
  readonly signal: NodeJS.Signals | null;
  /** What is wrong with the store; "" where nothing is. */
  readonly problem: string;
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
  const { signal, problem } = await runChild(path, mapBytes);
  if (signal === null) {
    if (problem === "") return;
    throw new ServerError("STORE_UNUSABLE", problem);
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

async function runChild(path: string, mapBytes: number): Promise<Trial> {
  const child = spawn(process.execPath, [...process.execArgv, CHILD, path, `${mapBytes}`], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const ending = new Promise<Ending>((resolve, reject) => {
    child.once("error", reject).once("close", (code, signal) => {
      resolve({ code, signal });
    });
  });
  const [output, { code, signal }] = await Promise.all([text(child.stdout), ending]);
  if (code === 0) return { signal, problem: output };
  return { signal, problem: `store folder ${path} cannot be opened: trying it ended with exit code ${code}` };
}
