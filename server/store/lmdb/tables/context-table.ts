import { ServerError } from "../../../errors.ts";
import { blobsOfKeys, decodeKeysRow, encodeKeysRow, takeOverKeys } from "./context-keys.ts";
import type { ContextKeysRow } from "./context-keys.ts";
import { decodeContext, encodeContext } from "../rows/context-rows.ts";
import type { NewContext, StoredContext } from "../../gallery-store.ts";
import { idKey, keyAfter, u48 } from "../rows/schema.ts";
import type { Tables } from "../rows/schema.ts";

/**
 * The rows that describe contexts and say where their keys are. What changes something belongs inside a write
 * transaction.
 */
export class ContextTable {
  readonly #tables: Tables;

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  /** Throws ServerError CONTEXT_NOT_FOUND. */
  get(contextId: string): StoredContext {
    const found = this.find(contextId);
    if (found === undefined) throw contextNotFound(contextId);
    return found;
  }

  /** Undefined if there is none. */
  find(contextId: string): StoredContext | undefined {
    const bytes = this.#tables.contexts.get(idKey(contextId));
    return bytes && decodeContext(contextId, bytes);
  }

  has(contextId: string): boolean {
    return this.#tables.contexts.get(idKey(contextId)) !== undefined;
  }

  list(after: string, limit: number): StoredContext[] {
    const rows = this.#tables.contexts.getRange({ start: keyAfter(idKey(after)), limit });
    return Array.from(rows, ({ key, value }) => decodeContext(key.toString("latin1"), value));
  }

  /** Creates a context whose keys, if it has any, are stored already; leaves one that is there as it is. */
  create(
    { contextId, scheme }: NewContext,
    keys: ContextKeysRow | undefined,
  ): { stored: StoredContext; isNew: boolean } {
    const found = this.find(contextId);
    if (found !== undefined) return { stored: found, isNew: false };
    if (this.isDoomed(contextId))
      throw new ServerError("CONTEXT_IN_USE", `context ${contextId} is being deleted: try again in a minute`);
    this.#tables.contexts.putSync(idKey(contextId), encodeContext({ scheme, createTime: new Date() }));
    if (keys !== undefined) {
      this.#tables.contextKeys.putSync(idKey(contextId), encodeKeysRow(keys));
      takeOverKeys(this.#tables, keys);
    }
    return { stored: this.get(contextId), isNew: true };
  }

  /** Contexts that are gone and whose galleries are being deleted. */
  doomed(): string[] {
    return Array.from(this.#tables.doomedContexts.getKeys(), (key) => key.toString("latin1"));
  }

  isDoomed(contextId: string): boolean {
    return this.#tables.doomedContexts.get(idKey(contextId)) !== undefined;
  }

  /** To be called once none of its galleries is left. */
  forget(contextId: string): void {
    this.#tables.doomedContexts.removeSync(idKey(contextId));
  }

  /**
   * Hides a context and its galleries, until {@link forget} is called. Returns the blobs of its keys, to be erased
   * after the commit.
   */
  doom(contextId: string): number[] {
    this.#tables.doomedContexts.putSync(idKey(contextId), Buffer.alloc(0));
    const row = this.#tables.contextKeys.get(idKey(contextId));
    const blobs = row === undefined ? [] : blobsOfKeys(decodeKeysRow(row));
    for (const blob of blobs) this.#tables.doomedBlobs.putSync(u48(blob), Buffer.alloc(0));
    this.#tables.contextKeys.removeSync(idKey(contextId));
    this.#tables.contexts.removeSync(idKey(contextId));
    return blobs;
  }
}

export function contextNotFound(contextId: string): ServerError {
  return new ServerError("CONTEXT_NOT_FOUND", `there is no context ${contextId}: create it first`);
}
