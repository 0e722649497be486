import type { CompareTemplatesResponse, EncryptedDistances, ProbePiece } from "@veilface/proto";
import { callStream } from "./calls.ts";
import type { CallOptions } from "./calls.ts";
import type { Services } from "./channel.ts";
import { lacksBlock, rankCandidates } from "./identification.ts";
import type { BlockDistances, Candidate } from "./identification.ts";
import type { KeyHolder } from "./key-holder.ts";
import type { EncryptedProbe, PackedCrypto } from "./packed-crypto.ts";
import type { Roster } from "./roster.ts";
import { PIECES_PER_MESSAGE, fromLiveWireEntry, fromWireCiphertext, invalidReply, toWireCiphertext, toWireSpace } from "./wire.ts";
import type { GalleryInfo } from "./wire.ts";

/** A gallery with what is needed to ask of it. */
export interface OpenGallery {
  readonly info: GalleryInfo;
  readonly crypto: PackedCrypto;
  readonly roster: Roster;
}

/** Asks the matching server and reads its answers. */
export class Matching {
  readonly #services: Services;
  readonly #keyHolder: KeyHolder;

  constructor(services: Services, keyHolder: KeyHolder) {
    this.#services = services;
    this.#keyHolder = keyHolder;
  }

  /** The subject's nearest template. Throws ClientError as VeilfaceClient.verify. */
  async compare(gallery: OpenGallery, subjectId: string, embedding: ArrayLike<number>, options: CallOptions): Promise<Candidate> {
    const { info, crypto } = gallery;
    const probe = crypto.encryptProbe(embedding, stridesOf(gallery));
    const target = { galleryId: info.galleryId, subjectId, space: toWireSpace(info.space) };
    const requests = this.#messages(target, probe);
    const candidates: Candidate[] = [];
    for await (const reply of callStream(this.#services.address, options, (signal) => this.#services.matching.compareTemplates(requests, { signal }))) {
      candidates.push(...this.#readComparison(gallery, subjectId, probe, reply));
    }
    const [first, ...others] = candidates;
    if (first === undefined) throw invalidReply("a comparison without any template");
    return others.reduce((best, candidate) => (candidate.distance < best.distance ? candidate : best), first);
  }

  /**
   * The nearest subjects of a gallery. `confirm` throws if the gallery is another one by now: it runs once the server has begun, so
   * that answers and roster are known to be of the same. Throws ClientError as VeilfaceClient.identify.
   */
  async search(gallery: OpenGallery, embedding: ArrayLike<number>, top: number, confirm: () => Promise<void>, options: CallOptions): Promise<Candidate[]> {
    const { info, crypto, roster } = gallery;
    const probe = crypto.encryptProbe(embedding, stridesOf(gallery));
    const requests = this.#messages({ galleryId: info.galleryId, space: toWireSpace(info.space) }, probe);
    const blocks: BlockDistances[] = [];
    let search: { readonly revision: number; readonly confirmed: Promise<void> } | undefined;
    for await (const { revision, distances } of callStream(this.#services.address, options, (signal) => this.#services.matching.searchGallery(requests, { signal }))) {
      if (search !== undefined) blocks.push(this.#readDistances(gallery, probe, distances));
      else search = { revision, confirmed: inBackground(roster.update(revision).then(confirm)) };
    }
    if (search === undefined) throw invalidReply("a search without its revision");
    await search.confirmed;
    const answer = { revision: search.revision, blocks };
    // A block all of whose templates were deleted while the search ran is not there to be answered.
    if (lacksBlock(roster.table, answer)) {
      await roster.refresh();
      await confirm();
    }
    return rankCandidates(roster.table, answer, top);
  }

  #messages<T>(target: T, { pieces }: EncryptedProbe): AsyncIterable<{ target: T | undefined; pieces: ProbePiece[] }> {
    const wire = pieces.map(({ stride, piece, data }) => ({ stride, piece, ciphertext: toWireCiphertext(this.#keyHolder.contextId, data) }));
    const messages = Math.ceil(wire.length / PIECES_PER_MESSAGE);
    return ReadableStream.from(
      Array.from({ length: messages }, (_, i) => ({ target: i === 0 ? target : undefined, pieces: wire.slice(i * PIECES_PER_MESSAGE, (i + 1) * PIECES_PER_MESSAGE) })),
    );
  }

  #readComparison(gallery: OpenGallery, subjectId: string, probe: EncryptedProbe, reply: CompareTemplatesResponse): Candidate[] {
    const { block, stride, distances } = this.#readDistances(gallery, probe, reply.distances);
    return reply.entries.map(fromLiveWireEntry).map(({ templateId, subjectId: owner, placement }) => {
      const distance = distances[placement.slot];
      if (owner !== subjectId || placement.block !== block || placement.stride !== stride || distance === undefined) {
        throw invalidReply("a comparison with a template that was not asked for or is not in its block");
      }
      return { subjectId, templateId, distance };
    });
  }

  #readDistances({ crypto }: OpenGallery, probe: EncryptedProbe, wire: EncryptedDistances | undefined): BlockDistances {
    if (wire === undefined) throw invalidReply("an answer without distances");
    const { block, stride } = wire;
    if (!probe.pieces.some((piece) => piece.stride === stride)) throw invalidReply("distances at a stride that the probe does not have");
    const { encoding, data } = fromWireCiphertext(this.#keyHolder.contextId, wire.ciphertext);
    return { block, stride, distances: crypto.decryptDistances(stride, encoding, data, probe.squaredNorm) };
  }
}

// A search must have a probe, and an empty gallery may have templates by now. Where another stride came into use since the gallery was
// read, the server refuses with PROBE_INCOMPLETE and it is read anew.
function stridesOf({ info, crypto }: OpenGallery): readonly number[] {
  return info.strides.length === 0 ? [crypto.looseStride] : info.strides;
}

// Its failure is met when it is awaited after the search; until then it must not count as unhandled.
function inBackground(work: Promise<void>): Promise<void> {
  work.catch(() => undefined);
  return work;
}
