import type { BlockComparison, ComparedSubject, CompareTemplatesResponse } from "@veilface/proto";
import type { Claim } from "../client-options.ts";
import { ClientError } from "../errors.ts";
import type { AskedGallery, OpenGallery } from "../open-galleries.ts";
import { checkStridesOf, fromLiveWireEntry, fromWireGallery, invalidReply } from "../remote/wire.ts";
import { Probe } from "./probe.ts";
import type { ProbeRequests } from "./probe-requests.ts";
import type { Candidate, RefusedTemplate } from "./rank-candidates.ts";
import { checkDistance, refusalOf } from "./search-answer.ts";
import { readDistances } from "./search-reading.ts";

/** A template's comparison. */
export type ComparedTemplate = Candidate | RefusedTemplate;

/** A comparison that is being asked. */
export interface AskedComparison {
  readonly asked: AskedGallery;
  readonly claim: Claim;
  readonly requests: ProbeRequests<unknown>;
}

/** Reads the answers of one comparison, and sends its probe once it is known at which strides. */
export class ComparisonReading {
  readonly compared: ComparedTemplate[] = [];
  readonly #comparison: AskedComparison;
  #probe: Probe | undefined;
  #gallery: OpenGallery | undefined;

  /** Throws ClientError EMBEDDING_INVALID. */
  constructor(comparison: AskedComparison) {
    this.#comparison = comparison;
    const { known } = comparison.asked;
    // Of one stride there is nothing to ask: the subject's templates can have no other.
    if (known?.info.strides.length === 1) this.#send(known, known.info.strides);
  }

  /** Takes the next message. Throws ClientError REPLY_INVALID, KEY_MISMATCH, MODEL_MISMATCH, ROSTER_STALE. */
  take(message: CompareTemplatesResponse["message"]): void {
    if (message?.$case === "subject") this.#open(message.value);
    else this.#read(message?.value);
  }

  #open({ gallery, strides }: ComparedSubject): void {
    const { asked } = this.#comparison;
    this.#gallery = asked.open(fromWireGallery(gallery));
    checkStridesOf(this.#gallery.info, strides);
    const sent = this.#probe?.strides ?? this.#send(this.#gallery, strides);
    if (!strides.every((stride) => sent.has(stride))) throw otherStrides(asked.galleryId);
  }

  #send(gallery: OpenGallery, strides: readonly number[]): ReadonlySet<number> {
    const { claim, requests } = this.#comparison;
    const probe = new Probe(gallery, [claim.embedding], strides);
    requests.send(probe.pieces());
    this.#probe = probe;
    return probe.strides;
  }

  #read(comparison: BlockComparison | undefined): void {
    if (this.#gallery === undefined || this.#probe === undefined)
      throw invalidReply("a comparison without its gallery");
    const { subjectId } = this.#comparison.claim;
    const answer = readDistances(this.#gallery, this.#probe, comparison?.distances);
    for (const { templateId, subjectId: owner, placement } of (comparison?.entries ?? []).map(fromLiveWireEntry)) {
      const { block, slot, stride } = placement;
      if (owner !== subjectId || block !== answer.block || stride !== answer.stride) throw strayTemplate();
      const reason = refusalOf(answer, slot);
      const distance = answer.distances[slot];
      if (reason !== undefined) this.compared.push({ subjectId, templateId, reason });
      else if (distance === undefined) throw strayTemplate();
      else this.compared.push({ subjectId, templateId, distance: checkDistance(distance) });
    }
  }
}

function otherStrides(galleryId: string): ClientError {
  return new ClientError("ROSTER_STALE", `gallery "${galleryId}" has blocks of other strides by now: try again`);
}

function strayTemplate(): ClientError {
  return invalidReply("a comparison with a template that was not asked for or is not in its block");
}
