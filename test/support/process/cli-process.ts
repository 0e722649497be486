// The command-line program as a user starts it: the launcher, in a process of its own.
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const LAUNCHER = join(import.meta.dirname, "..", "..", "..", "cli", "bin", "veilface.js");

/** What a run printed and how it ended. */
export interface CliRun {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface CliOptions {
  /** Environment variables on top of the bare ones; undefined ones are left out. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Sends SIGINT once it resolves. */
  readonly interruptWhen?: Promise<unknown>;
}

/** Runs it to its end, without a terminal. */
export function runCli(args: readonly string[], { env = {}, interruptWhen }: CliOptions = {}): Promise<CliRun> {
  const child = spawn(process.execPath, [LAUNCHER, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: bareEnvironment(env),
  });
  const printed = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => (printed.stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (printed.stderr += text));
  void interruptWhen?.then(() => child.kill("SIGINT"));
  return new Promise((resolve, reject) => {
    child.on("error", reject).on("close", (code) => {
      resolve({ code, ...printed });
    });
  });
}

/** A folder for one test file, removed by the function that comes with it. */
export async function temporaryFolder(): Promise<{ folder: string; remove: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "veilface-cli-"));
  return { folder, remove: () => rm(folder, { recursive: true, force: true }) };
}

// Nothing of the user's own set-up may decide a test.
function bareEnvironment(env: CliOptions["env"]): NodeJS.ProcessEnv {
  const kept = ["PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME", "VEILFACE_CACHE"].map(
    (name) => [name, process.env[name]] as const,
  );
  return Object.fromEntries([...kept, ...Object.entries(env ?? {})].filter(([, value]) => value !== undefined));
}
