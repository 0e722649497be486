import { MAX_PROBES_PER_SEARCH } from "@veilface/proto";
import type { CompareTarget, EmbeddingSpace, ProbePieces } from "@veilface/proto";
import { ServerError, fieldInvalid, tooSlow } from "../errors.ts";
import { PACE } from "../limits.ts";
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

/** A message of a comparison or a search. */
export interface ProbeMessage<Target> {
  readonly message?:
    | { readonly $case: "target"; readonly value: Target }
    | { readonly $case: "pieces"; readonly value: ProbePieces }
    | undefined;
}

/** What both kinds of target have. */
export interface AnyTarget {
  readonly galleryId: string;
  readonly space: EmbeddingSpace | undefined;
  readonly replyEncoding: CompareTarget["replyEncoding"];
  /** In a comparison with one subject's templates. */
  readonly subjectId?: string;
  /** In a search. */
  readonly probes?: number;
}

/** Where a question is asked: a gallery as it was when the target came. */
interface Place {
  readonly gallery: StoredGallery;
  readonly location: ReaderLocation;
  readonly probe: SchemeProbe;
}

/** A gallery, and the probe that is sent for it: the target is known first, the probe once its client has sent it. */
export class Question<Target extends AnyTarget> {
  readonly target: Target;
  readonly gallery: StoredGallery;
  /** Where the gallery's blocks are. */
  readonly location: ReaderLocation;
  readonly #store: GalleryStore;
  readonly #probe: SchemeProbe;
  readonly #messages: AsyncIterableIterator<ProbeMessage<Target>>;
  readonly #patience: Patience;
  readonly #holding: Holding;

  private constructor(target: Target, comparing: Comparing, incoming: Incoming<Target>) {
    const { gallery, location, probe } = placeOf(comparing, target, incoming.holding);
    this.target = target;
    this.gallery = gallery;
    this.location = location;
    this.#store = comparing.store;
    this.#probe = probe;
    this.#messages = incoming.messages;
    this.#patience = incoming.patience;
    this.#holding = incoming.holding;
  }

  /**
   * Reads a stream's target. The probe's bytes will be counted in `holding`. Throws ServerError with what is wrong with
   * the target, GALLERY_NOT_FOUND, SPACE_MISMATCH, TOO_SLOW.
   */
  static async open<Target extends AnyTarget>(
    comparing: Comparing,
    requests: AsyncIterable<ProbeMessage<Target>>,
    holding: Holding,
  ): Promise<Question<Target>> {
    const patience = new Patience(PACE);
    patience.interrupt = holding.signal;
    const messages = patiently(requests, patience, cameTooSlowly);
    const first = await messages.next();
    const message = first.done === true ? undefined : first.value.message;
    const target = required("target", message?.$case === "target" ? message.value : undefined);
    return new Question(target, comparing, { messages, patience, holding });
  }

  /** The client has something to read first, which may take it long: whether it sends meanwhile is its own affair. */
  pausePatience(): void {
    this.#patience.pause();
  }

  /** The client has nothing to do any more but to send its probe. */
  resumePatience(): void {
    this.#patience.resume();
  }

  /** The probe, once its client has sent all of it. Throws ServerError TOO_SLOW, and as SchemeProbe.add. */
  async receiveProbe(): Promise<SchemeProbe> {
    this.#patience.renew();
    await forEachItem(this.#messages, async ({ message }) => {
      absent("target", message?.$case === "target" ? message : undefined);
      const { pieces } = required("pieces", message?.$case === "pieces" ? message.value : undefined);
      const before = this.#holding.bytes;
      await this.#probe.add(pieces);
      this.#patience.earn(this.#holding.bytes - before);
    });
    this.#holding.settle();
    this.checkUnchanged();
    return this.#probe;
  }

  /** Throws ServerError GALLERY_CHANGED where another gallery has its id by now. */
  checkUnchanged(): void {
    const { galleryId } = this.gallery;
    if (this.#store.readerLocation(galleryId).gallery === this.location.gallery) return;
    const message = `gallery "${galleryId}" was replaced while it was read: read it again and retry`;
    throw new ServerError("GALLERY_CHANGED", message);
  }
}

/** The messages after the target, and what bounds them. */
interface Incoming<Target> {
  readonly messages: AsyncIterableIterator<ProbeMessage<Target>>;
  readonly patience: Patience;
  readonly holding: Holding;
}

function cameTooSlowly(): ServerError {
  const { graceMs, bytesPerSecond } = PACE;
  const expected = `expected all of it without a pause of ${graceMs / 1000} s, and ${bytesPerSecond} bytes a second at the least`;
  const message = `the probe came too slowly: ${expected}; send it again, in smaller messages on a slow link`;
  return tooSlow(message);
}

function placeOf(comparing: Comparing, target: AnyTarget, holding: Holding): Place {
  const { galleryId, space, probes } = readAll({
    galleryId: () => resourceId("target.gallery_id", target.galleryId),
    space: () => target.space && embeddingSpace("target.space", target.space),
    subjectId: () => target.subjectId !== undefined && resourceId("target.subject_id", target.subjectId),
    probes: () => probeCount("target.probes", target.probes ?? 0),
    replyEncoding: () => {
      anyReplyEncoding("target.reply_encoding", target.replyEncoding);
    },
  });
  const gallery = comparing.store.getGallery(galleryId);
  const { probe } = readAll({
    space: () => {
      if (space !== undefined) sameSpace("target.space", space, gallery.space);
    },
    probe: () => schemeOf(comparing, gallery).openProbe({ replyEncoding: target.replyEncoding, probes, holding }),
  });
  return { gallery, location: comparing.store.readerLocation(galleryId), probe };
}

function probeCount(field: string, value: number): number {
  if (value < 0 || value > MAX_PROBES_PER_SEARCH)
    throw fieldInvalid(field, `must be in [1, ${MAX_PROBES_PER_SEARCH}], or 0 for 1`);
  return Math.max(1, value);
}
