import { CONTEXT_ID_PATTERN, ID_IN_WORDS, ID_PATTERN } from "@veilface/proto";
import { ClientError } from "./errors.ts";

/** What an id names. */
export type IdKind = "gallery" | "subject" | "template";

/** Returns the id. Throws ClientError USAGE unless it is 1 to 64 characters of a-z, 0-9 and "-". */
export function checkId(kind: IdKind, id: string): string {
  if (isText(id) && ID_PATTERN.test(id)) return id;
  throw new ClientError("USAGE", `${kind} id ${JSON.stringify(id)} is not valid: expected ${ID_IN_WORDS}`);
}

/** Returns the id. Throws ClientError USAGE unless it is 64 lowercase hexadecimal digits. */
export function checkContextId(id: string): string {
  if (isText(id) && CONTEXT_ID_PATTERN.test(id)) return id;
  throw new ClientError(
    "USAGE",
    `context id ${JSON.stringify(id)} is not valid: expected all 64 lowercase hexadecimal digits that the upload gave`,
  );
}

// A regular expression makes "undefined" of what is not there.
function isText(id: unknown): boolean {
  return typeof id === "string";
}
