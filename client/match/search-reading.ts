import { definedOnly } from "@veilface/proto";
import type { EncryptedDistances, Gallery as WireGallery, SearchGalleryResponse } from "@veilface/proto";
import type { AskedGallery, OpenGallery } from "../open-galleries.ts";
import { fromWireChange, fromWireCiphertext, fromWireGallery, fromWireRefusal, invalidReply } from "../remote/wire.ts";
import type { RosterTable } from "../roster/roster-table.ts";
import type { RosterUpdate } from "../roster/roster-update.ts";
import { Probe, searchStrides } from "./probe.ts";
import type { ProbeRequests } from "./probe-requests.ts";
import type { BlockDistances } from "./search-answer.ts";

/** All that a search's stream told. */
export interface Searched {
  readonly gallery: OpenGallery;
  readonly table: RosterTable;
  readonly revision: number;
  /** By probe. */
  readonly blocks: readonly BlockDistances[][];
}

/** A search that is being asked. */
export interface AskedSearch {
  readonly asked: AskedGallery;
  readonly embeddings: readonly ArrayLike<number>[];
  readonly update: RosterUpdate;
  readonly requests: ProbeRequests<unknown>;
}

const NONE = new Float64Array();

/** Reads the answers of one search, and sends its probes once it is known what they are for. */
export class SearchReading {
  readonly #search: AskedSearch;
  readonly #blocks: readonly BlockDistances[][];
  #probe: Probe | undefined;
  #gallery: OpenGallery | undefined;
  #revision: number | undefined;

  /** Throws ClientError EMBEDDING_INVALID. */
  constructor(search: AskedSearch) {
    this.#search = search;
    this.#blocks = search.embeddings.map(() => []);
    const { known } = search.asked;
    if (known !== undefined) this.#send(known);
  }

  /** Takes the next message. Throws ClientError REPLY_INVALID, KEY_MISMATCH, MODEL_MISMATCH, ROSTER_STALE. */
  take(message: SearchGalleryResponse["message"]): void {
    if (this.#gallery === undefined && message?.$case !== "gallery")
      throw invalidReply("a search that does not begin with its gallery");
    switch (message?.$case) {
      case "gallery":
        this.#open(message.value);
        break;
      case "rosterChanges":
        this.#search.update.add(message.value.entries.map(fromWireChange));
        break;
      case "start":
        ({ revision: this.#revision } = message.value);
        break;
      default:
        this.#takeDistances(message?.value);
    }
  }

  /** The stream has ended. Throws ClientError REPLY_INVALID, ROSTER_STALE. */
  async finish(): Promise<Searched> {
    if (this.#gallery === undefined || this.#revision === undefined)
      throw invalidReply("a search without its gallery or its revision");
    const table = await this.#search.update.finish(this.#revision);
    return { gallery: this.#gallery, table, revision: this.#revision, blocks: this.#blocks };
  }

  #open(wire: WireGallery): void {
    if (this.#gallery !== undefined) throw invalidReply("a second gallery");
    this.#gallery = this.#search.asked.open(fromWireGallery(wire));
    this.#search.update.of(this.#gallery.info.uid);
    if (this.#probe === undefined) this.#send(this.#gallery);
  }

  #send(gallery: OpenGallery): void {
    this.#probe = new Probe(gallery, this.#search.embeddings, searchStrides(gallery));
    this.#search.requests.send(this.#probe.pieces());
  }

  #takeDistances(distances: EncryptedDistances | undefined): void {
    if (this.#gallery === undefined || this.#probe === undefined) throw invalidReply("a search without its gallery");
    const answer = readDistances(this.#gallery, this.#probe, distances);
    this.#blocks[distances?.probe ?? 0]?.push(answer);
  }
}

/** The distances of one block to a probe. Throws ClientError REPLY_INVALID. */
export function readDistances(
  { info, crypto }: OpenGallery,
  probe: Probe,
  wire: EncryptedDistances | undefined,
): BlockDistances {
  if (wire === undefined) throw invalidReply("an answer without distances");
  const { block, stride } = wire;
  const squaredNorm = probe.squaredNorm(wire.probe);
  if (squaredNorm === undefined) throw invalidReply("distances to a probe that was not sent");
  if (!probe.strides.has(stride)) throw invalidReply("distances at a stride that the probe does not have");
  const refusal = fromWireRefusal(wire);
  if (refusal !== undefined && refusal.slots === undefined) return { block, stride, distances: NONE, refusal };
  const product = fromWireCiphertext(info.contextId, wire.ciphertext);
  const distances = crypto.decryptDistances(stride, product, squaredNorm);
  return definedOnly({ block, stride, distances, refusal });
}
