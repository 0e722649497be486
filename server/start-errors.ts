import { errorCode } from "./errors.ts";

/** What the codes of the operating system mean to someone who starts a server. */
const MEANING: Readonly<Record<string, string>> = {
  EACCES: "permission is denied",
  EPERM: "permission is denied",
  ENOENT: "there is no such file or folder",
  ENOTDIR: "a part of the path is a file, not a folder",
  EEXIST: "there is a file of that name",
  EISDIR: "it is a folder, not a file",
  EROFS: "the file system is read-only",
  ENOSPC: "the disk is full",
  EDQUOT: "the quota of the disk is used up",
  ENAMETOOLONG: "the path is too long",
  ELOOP: "its links lead in a circle",
  EINVAL: "the name is not allowed",
  EMFILE: "too many files are open",
  EADDRINUSE: "another program listens there",
  EADDRNOTAVAIL: "this machine has no such address",
  EAFNOSUPPORT: "this machine has no addresses of that kind",
};

/**
 * A fault of the operating system in words with its code, such as "permission is denied (EACCES)"; other errors in
 * their own words.
 */
export function inWords(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const code = errorCode(error) ?? /\b(E[A-Z]{3,})\b/.exec(text)?.[1];
  if (code === undefined) return text;
  const meaning = MEANING[code];
  return meaning === undefined ? text : `${meaning} (${code})`;
}
