import { writeSync } from "node:fs";
import { LmdbStore } from "../../server/store/lmdb/lmdb-store.ts";
import { PAIRWISE, contextIdOf, keysOfContext } from "../unit/store/contexts-fixture.ts";

// Creates contexts with their keys and deletes two of three until it is killed. Says what it is about to do and what
// was acknowledged, one line each, written at once: "try" or "ack", "create" or "delete", context id.
const [path, first] = process.argv.slice(2);
const store = LmdbStore.open({ path: path! });
const say = (word: string, what: string, contextId: string): void =>
  void writeSync(1, `${word} ${what} ${contextId}\n`);

async function lane(number: number): Promise<void> {
  for (let version = Number(first); ; version++) {
    const contextId = contextIdOf(number, version);
    say("try", "create", contextId);
    await store.createContext({ contextId, scheme: PAIRWISE }, keysOfContext(contextId));
    say("ack", "create", contextId);
    if (version % 3 === 0) continue;
    say("try", "delete", contextId);
    await store.deleteContext(contextId, false);
    say("ack", "delete", contextId);
  }
}

await Promise.all([lane(0), lane(1), lane(2)]);
