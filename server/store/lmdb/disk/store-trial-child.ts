// Opens the store of the first argument with a map of the second's bytes, looks into every table, and prints what is
// wrong with it: nothing where all is well. What ends a process by a signal ends this one.
import { checkPages } from "./data-folder.ts";
import { openEnvironment } from "./environment.ts";
import type { Environment } from "./environment.ts";
import { SCHEMA_KEY } from "../rows/schema.ts";
import type { Table } from "../rows/schema.ts";

/**
 * Keys read of each table: more would take long in a large store, and damage further in is told by whoever meets it.
 */
const KEYS_PER_TABLE = 1000;

/** As long as it takes to look at the pages of most stores: a million templates in blocks have some thousands. */
const LOOK_MS = 3000;

const [path = "", mapBytes] = process.argv.slice(2);
process.stdout.write(await trial(path, Number(mapBytes)));

async function trial(folder: string, bytes: number): Promise<string> {
  try {
    const environment = openEnvironment(folder, bytes);
    // Once the folder is this process's own: nobody writes.
    checkPages(environment.path, LOOK_MS);
    const tables: readonly Table[] = Object.values(environment.tables);
    for (const table of tables) table.getKeysCount({ limit: KEYS_PER_TABLE });
    commit(environment);
    await environment.close();
    return "";
  } catch (error) {
    return error instanceof Error && error.message !== "" ? error.message : String(error);
  }
}

/**
 * A commit that changes nothing looks for free pages. A full disk does not keep a store from being opened: things can
 * be deleted.
 */
function commit({ root }: Environment): void {
  try {
    const schema = root.get(SCHEMA_KEY);
    if (schema !== undefined) root.putSync(SCHEMA_KEY, schema);
  } catch {
    return;
  }
}
