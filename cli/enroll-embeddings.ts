import { readEmbeddings } from "@veilface/client";
import type { EnrollOptions, ModelOption } from "@veilface/client";
import { definedOnly } from "@veilface/client/advanced";
import { isKnown, reworded } from "./errors.ts";
import { openClient } from "./options.ts";
import type { KeyFlags, ServerFlags } from "./options.ts";
import type { Outcome } from "./outcome.ts";
import { showProgress } from "./progress.ts";
import type { Progress } from "./progress.ts";
import { struckText } from "./struck.ts";

/** Flags of enrolling embeddings that were made elsewhere. */
export interface EmbeddingsFlags {
  embeddings?: string;
  ids?: string;
  modelId?: string;
  modelVersion?: string;
}

/** A file of embeddings, and where they go. */
interface EmbeddingsToEnroll {
  readonly galleryId: string;
  readonly path: string;
}

/** How far an enrollment has come. */
interface Advance {
  /** Embeddings, and the part of the file that they are, in [0, 1]. */
  read: number;
  fraction: number;
  enrolled: number;
  /** Templates that were replaced and whose bits stay in packed blocks. */
  readonly struck: Set<string>;
}

/** Enrolls a file of embeddings: packed into blocks, with count, rate and time left. */
export async function enrollEmbeddings(
  { galleryId, path }: EmbeddingsToEnroll,
  flags: KeyFlags & ServerFlags & EmbeddingsFlags,
  signal: AbortSignal,
): Promise<Outcome> {
  using opened = await openClient(flags, signal);
  const { space } = await opened.client.getGallery(galleryId, { signal });
  const { ids } = flags;
  const start = performance.now();
  const done: Advance = { read: 0, fraction: 0, enrolled: 0, struck: new Set() };
  const onRead = (fraction: number): number => (done.fraction = fraction);
  const source = readEmbeddings(path, definedOnly({ dimension: space.dimension, ids, onRead }));
  using progress = showProgress("templates");
  const options = { signal, ...modelNamed(flags), ...keepingAccount(done, progress) };
  try {
    await opened.client.enroll(galleryId, counted(source, done), options);
  } catch (cause) {
    throw partly(cause, done.enrolled, "templates");
  }
  return outcomeOf(galleryId, done, (performance.now() - start) / 1000);
}

function modelNamed({ modelId, modelVersion }: EmbeddingsFlags): ModelOption {
  return definedOnly({ modelId, modelVersion });
}

function keepingAccount(done: Advance, progress: Progress): Required<Pick<EnrollOptions, "onProgress" | "onStruck">> {
  return {
    onProgress: (enrolled) => {
      done.enrolled = enrolled;
      // How many there are is known once they are read; until then, by how much of the file was.
      progress.advance(enrolled, Math.max(enrolled, Math.round(done.read / Math.max(done.fraction, 1e-9))));
    },
    onStruck: (templateIds) => {
      templateIds.forEach((id) => done.struck.add(id));
    },
  };
}

async function* counted<T>(source: AsyncIterable<T>, done: Advance): AsyncGenerator<T, void, undefined> {
  for await (const item of source) {
    done.read++;
    yield item;
  }
}

function outcomeOf(galleryId: string, { enrolled, struck }: Advance, seconds: number): Outcome {
  const text = `${enrolled} templates enrolled in ${galleryId} in ${seconds.toFixed(1)} s (${Math.round(enrolled / seconds)} a second)`;
  return {
    json: { galleryId, enrolled, seconds: Number(seconds.toFixed(3)), struck: [...struck] },
    text: [text, ...struckText(galleryId, [...struck])],
    yes: true,
  };
}

/** The error, with how much was enrolled before it. `what`: such as "of 12 photos". */
export function partly(cause: unknown, enrolled: number, what: string): unknown {
  if (!isKnown(cause) || enrolled === 0) return cause;
  return reworded(
    cause,
    `${cause.message} (${enrolled} ${what} are enrolled; run it again once this is settled, none is doubled)`,
  );
}
