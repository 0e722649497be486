import { ClientError } from "./errors.ts";

/** What an id names. */
export type IdKind = "gallery" | "subject" | "template";

/** Returns the id. Throws ClientError USAGE unless it is 1 to 64 characters of a-z, 0-9 and "-". */
export function checkId(kind: IdKind, id: string): string {
  if (/^[a-z0-9-]{1,64}$/.test(id)) return id;
  throw new ClientError("USAGE", `${kind} id ${JSON.stringify(id)} is not valid: expected 1 to 64 characters of a-z, 0-9 and "-"`);
}

/** Returns the id. Throws ClientError USAGE unless it is 64 lowercase hexadecimal digits. */
export function checkContextId(id: string): string {
  if (/^[0-9a-f]{64}$/.test(id)) return id;
  throw new ClientError("USAGE", `context id ${JSON.stringify(id)} is not valid: expected all 64 lowercase hexadecimal digits that the upload gave`);
}
