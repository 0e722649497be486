import { setImmediate } from "node:timers/promises";
import { PIECES_PER_MESSAGE, definedOnly } from "@veilface/proto";
import type { CompareTemplatesResponse, EncryptedDistances, ProbePiece } from "@veilface/proto";
import { callStream, throwIfAborted } from "../remote/calls.ts";
import type { CallOptions } from "../remote/calls.ts";
import type { Services } from "../remote/channel.ts";
import type { Claim } from "../client-options.ts";
import { rankCandidates, refusedTemplates } from "./rank-candidates.ts";
import type { Candidate, RefusedTemplate } from "./rank-candidates.ts";
import { checkDistance, lacksBlock, refusalOf } from "./search-answer.ts";
import type { BlockDistances, SearchAnswer } from "./search-answer.ts";
import type { ClientError } from "../errors.ts";
import type { KeyHolder } from "../keys/key-holder.ts";
import type { PackedCrypto } from "../keys/packed-crypto.ts";
import { isUnavailable, retrying } from "../remote/retrying.ts";
import type { Roster } from "../roster/roster.ts";
import {
  fromLiveWireEntry,
  fromWireCiphertext,
  fromWireRefusal,
  invalidReply,
  toWireCiphertext,
  toWireSpace,
} from "../remote/wire.ts";
import type { GalleryInfo } from "../remote/wire.ts";

/** A gallery with what is needed to ask of it. */
export interface OpenGallery {
  readonly info: GalleryInfo;
  readonly crypto: PackedCrypto;
  readonly roster: Roster;
}

/** A probe as it is sent: encrypted once, however often it has to be sent. */
interface WireProbe {
  readonly pieces: readonly ProbePiece[];
  readonly strides: ReadonlySet<number>;
  readonly squaredNorm: number;
}

/** What came of a comparison or a search: the nearest first, and what the server could not compare. */
export interface Found {
  readonly candidates: readonly Candidate[];
  readonly refused: readonly RefusedTemplate[];
}

/** What a search is asked with. `confirm` throws if the gallery is another one by now. */
interface SearchQuestion {
  readonly embedding: ArrayLike<number>;
  readonly top: number;
  readonly confirm: () => Promise<void>;
}

/** A claim, and a search, as they are sent. */
interface SentClaim {
  readonly subjectId: string;
  readonly probe: WireProbe;
}
type SentSearch = Pick<SearchQuestion, "confirm"> & { readonly probe: WireProbe };

/** A template's comparison. */
type ComparedTemplate = Candidate | RefusedTemplate;

const NONE = new Float64Array();

// A piece takes 1 ms to encrypt; in between the connection is served and an abort is seen.
const PIECES_PER_TURN = 8;

/** Asks the matching server and reads its answers; asks again where the server went away meanwhile. */
export class Matching {
  readonly #services: Services;
  readonly #keyHolder: KeyHolder;

  constructor(services: Services, keyHolder: KeyHolder) {
    this.#services = services;
    this.#keyHolder = keyHolder;
  }

  /** The subject's templates, nearest first. Throws ClientError as VeilfaceClient.verify. */
  async compare(gallery: OpenGallery, { subjectId, embedding }: Claim, options: CallOptions): Promise<Found> {
    const claim = { subjectId, probe: await this.#encrypt(gallery, embedding, options) };
    const compared = await retrying(options, () => this.#compareOnce(gallery, claim, options), isUnavailable);
    if (compared.length === 0) throw invalidReply("a comparison without any template");
    const candidates = compared.filter((template) => "distance" in template).sort((a, b) => a.distance - b.distance);
    return { candidates, refused: compared.filter((template) => "reason" in template) };
  }

  /**
   * The nearest subjects of a gallery. The question's `confirm` runs once the server has begun, so that answers and
   * roster are known to be of the same gallery. Throws ClientError as VeilfaceClient.identify.
   */
  async search(gallery: OpenGallery, question: SearchQuestion, options: CallOptions): Promise<Found> {
    const { roster } = gallery;
    const { embedding, confirm, top } = question;
    const search = { confirm, probe: await this.#encrypt(gallery, embedding, options) };
    const answer = await retrying(options, () => this.#searchOnce(gallery, search, options), isUnavailable);
    // A block all of whose templates were deleted while the search ran is not there to be answered.
    if (lacksBlock(roster.table, answer)) {
      await roster.refresh(options);
      await confirm();
    }
    const candidates = rankCandidates(roster.table, answer, top);
    return { candidates, refused: refusedTemplates(roster.table, answer) };
  }

  async #compareOnce(gallery: OpenGallery, claim: SentClaim, options: CallOptions): Promise<ComparedTemplate[]> {
    const { galleryId, space } = gallery.info;
    const target = { galleryId, subjectId: claim.subjectId, space: toWireSpace(space) };
    const requests = messagesOf(target, claim.probe);
    const compared: ComparedTemplate[] = [];
    for await (const reply of callStream(this.#services.address, options, (signal) =>
      this.#services.matching.compareTemplates(requests, { signal }),
    )) {
      compared.push(...this.#readComparison(gallery, claim, reply));
    }
    return compared;
  }

  async #searchOnce(gallery: OpenGallery, { probe, confirm }: SentSearch, options: CallOptions): Promise<SearchAnswer> {
    const { info, roster } = gallery;
    const requests = messagesOf({ galleryId: info.galleryId, space: toWireSpace(info.space) }, probe);
    const blocks: BlockDistances[] = [];
    let search: { readonly revision: number; readonly confirmed: Promise<void> } | undefined;
    for await (const { revision, distances } of callStream(this.#services.address, options, (signal) =>
      this.#services.matching.searchGallery(requests, { signal }),
    )) {
      if (search !== undefined) blocks.push(this.#readDistances(gallery, probe, distances));
      else search = { revision, confirmed: inBackground(roster.update(revision, options).then(confirm)) };
    }
    if (search === undefined) throw invalidReply("a search without its revision");
    await search.confirmed;
    return { revision: search.revision, blocks };
  }

  async #encrypt(gallery: OpenGallery, embedding: ArrayLike<number>, options: CallOptions): Promise<WireProbe> {
    const strides = stridesOf(gallery);
    const probe = gallery.crypto.probePieces(embedding, strides);
    const pieces: ProbePiece[] = [];
    for (const { stride, piece, data } of probe.pieces) {
      pieces.push({ stride, piece, ciphertext: toWireCiphertext(this.#keyHolder.contextId, data) });
      if (pieces.length % PIECES_PER_TURN !== 0) continue;
      await setImmediate();
      throwIfAborted(options);
    }
    return { pieces, strides: new Set(strides), squaredNorm: probe.squaredNorm };
  }

  #readComparison(
    gallery: OpenGallery,
    { subjectId, probe }: SentClaim,
    reply: CompareTemplatesResponse,
  ): ComparedTemplate[] {
    const answer = this.#readDistances(gallery, probe, reply.distances);
    return reply.entries.map(fromLiveWireEntry).map(({ templateId, subjectId: owner, placement }) => {
      const { block, slot, stride } = placement;
      if (owner !== subjectId || block !== answer.block || stride !== answer.stride) throw strayTemplate();
      const reason = refusalOf(answer, slot);
      if (reason !== undefined) return { subjectId, templateId, reason };
      const distance = answer.distances[slot];
      if (distance === undefined) throw strayTemplate();
      return { subjectId, templateId, distance: checkDistance(distance) };
    });
  }

  #readDistances({ crypto }: OpenGallery, probe: WireProbe, wire: EncryptedDistances | undefined): BlockDistances {
    if (wire === undefined) throw invalidReply("an answer without distances");
    const { block, stride } = wire;
    if (!probe.strides.has(stride)) throw invalidReply("distances at a stride that the probe does not have");
    const refusal = fromWireRefusal(wire);
    if (refusal !== undefined && refusal.slots === undefined) return { block, stride, distances: NONE, refusal };
    const product = fromWireCiphertext(this.#keyHolder.contextId, wire.ciphertext);
    const distances = crypto.decryptDistances(stride, product, probe.squaredNorm);
    return definedOnly({ block, stride, distances, refusal });
  }
}

function strayTemplate(): ClientError {
  return invalidReply("a comparison with a template that was not asked for or is not in its block");
}

function messagesOf<T>(
  target: T,
  { pieces }: WireProbe,
): AsyncIterable<{ target: T | undefined; pieces: ProbePiece[] }> {
  const messages = Math.ceil(pieces.length / PIECES_PER_MESSAGE);
  return ReadableStream.from(
    Array.from({ length: messages }, (_, i) => ({
      target: i === 0 ? target : undefined,
      pieces: pieces.slice(i * PIECES_PER_MESSAGE, (i + 1) * PIECES_PER_MESSAGE),
    })),
  );
}

// A search must have a probe, and an empty gallery may have templates by now. Where another stride came into use since
// the gallery was read, the server refuses with PROBE_INCOMPLETE and it is read anew.
function stridesOf({ info, crypto }: OpenGallery): readonly number[] {
  return info.strides.length === 0 ? [crypto.looseStride] : info.strides;
}

// Its failure is met when it is awaited after the search; until then it must not count as unhandled.
function inBackground(work: Promise<void>): Promise<void> {
  work.catch(() => undefined);
  return work;
}
