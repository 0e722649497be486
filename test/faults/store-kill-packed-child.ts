import { writeSync } from "node:fs";
import { LmdbStore } from "../../server/store/lmdb/lmdb-store.ts";
import {
  CONTEXT,
  FULL_BYTES,
  PACKED_STRIDE,
  PLAIN,
  SLOTS,
  STRIDE,
  chunksOf,
  residuesOf,
} from "../unit/store/fixture.ts";

// Packs blocks ("pack") or replaces the gallery ("replace") until it is killed. Says what it is about to do and what
// was acknowledged, one line each, written at once: "try" or "ack", a lane, a version.
const [path, mode, firstVersion] = process.argv.slice(2);
const store = LmdbStore.open({ path: path! });
const say = (word: string, lane: number, version: number): void => void writeSync(1, `${word} ${lane} ${version}\n`);

async function pack(galleryId: string, lane: number, version: number): Promise<void> {
  const slots = Array.from({ length: 8 }, (_, i) => ({ templateId: `t-${lane}-${i}`, subjectId: `s-${version}` }));
  const { gallery } = store.readerLocation(galleryId);
  await store.putPackedBlock(galleryId, {
    gallery,
    stride: PACKED_STRIDE,
    slots,
    chunks: chunksOf(`${lane}/${version}`, FULL_BYTES),
  });
}

async function putLoose(galleryId: string, version: number): Promise<void> {
  const [templateId, subjectId] = ["loose", `s-${version}`];
  const placement = store.reservePlacement(galleryId, { templateId, subjectId }, { stride: STRIDE, slots: SLOTS });
  await store.putLooseTemplate(galleryId, {
    templateId,
    subjectId,
    placement,
    residues: residuesOf(`loose/${version}`, FULL_BYTES),
  });
}

async function replace(version: number): Promise<void> {
  await store.createGallery({ galleryId: "d", contextId: CONTEXT, ...PLAIN, draftOf: "g" });
  await Promise.all([pack("d", 0, version), pack("d", 1, version), putLoose("d", version)]);
  await store.replaceGallery("g", "d", store.getGallery("g").revision);
}

async function lane(number: number, change: (version: number) => Promise<void>): Promise<void> {
  for (let version = Number(firstVersion); ; version++) {
    say("try", number, version);
    await change(version);
    say("ack", number, version);
  }
}

if (mode === "pack")
  await Promise.all([0, 1, 2, 3].map((number) => lane(number, (version) => pack("g", number, version))));
else await lane(0, replace);
