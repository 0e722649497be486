import { writeSync } from "node:fs";
import { LmdbStore } from "../../server/store/lmdb/lmdb-store.ts";
import { CONTEXT } from "../unit/store/fixture.ts";

// Deletes the templates of all subjects ("templates") or the context with its galleries ("context"). Says "go" when it
// begins and "done" when it is acknowledged, at once.
const [path, what] = process.argv.slice(2);
const store = LmdbStore.open({ path: path! });
writeSync(1, "go\n");
if (what === "templates") await store.deleteTemplates("g", { subjectIds: ["s-0", "s-1", "s-2"] });
else await store.deleteContext(CONTEXT, true);
writeSync(1, "done\n");
setInterval(() => undefined, 1000);
