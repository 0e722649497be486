import { ServerError, galleryChanged, storedCorrupt } from "../../../errors.ts";
import type { BlockReader, RosterEntry, StoredBlock } from "../../gallery-store.ts";
import type { Change, Tables } from "../rows/schema.ts";
import { LARGEST_CHUNK_BYTES } from "../rows/packed-chunks.ts";
import { readPacked } from "../tables/packed-lookup.ts";
import { changesAfter, entriesOfPacked, readChanged, rosterEntry } from "../tables/roster.ts";
import { Pace } from "../disk/turns.ts";
import type { Gate } from "../disk/turns.ts";

interface StoredBlocksSource {
  readonly tables: Tables;
  readonly reader: BlockReader;
  readonly gallery: number;
  /** Whether the gallery is still the one that its id names. */
  readonly isThere: () => boolean;
  readonly gate: Gate;
}

/**
 * See `GalleryStore.readBlocks`. Between two steps no snapshot is held, only the revision that was reached; the
 * bytes are in memory of this iteration alone, as many may be under way on one thread.
 */
export async function* storedBlocks(source: StoredBlocksSource): AsyncGenerator<StoredBlock> {
  const { isThere, gate } = source;
  const buffer = new Uint8Array(LARGEST_CHUNK_BYTES);
  const pace = new Pace(gate);
  for (let since = 0; ; ) {
    await pace.step();
    if (!isThere()) throw galleryChanged();
    const [next] = changesAfter(source, { since, most: 1 });
    if (next === undefined) return;
    since = next.revision;
    const found = storedBlock(source, next.change, buffer);
    if (found !== undefined) yield found;
  }
}

function storedBlock(source: StoredBlocksSource, change: Change, buffer: Uint8Array): StoredBlock | undefined {
  return "packedBlock" in change
    ? packedBlock(source, change.packedBlock, buffer)
    : looseTemplate(source, change.templateId);
}

function packedBlock(source: StoredBlocksSource, block: number, buffer: Uint8Array): StoredBlock {
  const { tables, reader, gallery } = source;
  const { stride } = readPacked(tables, gallery, block);
  const entries = entriesOfPacked(source, block);
  const chunks = namingTemplates(entries, reader.packedChunks(gallery, block, buffer));
  return { kind: "packed", block, stride, entries, chunks };
}

/** The same chunks; where one is damaged, the error names the templates that are lost with it. */
function* namingTemplates(entries: readonly RosterEntry[], chunks: Iterable<Uint8Array>): Generator<Uint8Array> {
  try {
    yield* chunks;
  } catch (error) {
    if (!(error instanceof ServerError && error.reason === "STORED_CORRUPT")) throw error;
    const [first, ...others] = entries.map(({ templateId }) => `"${templateId}"`);
    throw storedCorrupt(`the packed block of template ${first} and ${others.length} others`);
  }
}

/** Undefined for one that was deleted. */
function looseTemplate(source: StoredBlocksSource, templateId: string): StoredBlock | undefined {
  const { reader, gallery } = source;
  const { live, ...entry } = rosterEntry(templateId, readChanged(source, templateId));
  if (live === undefined) return undefined;
  const { block, slot } = live.placement;
  const [found] = reader.looseTemplates(gallery, block, [slot]);
  if (found === undefined) return undefined;
  if (found.residues === undefined) throw storedCorrupt(`template "${templateId}"`);
  return { kind: "loose", entry: { ...entry, live }, residues: Uint8Array.from(found.residues) };
}
