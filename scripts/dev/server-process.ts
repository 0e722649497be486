// A real server in a process of its own, on a free loopback port, with a temporary data folder.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "..", "..");
/** Where `npm run build` puts the server's entry. */
export const BUILT_SERVER = join(ROOT, "server", "dist", "main.js");
const START_DEADLINE_MS = 20_000;
const STOP_DEADLINE_MS = 15_000;
// A test process that ends by an exception runs no exit handlers; the server then notices that its channel to it is
// closed.
const END_WITH_PARENT = 'data:text/javascript,process.once("disconnect",()=>process.exit(1));process.channel?.unref()';

/** Which code runs: the sources, or what `npm run build` made of them. */
export type ServerCode = "source" | "built";

/** How a process ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Starts, watches, kills and restarts the server. Dispose of it: the process and its folder go away. */
export class ServerProcess implements AsyncDisposable {
  readonly dataFolder: string;
  readonly #arguments: readonly string[];
  readonly #code: ServerCode;
  #child: ChildProcess;
  #address = "";
  #log = "";
  readonly #killAtExit = (): void => void this.#child.kill("SIGKILL");

  /** Resolves once the server says that it listens. `args`: more flags for the server. */
  static async start(args: readonly string[] = [], code: ServerCode = "source"): Promise<ServerProcess> {
    const server = new ServerProcess(await mkdtemp(join(tmpdir(), "veilface-test-")), args, code);
    process.once("exit", server.#killAtExit);
    await server.#ready();
    return server;
  }

  private constructor(dataFolder: string, args: readonly string[], code: ServerCode) {
    this.dataFolder = dataFolder;
    this.#arguments = args;
    this.#code = code;
    this.#child = this.#spawn();
  }

  /** 127.0.0.1:PORT; another one after a restart. */
  get address(): string {
    return this.#address;
  }

  /** Everything the server has printed, on both streams, over all restarts. */
  get log(): string {
    return this.#log;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Sends a signal and waits for the end. */
  async kill(signal: NodeJS.Signals): Promise<Exit> {
    if (this.running) {
      const ended = once(this.#child, "close", { signal: AbortSignal.timeout(STOP_DEADLINE_MS) });
      this.#child.kill(signal);
      await ended;
    }
    return { code: this.#child.exitCode, signal: this.#child.signalCode };
  }

  /** Starts the server again on the same folder, after stopping it gracefully if it still runs. */
  async restart(): Promise<void> {
    await this.kill("SIGTERM");
    this.#child = this.#spawn();
    await this.#ready();
  }

  /**
   * What the process holds now, in bytes: in all, and without the pages of files, which the kernel takes back at will.
   */
  async memoryBytes(): Promise<{ readonly resident: number; readonly anonymous: number }> {
    const status = await readFile(`/proc/${this.#child.pid ?? 0}/status`, "utf8");
    const field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1]) * 1024;
    return { resident: field("VmRSS"), anonymous: field("RssAnon") };
  }

  /** The most memory the process has ever held, in bytes. */
  async peakMemoryBytes(): Promise<number> {
    const status = await readFile(`/proc/${this.#child.pid ?? 0}/status`, "utf8");
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.removeListener("exit", this.#killAtExit);
    try {
      await this.kill("SIGKILL");
    } finally {
      await rm(this.dataFolder, { recursive: true, force: true });
    }
  }

  #spawn(): ChildProcess {
    const main = this.#code === "source" ? ["--conditions=source", join(ROOT, "server", "main.ts")] : [BUILT_SERVER];
    const args = [
      "--import",
      END_WITH_PARENT,
      ...main,
      "--address",
      "127.0.0.1:0",
      "--data",
      this.dataFolder,
      ...this.#arguments,
    ];
    const child = spawn(process.execPath, args, {
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      env: withoutTestRunner(process.env),
    });
    for (const stream of [child.stdout, child.stderr])
      stream?.setEncoding("utf8").on("data", (text: string) => (this.#log += text));
    return child;
  }

  async #ready(): Promise<void> {
    const from = this.#log.length;
    const deadline = Date.now() + START_DEADLINE_MS;
    for (;;) {
      const address = /listening on (127\.0\.0\.1:\d+)/.exec(this.#log.slice(from))?.[1];
      if (address !== undefined) {
        this.#address = address;
        return;
      }
      if (!this.running || Date.now() > deadline) {
        const log = this.#log.slice(from);
        await this[Symbol.asyncDispose]();
        throw new Error(
          `the server ended, or did not become ready within ${START_DEADLINE_MS} ms; it printed:\n${log}`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

// The test runner tells its children to report to it; the server is no test.
function withoutTestRunner(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => name !== "NODE_TEST_CONTEXT"));
}
