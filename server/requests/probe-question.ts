import type { CompareTarget, EmbeddingSpace, ProbePiece } from "@veilface/proto";
import { ServerError } from "../errors.ts";
import { PACE, RETRY_AFTER_MS } from "../limits.ts";
import type { GalleryStore, ReaderLocation, StoredGallery } from "../store/gallery-store.ts";
import { Patience, forEachItem, patiently } from "../streams.ts";
import { absent, anyReplyEncoding, embeddingSpace, required, resourceId, sameSpace } from "./from-wire.ts";
import { schemeOf } from "./gallery-scheme.ts";
import type { SchemeProbe, Serving } from "./gallery-scheme.ts";
import { readAll } from "./read-all.ts";
import type { Holding, WaitingBytes } from "./waiting-bytes.ts";

/** What comparisons and searches are made with. */
export interface Comparing extends Serving {
  /** Probes that wait for the rest of them, or for their answers. */
  readonly probes: WaitingBytes;
}

/** A message of a comparison or a search: the first one has the target, any may have pieces of the probe. */
export interface ProbeMessage<Target> {
  readonly target: Target | undefined;
  readonly pieces: readonly ProbePiece[];
}

/** What both kinds of target have. */
export interface AnyTarget {
  readonly galleryId: string;
  readonly space: EmbeddingSpace | undefined;
  readonly replyEncoding: CompareTarget["replyEncoding"];
  /** In a comparison with one subject's templates. */
  readonly subjectId?: string;
}

/** A gallery with the probe that was sent for it. */
export interface Question<Target> {
  readonly target: Target;
  readonly gallery: StoredGallery;
  readonly probe: SchemeProbe;
}

/**
 * The question of a stream, once its client has sent all of it. Throws ServerError LIMIT_EXCEEDED for a client that is
 * too slow.
 */
export async function receiveQuestion<Target extends AnyTarget>(
  comparing: Comparing,
  messages: AsyncIterable<ProbeMessage<Target>>,
  holding: Holding,
): Promise<Question<Target>> {
  const patience = new Patience(PACE);
  patience.interrupt = holding.signal;
  let question: Question<Target> | undefined;
  await forEachItem(patiently(messages, patience, tooSlow), async ({ target, pieces }) => {
    if (question === undefined) question = questionOf(comparing, required("target", target), holding);
    else absent("target", target);
    const before = holding.bytes;
    await question.probe.add(pieces);
    patience.earn(holding.bytes - before);
  });
  const received = required("target", question);
  holding.settle();
  return received;
}

/** Throws ServerError GALLERY_CHANGED where another gallery has its id by now. */
export function checkUnchanged(store: GalleryStore, { galleryId }: StoredGallery, location: ReaderLocation): void {
  if (store.readerLocation(galleryId).gallery === location.gallery) return;
  const message = `gallery "${galleryId}" was replaced while it was read: read it again and retry`;
  throw new ServerError("GALLERY_CHANGED", message);
}

function tooSlow(): ServerError {
  const { graceMs, bytesPerSecond } = PACE;
  const expected = `expected all of it without a pause of ${graceMs / 1000} s, and ${bytesPerSecond} bytes a second at the least`;
  const message = `the probe came too slowly: ${expected}; send it again, in smaller messages on a slow link`;
  return new ServerError("LIMIT_EXCEEDED", message, { retryAfterMs: RETRY_AFTER_MS });
}

function questionOf<Target extends AnyTarget>(
  comparing: Comparing,
  target: Target,
  holding: Holding,
): Question<Target> {
  const { galleryId, space } = readAll({
    galleryId: () => resourceId("target.gallery_id", target.galleryId),
    space: () => embeddingSpace("target.space", target.space),
    subjectId: () => target.subjectId !== undefined && resourceId("target.subject_id", target.subjectId),
    replyEncoding: () => {
      anyReplyEncoding("target.reply_encoding", target.replyEncoding);
    },
  });
  const gallery = comparing.store.getGallery(galleryId);
  const { probe } = readAll({
    space: () => {
      sameSpace("target.space", space, gallery.space);
    },
    probe: () => schemeOf(comparing, gallery).openProbe(target.replyEncoding, holding),
  });
  return { target, gallery, probe };
}
