import { ErrorReason, errorReasonName } from "@veilface/proto";
import type { CompareTemplatesResponse, EncryptedDistances, EnrollTemplatesRequest, ProbePiece } from "@veilface/proto";
import { callersSource } from "../boundary.ts";
import type { CallOptions } from "../remote/calls.ts";
import { EnrollmentStream } from "../enroll/enrollment-stream.ts";
import type { EnrollOptions } from "../enroll/enrollment-stream.ts";
import type { EnrollmentUnit } from "../enroll/unit-maker.ts";
import { ClientError } from "../errors.ts";
import type { GalleryCalls } from "../remote/gallery-calls.ts";
import { checkId } from "../ids.ts";
import { Roster } from "../roster/roster.ts";
import { fromLiveWireEntry, invalidReply, toWireSpace } from "../remote/wire.ts";
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

/** The comparison with one template. */
export interface PairwiseMatch {
  /** The template that the probe was compared with. */
  readonly templateId: string;
  /** Whose it is. */
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

/** Templates as they come. */
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
  async enroll(galleryId: string, source: EnrollmentSource, options: PairwiseEnrollOptions): Promise<number> {
    const gallery = await this.#galleries.get(galleryId, options);
    const bounded = { maxInFlight: IN_FLIGHT, ...this.#calls.deadline(options) };
    return new EnrollmentStream(this.#calls.services, gallery, bounded).run(this.#units(gallery, source, options));
  }

  /** As PairwiseClient.search. */
  async *search(
    galleryId: string,
    vector: PairwiseCiphertext,
    options: PairwiseSearchOptions,
  ): AsyncGenerator<PairwiseMatch, void, undefined> {
    const probe = await this.#probe(galleryId, vector, options);
    const target = {
      galleryId,
      space: toWireSpace(probe.gallery.space),
      replyEncoding: toWireEncoding(probe.encoding),
    };
    const { matching } = this.#calls.services;
    const answers = this.#calls.readStream(options, (signal) =>
      matching.searchGallery(messages(target, probe), { signal }),
    );
    let open: OpenSearch | undefined;
    for await (const { revision, distances } of answers) {
      if (open === undefined) open = await this.#openSearch(galleryId, revision, options);
      else {
        const entry = open.take(distances);
        if (entry !== undefined) yield matchOf(probe, entry, distances);
      }
    }
    if (open === undefined) throw invalidReply("a search without its revision");
    await open.checkComplete(options);
  }

  /** As PairwiseClient.compareTemplates. */
  async *compareTemplates(
    galleryId: string,
    claim: PairwiseClaim,
    options: PairwiseSearchOptions,
  ): AsyncGenerator<PairwiseMatch, void, undefined> {
    const subjectId = checkId("subject", claim.subjectId);
    const probe = await this.#probe(galleryId, claim.probe, options);
    const target = {
      galleryId,
      subjectId,
      space: toWireSpace(probe.gallery.space),
      replyEncoding: toWireEncoding(probe.encoding),
    };
    const { matching } = this.#calls.services;
    const answers = this.#calls.readStream(options, (signal) =>
      matching.compareTemplates(messages(target, probe), { signal }),
    );
    for await (const answer of answers) {
      yield matchOf(probe, entryOf(answer, subjectId), answer.distances);
    }
  }

  /** The live templates, in the order they last changed. */
  async templates(galleryId: string, options: CallOptions): Promise<RosterEntry[]> {
    const roster = this.#roster(galleryId);
    await roster.refresh(options);
    return roster.entries();
  }

  async *#units(
    gallery: GalleryInfo,
    source: EnrollmentSource,
    options: CallOptions,
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

  async #probe(galleryId: string, vector: PairwiseCiphertext, options: PairwiseSearchOptions): Promise<Probe> {
    const gallery = await this.#galleries.get(galleryId, options);
    const ciphertext = await this.#vectorOf(gallery, vector, options);
    const piece = { stride: gallery.space.dimension, piece: 0, ciphertext };
    return { gallery, encoding: options.replyEncoding ?? vector.encoding, piece };
  }

  async #vectorOf(
    { contextId, space }: GalleryInfo,
    vector: PairwiseCiphertext,
    options: CallOptions,
  ): Promise<NonNullable<ProbePiece["ciphertext"]>> {
    const { wire, dimension = space.dimension } = await this.#calls.outgoing(contextId, vector, options);
    if (dimension === space.dimension) return wire;
    throw new ClientError(
      "USAGE",
      `${vector.name ?? "a vector"} has ${dimension} components: expected ${space.dimension}, the gallery's dimension`,
    );
  }

  async #openSearch(galleryId: string, revision: number, options: CallOptions): Promise<OpenSearch> {
    const roster = this.#roster(galleryId);
    await roster.update(revision, options);
    return new OpenSearch(roster, revision);
  }

  #roster(galleryId: string): Roster {
    return new Roster((sinceRevision, pageToken, options = {}) =>
      this.#galleries.readRosterPage(galleryId, { sinceRevision, pageToken }, options),
    );
  }
}

/** Who the answers of a search are about: the templates as of its revision, each answered once. */
class OpenSearch {
  readonly #roster: Roster;
  readonly #revision: number;
  /** By block, those that are not answered yet. */
  readonly #awaited: Map<number, RosterEntry>;

  constructor(roster: Roster, revision: number) {
    this.#roster = roster;
    this.#revision = revision;
    this.#awaited = this.#asOfRevision();
  }

  /** Undefined for a template that changed since. */
  take(distances: EncryptedDistances | undefined): RosterEntry | undefined {
    if (distances === undefined) throw invalidReply("an answer without distances");
    const entry = this.#awaited.get(distances.block);
    this.#awaited.delete(distances.block);
    return entry;
  }

  /** Throws ClientError REPLY_INVALID where a template was left out that is not gone by now. */
  async checkComplete(options: CallOptions): Promise<void> {
    if (this.#awaited.size === 0) return;
    await this.#roster.refresh(options);
    const now = this.#asOfRevision();
    if (this.#awaited.keys().some((block) => now.has(block)))
      throw invalidReply("a search that leaves out a template of the gallery");
  }

  #asOfRevision(): Map<number, RosterEntry> {
    return new Map(
      this.#roster
        .entries()
        .filter(({ revision }) => revision <= this.#revision)
        .map((entry) => [entry.placement.block, entry]),
    );
  }
}

function messages<T>(target: T, { piece }: Probe): AsyncIterable<{ target: T | undefined; pieces: ProbePiece[] }> {
  return ReadableStream.from([
    { target, pieces: [] },
    { target: undefined, pieces: [piece] },
  ]);
}

function entryOf({ entries, distances }: CompareTemplatesResponse, subjectId: string): RosterEntry {
  const [entry, ...others] = entries.map(fromLiveWireEntry);
  if (
    entry === undefined ||
    others.length > 0 ||
    entry.subjectId !== subjectId ||
    entry.placement.block !== distances?.block
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
