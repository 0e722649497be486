import { ServerError } from "../../server/errors.ts";
import type { RosterEntry } from "../../server/store/gallery-store.ts";
import {
  FULL_BYTES,
  PACKED_STRIDE,
  StoreFixture,
  chunksOf,
  placeOf,
  readAll,
  residuesOf,
} from "../unit/store/fixture.ts";

// Runs where no file may grow past a limit: the kernel then fails writes as it does on a full disk, with EFBIG for
// ENOSPC. Prints what it found as JSON.
process.on("SIGXFSZ", () => undefined);

/** Packed blocks instead of loose templates, each of one template, in three chunks. */
const packed = process.argv[2] === "packed";

async function put(fixture: StoreFixture, id: string): Promise<void> {
  if (packed) await fixture.putPacked([{ templateId: id, subjectId: "s" }], id, "g", PACKED_STRIDE, FULL_BYTES);
  else await fixture.put(id, "s", residuesOf(id, FULL_BYTES));
}

/**
 * Enrolls with 8 under way until one is refused; returns the ids that were acknowledged and the reasons of those that
 * were not.
 */
async function fill(fixture: StoreFixture, prefix: string): Promise<{ stored: string[]; reasons: string[] }> {
  const stored: string[] = [];
  const reasons: string[] = [];
  for (let round = 0; reasons.length === 0; round++) {
    const ids = Array.from({ length: 8 }, (_, i) => `${prefix}-${round}-${i}`);
    const settled = await Promise.allSettled(ids.map((id) => put(fixture, id)));
    settled.forEach((result, i) => {
      if (result.status === "fulfilled") stored.push(ids[i]!);
      else reasons.push(result.reason instanceof ServerError ? result.reason.reason : String(result.reason));
    });
  }
  return { stored, reasons };
}

/** Whether the store holds exactly these templates, each as it was enrolled. */
async function holds(fixture: StoreFixture, ids: readonly string[]): Promise<boolean> {
  const { entries } = await fixture.store.listEntries("g", 0, 10_000);
  const live = entries.filter((entry) => entry.live !== undefined);
  const ciphertexts = await readAll(fixture);
  const whole = live.every((entry) => isWhole(ciphertexts, entry));
  return (
    whole &&
    ciphertexts.size === ids.length * (packed ? 3 : 1) &&
    live
      .map(({ templateId }) => templateId)
      .sort()
      .join() === [...ids].sort().join()
  );
}

function isWhole(ciphertexts: Map<string, Uint8Array>, entry: RosterEntry): boolean {
  const { block } = entry.live!.placement;
  const [keys, expected] = packed
    ? [[0, 1, 2].map((i) => `${block}#${i}`), chunksOf(entry.templateId, FULL_BYTES)]
    : [[placeOf(entry)], [residuesOf(entry.templateId, FULL_BYTES)]];
  return keys.every((key, i) => Buffer.from(ciphertexts.get(key)!).equals(expected[i]!));
}

await using fixture = await StoreFixture.withGallery();
const first = await fill(fixture, "a");
const heldWhenFull = await holds(fixture, first.stored);
await fixture.reopen();
const heldAfterReopening = await holds(fixture, first.stored);
const half = first.stored.slice(0, first.stored.length / 2);
await fixture.store.deleteTemplates("g", { templateIds: half });
const second = await fill(fixture, "b");
const heldAtEnd = await holds(fixture, [...first.stored.slice(half.length), ...second.stored]);
process.stdout.write(
  JSON.stringify({
    first: first.stored.length,
    deleted: half.length,
    second: second.stored.length,
    reasons: [...new Set([...first.reasons, ...second.reasons])],
    heldWhenFull,
    heldAfterReopening,
    heldAtEnd,
  }),
);
