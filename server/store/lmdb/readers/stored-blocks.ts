import { ServerError, storedCorrupt } from "../../../errors.ts";
import { decodeBlock } from "../rows/block-rows.ts";
import type { BlockReader, RosterEntry, StoredBlock } from "../../gallery-store.ts";
import { galleryChanged } from "../../../errors.ts";
import { blockKey } from "../rows/schema.ts";
import type { Change, Tables } from "../rows/schema.ts";
import { LARGEST_CHUNK_BYTES } from "../rows/packed-chunks.ts";
import { changesAfter, entriesOfPacked, readEntry, rosterEntry } from "../tables/roster.ts";
import { Pace } from "../disk/turns.ts";
import type { Gate } from "../disk/turns.ts";

export interface StoredBlocksSource {
  readonly tables: Tables;
  readonly reader: BlockReader;
  readonly gallery: number;
  /** Whether the gallery is still the one that its id names. */
  readonly isThere: () => boolean;
  readonly gate: Gate;
}

/**
 * See {@link GalleryStore.readBlocks}. Between two steps no snapshot is held, only the revision that was reached; the
 * bytes are in memory of this iteration alone, as many may be under way on one thread.
 */
export async function* storedBlocks(source: StoredBlocksSource): AsyncGenerator<StoredBlock> {
  const { tables, gallery, isThere, gate } = source;
  const buffer = new Uint8Array(LARGEST_CHUNK_BYTES);
  const pace = new Pace(gate);
  for (let since = 0; ; ) {
    await pace.step();
    if (!isThere()) throw galleryChanged();
    const [next] = changesAfter(tables, gallery, since, 1);
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

function packedBlock({ tables, reader, gallery }: StoredBlocksSource, block: number, buffer: Uint8Array): StoredBlock {
  const { stride } = decodeBlock(tables.blocks.get(blockKey(gallery, block))!);
  const entries = entriesOfPacked(tables, gallery, block, 0, Infinity);
  return {
    kind: "packed",
    block,
    stride,
    entries,
    chunks: namingTemplates(entries, reader.packedChunks(gallery, block, buffer)),
  };
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
function looseTemplate({ tables, reader, gallery }: StoredBlocksSource, templateId: string): StoredBlock | undefined {
  const row = readEntry(tables, gallery, templateId);
  if (row === undefined) throw storedCorrupt(`the row of template "${templateId}"`);
  const { live, ...entry } = rosterEntry(templateId, row);
  if (live === undefined) return undefined;
  const { block, slot } = live.placement;
  const [found] = reader.looseTemplates(gallery, block, [slot]);
  if (found === undefined) return undefined;
  if (found.residues === undefined) throw storedCorrupt(`template "${templateId}"`);
  return { kind: "loose", entry: { ...entry, live }, residues: Uint8Array.from(found.residues) };
}
