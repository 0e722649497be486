import { ServerError } from "../../../errors.ts";
import { decodeKeysRow, readKey } from "../tables/context-keys.ts";
import type { ContextKeysRow, KeyRow } from "../tables/context-keys.ts";
import { decodeContext } from "../rows/context-rows.ts";
import { contextNotFound } from "../tables/context-table.ts";
import type { ContextKeys, PairwiseContext, PairwiseScheme } from "../../gallery-store.ts";
import type { Root } from "../disk/environment.ts";
import { readInto } from "../disk/internals.ts";
import type { DirectReads, Snapshot } from "../disk/internals.ts";
import { SCHEMA_KEY, idKey, u48 } from "../rows/schema.ts";
import type { Table, Tables } from "../rows/schema.ts";

type ContextReaderTables = Pick<Tables, "blobs"> & Readonly<Record<"contexts" | "contextKeys", Pick<Table, "get">>>;

/** Reads contexts with their keys, for `BlockReader.pairwiseContext`. */
export class LmdbContextReader {
  readonly #tables: ContextReaderTables;
  readonly #snapshot: Snapshot;
  readonly #reads: DirectReads;

  constructor(root: Root, tables: ContextReaderTables, snapshot: Snapshot) {
    this.#tables = tables;
    this.#snapshot = snapshot;
    this.#reads = { snapshot, lent: { table: root, key: SCHEMA_KEY } };
  }

  // No snapshot is held between steps. Keys are erased only after they are unnamed: what is wrong is corrupt only if it
  // is named still.
  pairwiseContext(contextId: string): PairwiseContext {
    const scheme = this.#scheme(contextId);
    for (let row = this.#keysRow(contextId); ; ) {
      const keys = this.#keys(decodeKeysRow(row));
      const now = this.#keysRow(contextId);
      if (keys !== undefined) return { scheme, keys };
      if (now.equals(row)) throw corrupt(contextId);
      row = now;
    }
  }

  #scheme(contextId: string): PairwiseScheme {
    const { scheme } = decodeContext(contextId, this.#row("contexts", contextId));
    if (scheme.kind === "packed") throw new TypeError("a context of the packed scheme has no keys");
    return scheme;
  }

  #keysRow(contextId: string): Buffer {
    return this.#row("contextKeys", contextId);
  }

  #row(table: "contexts" | "contextKeys", contextId: string): Buffer {
    const row = this.#tables[table].get(idKey(contextId), this.#snapshot.options);
    this.#snapshot.release();
    if (row === undefined) throw contextNotFound(contextId);
    return row;
  }

  #keys({ relinKeys, galoisKeys }: ContextKeysRow): ContextKeys | undefined {
    const relin = this.#key(relinKeys);
    const galois = relin === undefined ? undefined : this.#key(galoisKeys);
    return relin === undefined || galois === undefined ? undefined : { relinKeys: relin, galoisKeys: galois };
  }

  #key(row: KeyRow): Uint8Array | undefined {
    return readKey(row, (blob, into) => {
      const length = readInto({ table: this.#tables.blobs, key: u48(blob) }, into, this.#reads);
      this.#snapshot.release();
      return length;
    });
  }
}

function corrupt(contextId: string): ServerError {
  return new ServerError(
    "STORED_CORRUPT",
    `a key of context ${contextId} does not have its SHA-256: restore the store from a backup, or delete the context and create it again`,
  );
}
