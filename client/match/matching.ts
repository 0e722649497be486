import type { BlockComparison, EncryptedDistances } from "@veilface/proto";
import { callStream } from "../remote/calls.ts";
import type { CallOptions } from "../remote/calls.ts";
import type { Services } from "../remote/channel.ts";
import type { Claim } from "../client-options.ts";
import { rankCandidates, refusedTemplates } from "./rank-candidates.ts";
import type { Candidate, RefusedTemplate } from "./rank-candidates.ts";
import { checkDistance, lacksBlock, refusalOf } from "./search-answer.ts";
import type { BlockDistances, SearchAnswer } from "./search-answer.ts";
import { ClientError } from "../errors.ts";
import type { KeyHolder } from "../keys/key-holder.ts";
import type { AskedGallery, OpenGallery } from "../open-galleries.ts";
import { isUnavailable, retrying } from "../remote/retrying.ts";
import type { RosterTable } from "../roster/roster-table.ts";
import { Probe, searchStrides } from "./probe.ts";
import { ProbeRequests } from "./probe-requests.ts";
import {
  fromLiveWireEntry,
  fromWireChange,
  fromWireCiphertext,
  fromWireGallery,
  fromWireRefusal,
  invalidReply,
  toWireRosterState,
  toWireSpace,
} from "../remote/wire.ts";

/** What came of a comparison, or of one probe of a search: the nearest first, and what could not be compared. */
export interface Found {
  readonly candidates: readonly Candidate[];
  readonly refused: readonly RefusedTemplate[];
}

/** What a search is asked with: probes, and how many candidates each is to have at most. */
export interface SearchQuestion {
  readonly embeddings: readonly ArrayLike<number>[];
  readonly maxCandidates: number;
}

/** A template's comparison. */
type ComparedTemplate = Candidate | RefusedTemplate;

/** All that a search's stream told. */
interface Searched {
  readonly gallery: OpenGallery;
  readonly table: RosterTable;
  readonly revision: number;
  /** By probe. */
  readonly blocks: readonly BlockDistances[][];
}

const NONE = new Float64Array();

/** Asks the matching server and reads its answers; asks again where the server went away meanwhile. */
export class Matching {
  readonly #services: Services;
  readonly #keyHolder: KeyHolder;

  constructor(services: Services, keyHolder: KeyHolder) {
    this.#services = services;
    this.#keyHolder = keyHolder;
  }

  /** The subject's templates, nearest first. Throws ClientError as VeilfaceClient.verify. */
  async compare(asked: AskedGallery, claim: Claim, options: CallOptions): Promise<Found> {
    const compared = await retrying(options, () => this.#compareOnce(asked, claim, options), isUnavailable);
    if (compared.length === 0) throw invalidReply("a comparison without any template");
    const candidates = compared.filter((template) => "distance" in template).sort((a, b) => a.distance - b.distance);
    return { candidates, refused: compared.filter((template) => "reason" in template) };
  }

  /** The nearest subjects of a gallery to each probe. Throws ClientError as VeilfaceClient.identify. */
  async search(asked: AskedGallery, question: SearchQuestion, options: CallOptions): Promise<Found[]> {
    const { gallery, revision, blocks, ...searched } = await retrying(
      options,
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

  async #compareOnce(asked: AskedGallery, claim: Claim, options: CallOptions): Promise<ComparedTemplate[]> {
    const { galleryId, known } = asked;
    const { subjectId, embedding } = claim;
    using requests = new ProbeRequests({ galleryId, subjectId, ...spaceOf(known) });
    // Of one stride there is nothing to ask: the subject's templates can have no other.
    let probe = known?.info.strides.length === 1 ? new Probe(known, [embedding], known.info.strides) : undefined;
    if (probe !== undefined) requests.send(probe.pieces());
    let gallery: OpenGallery | undefined;
    const compared: ComparedTemplate[] = [];
    for await (const { message } of callStream(this.#services.address, options, (signal) =>
      this.#services.matching.compareTemplates(requests.messages(), { signal }),
    )) {
      if (message?.$case === "subject") {
        const { gallery: described, strides } = message.value;
        gallery = asked.open(fromWireGallery(described));
        probe ??= sent(requests, new Probe(gallery, [embedding], strides));
        if (strides.some((stride) => probe?.strides.has(stride) !== true)) throw otherStrides(galleryId);
      } else if (message?.$case === "comparison" && gallery !== undefined && probe !== undefined) {
        compared.push(...this.#readComparison({ gallery, probe, subjectId }, message.value));
      } else {
        throw invalidReply("a comparison without its gallery, or with a message that is not known");
      }
    }
    return compared;
  }

  async #searchOnce(asked: AskedGallery, question: SearchQuestion, options: CallOptions): Promise<Searched> {
    const { galleryId, known, roster } = asked;
    const { embeddings } = question;
    using update = await roster.begin(options);
    const target = { galleryId, probes: embeddings.length, roster: toWireRosterState(update.since), ...spaceOf(known) };
    using requests = new ProbeRequests(target);
    let probe = known && sent(requests, new Probe(known, embeddings, searchStrides(known)));
    let gallery: OpenGallery | undefined;
    let revision: number | undefined;
    const blocks = embeddings.map((): BlockDistances[] => []);
    for await (const { message } of callStream(this.#services.address, options, (signal) =>
      this.#services.matching.searchGallery(requests.messages(), { signal }),
    )) {
      if (message?.$case === "gallery") {
        gallery = asked.open(fromWireGallery(message.value));
        update.of(gallery.info.uid);
        probe ??= sent(requests, new Probe(gallery, embeddings, searchStrides(gallery)));
      } else if (gallery === undefined || probe === undefined) {
        throw invalidReply("a search without its gallery");
      } else if (message?.$case === "rosterChanges") {
        update.add(message.value.entries.map(fromWireChange));
      } else if (message?.$case === "start") {
        ({ revision } = message.value);
      } else {
        const distances = message?.value;
        blocks[distances?.probe ?? 0]?.push(this.#readDistances(gallery, probe, distances));
      }
    }
    if (gallery === undefined || revision === undefined) throw invalidReply("a search without its revision");
    return { gallery, table: await update.finish(revision), revision, blocks };
  }

  #readComparison(asked: SentClaim, { distances, entries }: BlockComparison): ComparedTemplate[] {
    const { gallery, probe, subjectId } = asked;
    const answer = this.#readDistances(gallery, probe, distances);
    return entries.map(fromLiveWireEntry).map(({ templateId, subjectId: owner, placement }) => {
      const { block, slot, stride } = placement;
      if (owner !== subjectId || block !== answer.block || stride !== answer.stride) throw strayTemplate();
      const reason = refusalOf(answer, slot);
      if (reason !== undefined) return { subjectId, templateId, reason };
      const distance = answer.distances[slot];
      if (distance === undefined) throw strayTemplate();
      return { subjectId, templateId, distance: checkDistance(distance) };
    });
  }

  #readDistances({ crypto }: OpenGallery, probe: Probe, wire: EncryptedDistances | undefined): BlockDistances {
    if (wire === undefined) throw invalidReply("an answer without distances");
    const { block, stride } = wire;
    const squaredNorm = probe.squaredNorm(wire.probe);
    if (squaredNorm === undefined) throw invalidReply("distances to a probe that was not sent");
    if (!probe.strides.has(stride)) throw invalidReply("distances at a stride that the probe does not have");
    const refusal = fromWireRefusal(wire);
    if (refusal !== undefined && refusal.slots === undefined) return { block, stride, distances: NONE, refusal };
    const product = fromWireCiphertext(this.#keyHolder.contextId, wire.ciphertext);
    const distances = crypto.decryptDistances(stride, product, squaredNorm);
    return { block, stride, distances, ...(refusal && { refusal }) };
  }
}

/** A claim whose probe was sent. */
interface SentClaim {
  readonly gallery: OpenGallery;
  readonly probe: Probe;
  readonly subjectId: string;
}

function sent<Target>(requests: ProbeRequests<Target>, probe: Probe): Probe {
  requests.send(probe.pieces());
  return probe;
}

// Of a gallery that is not known the space is not either: it comes before the probe is made.
function spaceOf(known: OpenGallery | undefined): { space?: ReturnType<typeof toWireSpace> } {
  return known === undefined ? {} : { space: toWireSpace(known.info.space) };
}

function otherStrides(galleryId: string): ClientError {
  return new ClientError("ROSTER_STALE", `gallery "${galleryId}" has blocks of other strides by now: try again`);
}

function strayTemplate(): ClientError {
  return invalidReply("a comparison with a template that was not asked for or is not in its block");
}
