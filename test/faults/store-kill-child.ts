import { writeSync } from "node:fs";
import { LmdbStore } from "../../server/store/lmdb/lmdb-store.ts";
import { FULL_BYTES, SLOTS, STRIDE, residuesOf } from "../unit/store/fixture.ts";

// Enrolls, replaces and deletes until it is killed. Says what it is about to do and what was acknowledged, one line
// each, written at once: "try" or "ack", template id, version; version 0 is a deletion.
const [path, firstVersion] = process.argv.slice(2);
const store = LmdbStore.open({ path: path! });
const say = (word: string, id: string, version: number): void => void writeSync(1, `${word} ${id} ${version}\n`);

async function put(id: string, version: number): Promise<void> {
  const subjectId = `s-${version % 3}`;
  const placement = store.reservePlacement("g", { templateId: id, subjectId }, { stride: STRIDE, slots: SLOTS });
  await store.putLooseTemplate("g", {
    templateId: id,
    subjectId,
    placement,
    residues: residuesOf(`${id}/${version}`, FULL_BYTES),
  });
}

async function lane(number: number): Promise<void> {
  for (let version = Number(firstVersion); ; version++) {
    const id = `t-${number}-${version % 4}`;
    say("try", id, version);
    await put(id, version);
    say("ack", id, version);
    if (version % 5 !== number % 5) continue;
    say("try", id, 0);
    await store.deleteTemplates("g", { templateIds: [id] });
    say("ack", id, 0);
  }
}

await Promise.all(Array.from({ length: 16 }, (_, number) => lane(number)));
