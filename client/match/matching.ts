import type { Bounded } from "../remote/call-bounds.ts";
import type { Rpcs } from "../remote/calls.ts";
import type { Claim } from "../client-options.ts";
import { ComparisonReading } from "./comparison-reading.ts";
import type { ComparedTemplate } from "./comparison-reading.ts";
import { rankCandidates, refusedTemplates } from "./rank-candidates.ts";
import type { Candidate, RefusedTemplate } from "./rank-candidates.ts";
import { lacksBlock } from "./search-answer.ts";
import type { SearchAnswer } from "./search-answer.ts";
import { SearchReading } from "./search-reading.ts";
import type { Searched } from "./search-reading.ts";
import type { AskedGallery, OpenGallery } from "../open-galleries.ts";
import { isUnavailable, retrying } from "../remote/retrying.ts";
import { ProbeRequests } from "./probe-requests.ts";
import { invalidReply, toWireRosterState, toWireSpace } from "../remote/wire.ts";

/** What came of a comparison, or of one probe of a search: the nearest first, and what could not be compared. */
export interface Found {
  readonly candidates: readonly Candidate[];
  readonly refused: readonly RefusedTemplate[];
}

/** What a search is asked with: probes, and how many candidates each is to have at most. */
interface SearchQuestion {
  readonly embeddings: readonly ArrayLike<number>[];
  readonly maxCandidates: number;
}

/** Asks the matching server and reads its answers; asks again where the server went away meanwhile. */
export class Matching {
  readonly #rpcs: Rpcs;

  constructor(rpcs: Rpcs) {
    this.#rpcs = rpcs;
  }

  /** The subject's templates, nearest first. Throws ClientError as VeilfaceClient.verify. */
  async compare(asked: AskedGallery, claim: Claim, options: Bounded): Promise<Found> {
    const compared = await retrying(options.bounds, () => this.#compareOnce(asked, claim, options), isUnavailable);
    if (compared.length === 0) throw invalidReply("a comparison without any template");
    const candidates = compared.filter((template) => "distance" in template).sort((a, b) => a.distance - b.distance);
    return { candidates, refused: compared.filter((template) => "reason" in template) };
  }

  /** The nearest subjects of a gallery to each probe. Throws ClientError as VeilfaceClient.identify. */
  async search(asked: AskedGallery, question: SearchQuestion, options: Bounded): Promise<Found[]> {
    const { gallery, revision, blocks, ...searched } = await retrying(
      options.bounds,
      () => this.#searchOnce(asked, question, options),
      isUnavailable,
    );
    const answers = blocks.map((ofProbe): SearchAnswer => ({ revision, blocks: ofProbe }));
    let { table } = searched;
    // A block all of whose templates were deleted while the search ran is not there to be answered.
    if (answers.some((answer) => lacksBlock(table, answer))) {
      table = await gallery.roster.refresh(gallery.info.uid, options);
      await asked.confirm(gallery);
    }
    return answers.map((answer) => {
      const candidates = rankCandidates(table, answer, question.maxCandidates);
      return { candidates, refused: refusedTemplates(table, answer) };
    });
  }

  async #compareOnce(asked: AskedGallery, claim: Claim, options: Bounded): Promise<ComparedTemplate[]> {
    const { galleryId, known } = asked;
    using requests = new ProbeRequests({ galleryId, subjectId: claim.subjectId, ...spaceOf(known) });
    const reading = new ComparisonReading({ asked, claim, requests });
    for await (const { message } of this.#rpcs.stream(options, (rpc) =>
      this.#rpcs.services.matching.compareTemplates(requests.messages(), rpc),
    )) {
      reading.take(message);
    }
    return reading.compared;
  }

  async #searchOnce(asked: AskedGallery, { embeddings }: SearchQuestion, options: Bounded): Promise<Searched> {
    const { galleryId, known, roster } = asked;
    using update = await roster.begin(options);
    const target = { galleryId, probes: embeddings.length, roster: toWireRosterState(update.since), ...spaceOf(known) };
    using requests = new ProbeRequests(target);
    const reading = new SearchReading({ asked, embeddings, update, requests });
    for await (const { message } of this.#rpcs.stream(options, (rpc) =>
      this.#rpcs.services.matching.searchGallery(requests.messages(), rpc),
    )) {
      reading.take(message);
    }
    return await reading.finish();
  }
}

// Of a gallery that is not known the space is not either: it comes before the probe is made.
function spaceOf(known: OpenGallery | undefined): { space?: ReturnType<typeof toWireSpace> } {
  return known === undefined ? {} : { space: toWireSpace(known.info.space) };
}
