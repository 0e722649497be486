import { ErrorReason, errorReasonName } from "@veilface/proto";
import type {
  BlockComparison,
  EncryptedDistances,
  EnrollTemplatesRequest,
  Gallery as WireGallery,
  ProbePiece,
} from "@veilface/proto";
import { callersSource } from "../boundary.ts";
import { UNBOUNDED } from "../remote/call-bounds.ts";
import type { Bounded, CallOptions } from "../remote/call-bounds.ts";
import { EnrollmentStream } from "../enroll/enrollment-stream.ts";
import type { EnrollOptions } from "../enroll/enrollment-stream.ts";
import type { EnrollmentUnit } from "../enroll/unit-maker.ts";
import { ClientError } from "../errors.ts";
import type { GalleryCalls } from "../remote/gallery-calls.ts";
import { checkId } from "../ids.ts";
import { Roster } from "../roster/roster.ts";
import { ProbeRequests } from "../match/probe-requests.ts";
import type { ProbeRequest } from "../match/probe-requests.ts";
import type { RosterTable } from "../roster/roster-table.ts";
import {
  fromLiveWireEntry,
  fromWireChange,
  fromWireGallery,
  invalidReply,
  toWireRosterState,
  toWireSpace,
} from "../remote/wire.ts";
import type { GalleryInfo, RosterEntry } from "../remote/wire.ts";
import type { PairwiseCalls } from "./pairwise-calls.ts";
import { fromWireDistance, toWireEncoding } from "./pairwise-wire.ts";
import type { PairwiseCiphertext, PairwiseEncoding } from "./pairwise-wire.ts";

/** A template to enroll. Ids: 1 to 64 of a-z, 0-9 and "-". An id that the gallery has is replaced. */
export interface PairwiseEnrollment {
  /** What the template is called; one of its name is replaced. */
  readonly templateId: string;
  /** Whose it is; subjects may own several. */
  readonly subjectId: string;
  /** A fresh vector of the gallery's dimension. */
  readonly vector: PairwiseCiphertext;
}

/** Whose a vector is said to be. */
export interface PairwiseClaim {
  /** The subject as it was enrolled: 1 to 64 of a-z, 0-9 and "-". */
  readonly subjectId: string;
  /** A fresh vector of the gallery's dimension. */
  readonly probe: PairwiseCiphertext;
}

/** The comparison of a probe with one template of a gallery. */
export interface PairwiseMatch {
  /** The template that the probe was compared with. */
  readonly templateId: string;
  /** The subject that the template is of. */
  readonly subjectId: string;
  /**
   * The squared distance (Euclidean galleries) or inner product (cosine), encrypted, in slot 0; undefined where the
   * template could not be compared: `why` says it.
   */
  readonly distance: PairwiseCiphertext | undefined;
  /**
   * Why there is no distance: "IDENTICAL" where the server says that the probe is this very ciphertext, whose distance
   * is 0; else a reason of the contract, such as STORED_CORRUPT.
   */
  readonly why?: string;
}

/** Templates to enroll, taken as they are sent, so that memory does not grow with their number. */
export type EnrollmentSource = AsyncIterable<PairwiseEnrollment> | Iterable<PairwiseEnrollment>;

/** How templates are enrolled: each is a block of its own, so that there is nothing to pack. */
export type PairwiseEnrollOptions = Omit<EnrollOptions, "packing">;

/** How a probe is compared with templates. */
export interface PairwiseSearchOptions extends CallOptions {
  /** The encoding of the answers; the probe's unless given. */
  readonly replyEncoding?: PairwiseEncoding;
}

/** A probe as it is sent. */
interface Probe {
  readonly gallery: GalleryInfo;
  readonly encoding: PairwiseEncoding;
  readonly piece: ProbePiece;
}

// Of at most 1.9 MB each.
const IN_FLIGHT = 8;

/**
 * Enrolls into galleries of the pairwise scheme, and compares probes with them. Every template is a block of its own.
 */
export class PairwiseGalleries {
  readonly #calls: PairwiseCalls;
  readonly #galleries: GalleryCalls;

  constructor(calls: PairwiseCalls, galleries: GalleryCalls) {
    this.#calls = calls;
    this.#galleries = galleries;
  }

  /** As PairwiseClient.enroll. */
  async enroll(galleryId: string, source: EnrollmentSource, options: Bounded<PairwiseEnrollOptions>): Promise<number> {
    const gallery = await this.#galleries.get(galleryId, options);
    const bounded = { maxInFlight: IN_FLIGHT, ...options };
    return new EnrollmentStream(this.#calls.rpcs, gallery, bounded).run(this.#units(gallery, source, options));
  }

  /** As PairwiseClient.search. */
  async *search(
    galleryId: string,
    vector: PairwiseCiphertext,
    options: Bounded<PairwiseSearchOptions>,
  ): AsyncGenerator<PairwiseMatch, void, undefined> {
    const probe = await this.#probe(galleryId, vector, options);
    const roster = this.#roster(galleryId);
    using update = await roster.begin(options);
    const { matching } = this.#calls.rpcs.services;
    const target = { ...targetOf(probe), roster: toWireRosterState(update.since) };
    const answers = this.#calls.readStream(options, (rpc) => matching.searchGallery(messages(target, probe), rpc));
    let open: OpenSearch | undefined;
    for await (const { message } of answers) {
      if (message?.$case === "gallery") update.of(sameGallery(probe, message.value));
      else if (message?.$case === "rosterChanges") update.add(message.value.entries.map(fromWireChange));
      else if (message?.$case === "start") {
        const { revision } = message.value;
        open = new OpenSearch({ roster, uid: probe.gallery.uid, revision }, await update.finish(revision));
      } else {
        const entry = open?.take(message?.value);
        if (entry !== undefined) yield matchOf(probe, entry, message?.value);
      }
    }
    if (open === undefined) throw invalidReply("a search without its revision");
    await open.checkComplete(options);
  }

  /** As PairwiseClient.compareTemplates. */
  async *compareTemplates(
    galleryId: string,
    claim: PairwiseClaim,
    options: Bounded<PairwiseSearchOptions>,
  ): AsyncGenerator<PairwiseMatch, void, undefined> {
    const subjectId = checkId("subject", claim.subjectId);
    const probe = await this.#probe(galleryId, claim.probe, options);
    const target = { ...targetOf(probe), subjectId };
    const { matching } = this.#calls.rpcs.services;
    const answers = this.#calls.readStream(options, (rpc) => matching.compareTemplates(messages(target, probe), rpc));
    for await (const { message } of answers) {
      if (message?.$case === "subject") sameGallery(probe, message.value.gallery);
      else {
        const comparison = message?.value;
        yield matchOf(probe, entryOf(comparison, subjectId), comparison?.distances);
      }
    }
  }

  /** The live templates, in the order they last changed. */
  async templates(galleryId: string, options: Bounded): Promise<RosterEntry[]> {
    const { uid } = await this.#galleries.get(galleryId, options);
    const table = await this.#roster(galleryId).refresh(uid, options);
    return table.entries().toArray();
  }

  async *#units(
    gallery: GalleryInfo,
    source: EnrollmentSource,
    options: Bounded,
  ): AsyncGenerator<EnrollmentUnit, void, undefined> {
    const { dimension: stride } = gallery.space;
    for await (const { templateId, subjectId, vector } of callersSource(source)) {
      checkId("template", templateId);
      checkId("subject", subjectId);
      const ciphertext = await this.#vectorOf(gallery, vector, options);
      const message: EnrollTemplatesRequest["message"] = {
        $case: "template",
        value: { templateId, subjectId, ciphertext },
      };
      yield { kind: "template", stride, templates: [{ templateId, subjectId }], messages: [{ message }] };
    }
  }

  async #probe(galleryId: string, vector: PairwiseCiphertext, options: Bounded<PairwiseSearchOptions>): Promise<Probe> {
    const gallery = await this.#galleries.get(galleryId, options);
    const ciphertext = await this.#vectorOf(gallery, vector, options);
    const piece = { probe: 0, stride: gallery.space.dimension, piece: 0, ciphertext };
    return { gallery, encoding: options.replyEncoding ?? vector.encoding, piece };
  }

  async #vectorOf(
    { contextId, space }: GalleryInfo,
    vector: PairwiseCiphertext,
    options: Bounded,
  ): Promise<NonNullable<ProbePiece["ciphertext"]>> {
    const { wire, dimension = space.dimension } = await this.#calls.outgoing(contextId, vector, options);
    if (dimension === space.dimension) return wire;
    throw new ClientError(
      "USAGE",
      `${vector.name ?? "a vector"} has ${dimension} components: expected ${space.dimension}, the gallery's dimension`,
    );
  }

  #roster(galleryId: string): Roster {
    return new Roster((sinceRevision, pageToken, options = UNBOUNDED) =>
      this.#galleries.readRosterPage(galleryId, { sinceRevision, pageToken }, options),
    );
  }
}

/** A search that has begun. */
interface BegunSearch {
  readonly roster: Roster;
  /** The gallery's. */
  readonly uid: string;
  readonly revision: number;
}

/** Who the answers of a search are about: the templates as of its revision, each answered once. */
class OpenSearch {
  readonly #search: BegunSearch;
  /** By block, those that are not answered yet. */
  readonly #awaited: Map<number, RosterEntry>;

  constructor(search: BegunSearch, table: RosterTable) {
    this.#search = search;
    this.#awaited = this.#asOfRevision(table);
  }

  /** Undefined for a template that changed since. */
  take(distances: EncryptedDistances | undefined): RosterEntry | undefined {
    if (distances === undefined) throw invalidReply("an answer without distances");
    const entry = this.#awaited.get(distances.block);
    this.#awaited.delete(distances.block);
    return entry;
  }

  /** Throws ClientError REPLY_INVALID where a template was left out that is not gone by now. */
  async checkComplete(options: Bounded): Promise<void> {
    if (this.#awaited.size === 0) return;
    const { roster, uid } = this.#search;
    const now = this.#asOfRevision(await roster.refresh(uid, options));
    if (this.#awaited.keys().some((block) => now.has(block)))
      throw invalidReply("a search that leaves out a template of the gallery");
  }

  #asOfRevision(table: RosterTable): Map<number, RosterEntry> {
    const { revision } = this.#search;
    const entries = table.entries().filter((entry) => entry.revision <= revision);
    return new Map(entries.map((entry) => [entry.placement.block, entry]));
  }
}

function targetOf({ gallery, encoding }: Probe) {
  const { galleryId, space } = gallery;
  return { galleryId, space: toWireSpace(space), replyEncoding: toWireEncoding(encoding) };
}

function messages<T>(target: T, { piece }: Probe): AsyncIterable<ProbeRequest<T>> {
  const requests = new ProbeRequests(target);
  requests.send([piece]);
  return requests.messages();
}

/** The gallery's uid. Throws ClientError ROSTER_STALE where it is another one than the probe is for. */
function sameGallery({ gallery }: Probe, wire: WireGallery | undefined): string {
  const { galleryId, contextId, uid } = fromWireGallery(wire);
  if (uid === gallery.uid && contextId === gallery.contextId) return uid;
  throw new ClientError("ROSTER_STALE", `gallery "${galleryId}" was replaced meanwhile: try again`);
}

function entryOf(comparison: BlockComparison | undefined, subjectId: string): RosterEntry {
  const [entry, ...others] = (comparison?.entries ?? []).map(fromLiveWireEntry);
  if (
    entry === undefined ||
    others.length > 0 ||
    entry.subjectId !== subjectId ||
    entry.placement.block !== comparison?.distances?.block
  ) {
    throw invalidReply("a comparison with a template that was not asked for or is not in its block");
  }
  return entry;
}

function matchOf(
  { gallery, encoding }: Probe,
  { templateId, subjectId }: RosterEntry,
  distances: EncryptedDistances | undefined,
): PairwiseMatch {
  if (distances?.identical === true) return { templateId, subjectId, distance: undefined, why: "IDENTICAL" };
  if (distances !== undefined && distances.refused !== ErrorReason.ERROR_REASON_UNSPECIFIED) {
    return { templateId, subjectId, distance: undefined, why: errorReasonName(distances.refused) };
  }
  return { templateId, subjectId, distance: fromWireDistance(gallery.contextId, encoding, distances?.ciphertext) };
}
