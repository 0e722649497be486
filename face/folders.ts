import { homedir } from "node:os";

/** Absolute paths of a user's folders for veilface's files, by the customs of the operating system (env-paths). */
export interface UserFolders {
  /** For key files and settings, such as ~/.config/veilface on Linux; nothing makes it before it is needed. */
  readonly config: string;
  /** For what can be made again, such as ~/.cache/veilface on Linux. */
  readonly cache: string;
}

/**
 * The user's folders; undefined for a user without a home folder, such as a container's without an entry in passwd.
 */
export async function userFolders(): Promise<UserFolders | undefined> {
  if (!hasHome()) return undefined;
  // It looks for the home folder as it is loaded, and fails to load where there is none.
  const { default: envPaths } = await import("env-paths");
  return envPaths("veilface", { suffix: "" });
}

/** Where face models and rosters are kept: VEILFACE_CACHE, else the user's; undefined where there is neither. */
export async function cacheFolder(): Promise<string | undefined> {
  const named = process.env["VEILFACE_CACHE"];
  // An empty variable is none.
  return named === undefined || named === "" ? (await userFolders())?.cache : named;
}

function hasHome(): boolean {
  // An empty variable is as none; the system would take it for the folder the program runs in.
  if (process.env["HOME"] === "") delete process.env["HOME"];
  try {
    return homedir() !== "";
  } catch {
    return false;
  }
}
