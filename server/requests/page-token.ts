import { createHash } from "node:crypto";
import type { PageSizes } from "@veilface/proto";
import { fieldInvalid } from "../errors.ts";
import type { ServerError } from "../errors.ts";
import { revision } from "./from-wire.ts";

const DIGEST_BYTES = 8;
const TOKEN = /^[A-Za-z0-9_-]{11,256}$/;

/** A page size: 0 means the usual one, and more than the most as much as that. Throws ServerError FIELD_INVALID. */
export function pageSize(value: number, { most, usual }: PageSizes): number {
  if (value < 0) throw fieldInvalid("page_size", `must be >= 0: at most ${most}, and 0 for ${usual}`);
  return value === 0 ? usual : Math.min(value, most);
}

/**
 * The tokens of one listing. A token says where the next page begins, and is worth nothing for another listing: it
 * carries a digest of what was asked for.
 */
export class PageTokens {
  readonly #digest: Buffer;

  /** `asked`: the rpc, and its parameters but for the size of the page. */
  constructor(...asked: readonly string[]) {
    this.#digest = createHash("sha256").update(JSON.stringify(asked)).digest().subarray(0, DIGEST_BYTES);
  }

  /** The token of the page that begins after `last`; empty where there is none. */
  write(last: string | number | undefined): string {
    if (last === undefined || last === "") return "";
    return Buffer.concat([this.#digest, Buffer.from(String(last))]).toString("base64url");
  }

  /** After what a page begins; undefined for the first page. Throws ServerError FIELD_INVALID. */
  read(token: string): string | undefined {
    if (token === "") return undefined;
    const bytes = TOKEN.test(token) ? Buffer.from(token, "base64url") : Buffer.alloc(0);
    if (bytes.length <= DIGEST_BYTES || !bytes.subarray(0, DIGEST_BYTES).equals(this.#digest)) throw notGiven();
    return bytes.toString("latin1", DIGEST_BYTES);
  }

  /** As {@link read}, of a listing in the order of revisions. */
  readRevision(token: string): number | undefined {
    const last = this.read(token);
    if (last === undefined) return undefined;
    if (!/^\d{1,15}$/.test(last)) throw notGiven();
    return revision("page_token", Number(last));
  }
}

function notGiven(): ServerError {
  return fieldInvalid("page_token", "must be one that the server gave for this very listing, or empty");
}
