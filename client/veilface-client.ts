import { Boundary, callersCallback } from "./boundary.ts";
import type { Bounded, CallOptions } from "./remote/call-bounds.ts";
import { DEGREE } from "@veilface/fhe";
import { MAX_EXPECTED_TEMPLATES, MAX_PROBES_PER_SEARCH, definedOnly } from "@veilface/proto";
import type {
  Claim,
  CreateGalleryOptions,
  IdentifyOptions,
  ModelOption,
  PackGalleryOptions,
  RotateKeyOptions,
  Verification,
  VeilfaceClientOptions,
  VerifyOptions,
} from "./client-options.ts";
import { checkThreshold, decide } from "./match/decision.ts";
import type { DeletedTemplates } from "./deletion.ts";
import { UnitMaker, encodeEnrollments } from "./enroll/unit-maker.ts";
import type { Enrollment } from "./enroll/unit-maker.ts";
import { EnrollmentStream } from "./enroll/enrollment-stream.ts";
import type { EnrollOptions } from "./enroll/enrollment-stream.ts";
import { ClientError } from "./errors.ts";
import { Gallery } from "./gallery.ts";
import { GalleryCalls } from "./remote/gallery-calls.ts";
import type { DeletedIds, GalleryChanges } from "./remote/gallery-calls.ts";
import type { Candidate } from "./match/rank-candidates.ts";
import { checkId } from "./ids.ts";
import type { KeyHolder } from "./keys/key-holder.ts";
import { Matching } from "./match/matching.ts";
import type { Found } from "./match/matching.ts";
import { checkSpace } from "./model-space.ts";
import type { ModelSpace } from "./model-space.ts";
import { OpenGalleries } from "./open-galleries.ts";
import type { AskedGallery } from "./open-galleries.ts";
import { isStrideWished, packingOf } from "./enroll/packing.ts";
import { checkWhole } from "./ranges.ts";
import { discardDrafts, rewriteGallery } from "./rewrite/rewrite-gallery.ts";
import type { RewrittenGallery, Rewriting } from "./rewrite/rewrite-gallery.ts";
import { allRefused, tellOfRefused } from "./match/refused-templates.ts";
import { RosterCache } from "./roster/roster-cache.ts";
import type { GalleryInfo, RosterEntry, ServerInfo, SubjectInfo } from "./remote/wire.ts";
import { ciphersOf } from "./keys/key-holder.ts";

// Above any encoded dimension, whose bound the gallery's server knows.
const MOST_STRIDE = DEGREE;

/**
 * Enrolls, verifies and identifies embeddings on a matching server that sees ciphertexts and opaque ids only. One
 * connection; calls may run at the same time. Every method throws ClientError: SERVER_UNAVAILABLE, DEADLINE_EXCEEDED,
 * CANCELLED, SERVER_REFUSED with the server's reason (such as GALLERY_NOT_FOUND), REPLY_INVALID for an answer that
 * cannot be right, USAGE for a malformed id or once the client is closed, INTERNAL for a fault of its own. What
 * changes nothing, or nothing more when it is done again, is tried again for some three seconds where the server is
 * away; everything else where nothing was sent yet.
 */
export class VeilfaceClient implements Disposable {
  readonly #keyHolder: KeyHolder;
  readonly #boundary: Boundary;
  readonly #calls: GalleryCalls;
  readonly #matching: Matching;
  readonly #rosterCache: RosterCache | undefined;
  readonly #galleries: OpenGalleries;

  /**
   * Connects at the first call. Throws ClientError USAGE for a malformed address or deadline, or plain text to another
   * machine or a proxy.
   */
  constructor(options: VeilfaceClientOptions) {
    this.#boundary = new Boundary(options);
    this.#keyHolder = options.keyHolder;
    this.#calls = new GalleryCalls(this.#boundary.rpcs);
    this.#matching = new Matching(this.#boundary.rpcs);
    this.#rosterCache =
      options.rosterCache === undefined ? undefined : new RosterCache(options.rosterCache, options.keyHolder);
    this.#galleries = new OpenGalleries(this.#calls, options.keyHolder, this.#rosterCache);
  }

  /**
   * Makes the key's context known to the server: a parameter set's name and 32 random bytes. Changes nothing where it
   * is known.
   */
  async ensureContext(options: CallOptions = {}): Promise<void> {
    await this.#boundary.run({}, options, (bounded) => this.#calls.ensureContext(this.#keyHolder, bounded));
  }

  /**
   * Creates an empty gallery under this key, and the key's context where the server does not have it. Refused with
   * GALLERY_EXISTS.
   */
  async createGallery(galleryId: string, space: ModelSpace, options: CreateGalleryOptions = {}): Promise<GalleryInfo> {
    return this.#boundary.run({}, options, async (bounded) => {
      const { packedStride = 0, expectedTemplates = 0, labels = {} } = bounded;
      checkId("gallery", galleryId);
      checkSpace(space);
      checkWhole("packedStride", packedStride, { least: 0, most: MOST_STRIDE });
      checkWhole("expectedTemplates", expectedTemplates, { least: 0, most: MAX_EXPECTED_TEMPLATES });
      await this.#calls.ensureContext(this.#keyHolder, bounded);
      const { contextId } = this.#keyHolder;
      const gallery = { galleryId, contextId, space, packedStride, expectedTemplates, labels };
      return this.#calls.create(gallery, bounded);
    });
  }

  /** Which server this is, and what it takes. */
  async getServerInfo(options: CallOptions = {}): Promise<ServerInfo> {
    return this.#boundary.run({}, options, (bounded) => this.#calls.serverInfo(bounded));
  }

  /**
   * Changes a gallery's labels, the number of templates it is for, or both. Throws ClientError USAGE where nothing is
   * named to change. Refused with GALLERY_NOT_FOUND.
   */
  async updateGallery(galleryId: string, changes: GalleryChanges, options: CallOptions = {}): Promise<GalleryInfo> {
    return this.#boundary.run({ galleryId }, options, async (bounded) => {
      const { labels, expectedTemplates } = changes;
      const isNothing = labels === undefined && expectedTemplates === undefined;
      if (isNothing) throw new ClientError("USAGE", "nothing is named to change: give labels or expectedTemplates");
      checkWhole("expectedTemplates", expectedTemplates ?? 0, { least: 0, most: MAX_EXPECTED_TEMPLATES });
      return this.#calls.update(galleryId, changes, bounded);
    });
  }

  /** One gallery as it is now. Refused with GALLERY_NOT_FOUND. */
  async getGallery(galleryId: string, options: CallOptions = {}): Promise<GalleryInfo> {
    return this.#boundary.run({ galleryId }, options, (bounded) => this.#calls.get(galleryId, bounded));
  }

  /**
   * A handle for one gallery, so that its id need not be repeated; the gallery is read once, to check it. Refused with
   * GALLERY_NOT_FOUND; throws ClientError KEY_MISMATCH, and MODEL_MISMATCH where `options` names another model than the
   * gallery's. The handle's calls name that model too.
   */
  async openGallery(galleryId: string, options: CallOptions & ModelOption = {}): Promise<Gallery> {
    return this.#boundary.run({ galleryId }, options, async (bounded) => {
      await this.#galleries.read(galleryId, bounded);
      const { modelId, modelVersion } = bounded;
      return new Gallery(this, definedOnly({ galleryId, modelId, modelVersion }));
    });
  }

  /**
   * The galleries under this key, drafts too, in the order of their ids; none where the server does not know the key's
   * context.
   */
  async listGalleries(options: CallOptions = {}): Promise<GalleryInfo[]> {
    return this.#boundary.run({}, options, (bounded) => this.#calls.list(this.#keyHolder.contextId, bounded));
  }

  /** Deletes a gallery with all its templates. Refused with GALLERY_NOT_FOUND. */
  async deleteGallery(galleryId: string, options: CallOptions = {}): Promise<void> {
    await this.#boundary.run({ galleryId }, options, async (bounded) => {
      await this.#calls.delete(galleryId, bounded);
      this.#galleries.forgetRoster(galleryId);
      await this.#rosterCache?.forget(galleryId);
    });
  }

  /**
   * Encrypts and enrolls templates as the source yields them, packed into blocks where there are enough (see
   * EnrollOptions.packing); memory does not grow with their number. Returns how many. Enrolling an id again replaces
   * its template, so a broken enrollment is resumed by running it again; where only the server went away for a moment,
   * the call itself goes on. Where it throws, what onProgress reported is enrolled and stays. Throws ClientError
   * EMBEDDING_INVALID, KEY_MISMATCH, MODEL_MISMATCH, and what the source throws.
   */
  async enroll(
    galleryId: string,
    source: AsyncIterable<Enrollment> | Iterable<Enrollment>,
    options: EnrollOptions & ModelOption = {},
  ): Promise<number> {
    return this.#boundary.run({ galleryId }, options, async (bounded) => {
      const { info, crypto } = await this.#galleries.read(galleryId, bounded);
      const packing =
        bounded.packing === "never" ? undefined : packingOf(info, ciphersOf(this.#keyHolder).parameterSet);
      const maker = new UnitMaker(crypto, this.#keyHolder.contextId, packing);
      const stream = new EnrollmentStream(this.#boundary.rpcs, info, bounded);
      return stream.run(maker.units(encodeEnrollments(source, crypto)));
    });
  }

  /**
   * Packs a gallery's templates into full blocks, in one step for everybody else: those enrolled alone take far less
   * room and time to search afterwards, and the bits of deleted ones are gone. Every packing adds the encryption noise
   * of one template to each, half the variance of a fresh comparison: after k of them distances err by sqrt(1 + k / 2)
   * times as much (test/unit/packed-precision.test.ts). Needs room for a second copy meanwhile. Throws ClientError
   * SERVER_REFUSED with GALLERY_CHANGED where the gallery was changed or packed by somebody else meanwhile: it is then
   * as they left it.
   */
  async packGallery(galleryId: string, options: PackGalleryOptions = {}): Promise<RewrittenGallery> {
    return this.#boundary.run({ galleryId }, options, (bounded) => {
      const { stride = 0 } = bounded;
      const onProgress = callersCallback(options.onProgress);
      checkWhole("stride", stride, { least: 0, most: MOST_STRIDE });
      return this.#rewrite({ galleryId, to: this.#keyHolder, packedStride: () => stride, onProgress }, bounded);
    });
  }

  /**
   * Encrypts galleries anew under another key, each in one step (see {@link packGallery}). This client's key must be
   * kept until it is done; a rotation that was interrupted is finished by running it again. Returns the galleries that
   * are under the new key since.
   */
  async rotateKey(newKeyHolder: KeyHolder, options: RotateKeyOptions = {}): Promise<RewrittenGallery[]> {
    return this.#boundary.run({}, options, async (bounded) => {
      const isSame = newKeyHolder.contextId === this.#keyHolder.contextId;
      if (isSame) throw new ClientError("USAGE", "the new key is the old one: make another");
      const rotated: RewrittenGallery[] = [];
      for (const galleryId of await this.#galleriesToRotate(newKeyHolder, bounded)) {
        const onProgress = (done: number, total: number): void => {
          callersCallback(options.onProgress)(galleryId, done, total);
        };
        const packedStride = (info: GalleryInfo): number => strideUnder(info, this.#keyHolder, newKeyHolder);
        rotated.push(await this.#rewrite({ galleryId, to: newKeyHolder, packedStride, onProgress }, bounded));
      }
      return rotated;
    });
  }

  /**
   * Deletes what interrupted runs of {@link packGallery} and {@link rotateKey} left behind for a gallery, whatever
   * its age. Do not call it while one runs. Returns how many drafts.
   */
  async discardDrafts(galleryId: string, options: CallOptions = {}): Promise<number> {
    return this.#boundary.run({}, options, (bounded) => {
      checkId("gallery", galleryId);
      const drafts = { galleryId, contextIds: [this.#keyHolder.contextId], olderThanMs: 0 };
      return discardDrafts(this.#calls, drafts, bounded);
    });
  }

  /**
   * Whether an embedding is of a subject (1:1): the distance to the nearest of its templates, and the decision, which
   * never leaves this process. Throws ClientError SERVER_REFUSED with SUBJECT_NOT_FOUND, or with STORED_CORRUPT where
   * all of the subject's templates are damaged on the server's disk; EMBEDDING_INVALID, KEY_MISMATCH, MODEL_MISMATCH.
   */
  async verify(galleryId: string, claim: Claim, options: VerifyOptions): Promise<Verification> {
    return this.#boundary.run({ galleryId, ...claim }, options, async (bounded) => {
      const { subjectId } = claim;
      checkThreshold(options.threshold);
      checkId("subject", subjectId);
      const compare = (asked: AskedGallery): Promise<Found> => this.#matching.compare(asked, claim, bounded);
      const { candidates, refused } = await this.#galleries.ask(galleryId, bounded, compare);
      const [nearest] = candidates;
      if (nearest === undefined) throw allRefused(refused);
      tellOfRefused(refused, bounded);
      return { ...decide(nearest.distance, options.threshold), subjectId, templateId: nearest.templateId };
    });
  }

  /**
   * Who an embedding may be of (1:N): the nearest subjects by the nearest of their templates, nearest first, ties in
   * the order of ids; empty for nobody. Throws ClientError EMBEDDING_INVALID, KEY_MISMATCH, MODEL_MISMATCH.
   */
  async identify(galleryId: string, embedding: ArrayLike<number>, options: IdentifyOptions = {}): Promise<Candidate[]> {
    const [candidates = []] = await this.identifyMany(galleryId, [embedding], options);
    return candidates;
  }

  /**
   * As {@link identify}, of several embeddings, in their order: up to eight at a time share one pass over the gallery.
   */
  async identifyMany(
    galleryId: string,
    embeddings: readonly ArrayLike<number>[],
    options: IdentifyOptions = {},
  ): Promise<Candidate[][]> {
    return this.#boundary.run({ galleryId }, options, async (bounded) => {
      const { maxCandidates = 5, threshold = Infinity } = options;
      checkWhole("maxCandidates", maxCandidates, { least: 1, most: Number.MAX_SAFE_INTEGER });
      if (options.threshold !== undefined) checkThreshold(threshold);
      const found: Found[] = [];
      for (let at = 0; at < embeddings.length; at += MAX_PROBES_PER_SEARCH) {
        const question = { embeddings: embeddings.slice(at, at + MAX_PROBES_PER_SEARCH), maxCandidates };
        const search = (asked: AskedGallery): Promise<Found[]> => this.#matching.search(asked, question, bounded);
        found.push(...(await this.#galleries.ask(galleryId, bounded, search)));
      }
      for (const { refused } of found) tellOfRefused(refused, bounded);
      return found.map(({ candidates }) => candidates.filter(({ distance }) => distance <= threshold));
    });
  }

  /** The live templates of a gallery with their subjects, in the order they last changed. */
  async listTemplates(galleryId: string, options: CallOptions = {}): Promise<RosterEntry[]> {
    return this.#boundary.run({ galleryId }, options, (bounded) =>
      this.#galleries.withCurrent(galleryId, bounded, async (gallery, { confirm }) => {
        const { info, roster } = gallery;
        await roster.update(info.uid, info.revision, bounded);
        await confirm(gallery);
        return roster.entries();
      }),
    );
  }

  /**
   * The subjects that have a template in a gallery, in the order of the oldest of their templates. Who is enrolled or
   * deleted meanwhile may or may not be among them.
   */
  async listSubjects(galleryId: string, options: CallOptions = {}): Promise<SubjectInfo[]> {
    return this.#boundary.run({ galleryId }, options, async (bounded) => {
      await this.#galleries.read(galleryId, bounded);
      return this.#calls.listSubjects(galleryId, bounded);
    });
  }

  /**
   * Deletes templates by id or by subject; says how many, which of the ids were not there, and whose bits stay in
   * packed blocks on the server's disk until the gallery is packed ({@link packGallery}) or all of a block is deleted.
   * Where it throws, some may be deleted: call it again.
   */
  async deleteTemplates(galleryId: string, ids: DeletedIds, options: CallOptions = {}): Promise<DeletedTemplates> {
    return await this.#boundary.run({ galleryId }, options, (bounded) =>
      this.#calls.deleteTemplates(galleryId, ids, bounded),
    );
  }

  /** Closes the connection, as `using` does; calls under way end with ClientError USAGE. Again, it does nothing. */
  close(): void {
    this.#boundary.close();
  }

  /** As {@link close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  async #rewrite(rewriting: Omit<Rewriting, "from" | "bounds">, { bounds }: Bounded): Promise<RewrittenGallery> {
    const rewritten = await rewriteGallery(this.#calls, { ...rewriting, from: this.#keyHolder, bounds });
    this.#galleries.forget(rewriting.galleryId);
    return rewritten;
  }

  async #galleriesToRotate({ contextId }: KeyHolder, options: Bounded<RotateKeyOptions>): Promise<string[]> {
    const { galleryIds } = options;
    if (galleryIds === undefined) {
      const galleries = await this.#calls.list(this.#keyHolder.contextId, options);
      return galleries.filter(({ draftOf }) => draftOf === undefined).map(({ galleryId }) => galleryId);
    }
    const galleries = await Promise.all(galleryIds.map((galleryId) => this.#calls.get(galleryId, options)));
    return galleries.filter((gallery) => gallery.contextId !== contextId).map(({ galleryId }) => galleryId);
  }
}

/**
 * The stride under a new key: that which somebody wished for, or 0 for the server's choice, as another size or set has
 * another best one.
 */
function strideUnder(gallery: GalleryInfo, from: KeyHolder, to: KeyHolder): number {
  const isSameSet = ciphersOf(from).parameterSet.name === ciphersOf(to).parameterSet.name;
  return isSameSet && isStrideWished(gallery, ciphersOf(from).parameterSet) ? gallery.packedStride : 0;
}
