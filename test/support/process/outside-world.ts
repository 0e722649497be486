// Runs a command in a network namespace and a mount namespace of its own, where every name leads to listeners that only
// take notes. Nothing leaves the namespace. What it takes: Linux, unshare (util-linux) and ip (iproute2), root or
// unprivileged user namespaces.
import { execFile, spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const LISTENER = join(import.meta.dirname, "outside-world-listener.ts");
const DEADLINE_MS = 180_000;

/** What a command did besides its work. */
interface Traces {
  /** Names that were looked up and connections that were made beyond loopback addresses, in order. */
  readonly asked: readonly string[];
  /**
   * Files in the home folder, which was empty, held the temporary folder and was the working folder; relative to it.
   */
  readonly files: readonly string[];
  /** What the command printed on standard output. */
  readonly output: string;
}

/** Why {@link tracesOf} cannot run here; undefined where it can. */
export function outsideWorldMissing(): string | undefined {
  const { status, stderr } = spawnSync("unshare", ["-rnm", "ip", "link", "set", "lo", "up"], { encoding: "utf8" });
  return status === 0
    ? undefined
    : `network namespaces (unshare of util-linux, ip of iproute2): ${stderr || "not found"}`;
}

/** Runs Node with these arguments in the namespace, with an empty home folder. Rejects if it fails. */
export async function tracesOf(nodeArguments: readonly string[]): Promise<Traces> {
  const folder = await mkdtemp(join(tmpdir(), "veilface-outside-"));
  try {
    const [home, resolver] = [join(folder, "home"), join(folder, "resolv.conf")];
    const temporary = join(home, "tmp");
    await mkdir(temporary, { recursive: true });
    await writeFile(resolver, "nameserver 127.0.0.1\n");
    const script = 'ip link set lo up && mount --bind "$0" /etc/resolv.conf && exec "$@"';
    const listener = [process.execPath, "--conditions=source", LISTENER, ...nodeArguments];
    const options = { cwd: home, env: { ...environment(), HOME: home, TMPDIR: temporary }, timeout: DEADLINE_MS };
    const { stdout } = await promisify(execFile)(
      "unshare",
      ["-rnm", "sh", "-c", script, resolver, ...listener],
      options,
    );
    const { asked, output } = JSON.parse(stdout) as { asked: string[]; output: string };
    return { asked, output, files: await filesIn(home) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

// Neither the caller's folders nor a wish of theirs for or against telemetry.
function environment(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(XDG_|VEILFACE_|ORT_|DO_NOT_TRACK)/.test(name)),
  );
}

async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => !entry.isDirectory())
    .map(({ parentPath, name }) => join(parentPath, name).slice(folder.length + 1));
}
