import { readEmbeddings } from "@veilface/client";
import { isKnown, reworded } from "./errors.ts";
import { openClient } from "./options.ts";
import type { KeyFlags, ServerFlags } from "./options.ts";
import type { Outcome } from "./outcome.ts";
import { showProgress } from "./progress.ts";
import { struckText } from "./struck.ts";

/** Flags of enrolling embeddings that were made elsewhere. */
export interface EmbeddingsFlags {
  embeddings?: string;
  ids?: string;
  modelId?: string;
  modelVersion?: string;
}

/** Enrolls a file of embeddings: packed into blocks, with count, rate and time left. */
export async function enrollEmbeddings(
  galleryId: string,
  path: string,
  flags: KeyFlags & ServerFlags & EmbeddingsFlags,
  signal: AbortSignal,
): Promise<Outcome> {
  using opened = await openClient(flags, signal);
  const { space } = await opened.client.getGallery(galleryId, { signal });
  const { ids, modelId, modelVersion } = flags;
  const model = { ...(modelId !== undefined && { modelId }), ...(modelVersion !== undefined && { modelVersion }) };
  const start = performance.now();
  using progress = showProgress("templates");
  const done = { read: 0, fraction: 0, enrolled: 0 };
  const source = readEmbeddings(path, {
    dimension: space.dimension,
    ...(ids !== undefined && { ids }),
    onRead: (fraction) => (done.fraction = fraction),
  });
  const onProgress = (enrolled: number): void => {
    done.enrolled = enrolled;
    // How many there are is known once they are read; until then, by how much of the file was.
    progress.advance(enrolled, Math.max(enrolled, Math.round(done.read / Math.max(done.fraction, 1e-9))));
  };
  const struck = new Set<string>();
  const onStruck = (templateIds: readonly string[]): void => {
    templateIds.forEach((id) => struck.add(id));
  };
  try {
    await opened.client.enroll(galleryId, counted(source, done), { signal, onProgress, onStruck, ...model });
  } catch (cause) {
    throw partly(cause, done.enrolled, "templates");
  }
  const seconds = (performance.now() - start) / 1000;
  const text = `${done.enrolled} templates enrolled in ${galleryId} in ${seconds.toFixed(1)} s (${Math.round(done.enrolled / seconds)} a second)`;
  return {
    json: { galleryId, enrolled: done.enrolled, seconds: Number(seconds.toFixed(3)), struck: [...struck] },
    text: [text, ...struckText(galleryId, [...struck])],
    yes: true,
  };
}

async function* counted<T>(source: AsyncIterable<T>, done: { read: number }): AsyncGenerator<T, void, undefined> {
  for await (const item of source) {
    done.read++;
    yield item;
  }
}

/** The error, with how much was enrolled before it. `what`: such as "of 12 photos". */
export function partly(cause: unknown, enrolled: number, what: string): unknown {
  if (!isKnown(cause) || enrolled === 0) return cause;
  return reworded(
    cause,
    `${cause.message} (${enrolled} ${what} are enrolled; run it again once this is settled, none is doubled)`,
  );
}
