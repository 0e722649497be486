import { packedContextId } from "@veilface/fhe";
import { DEFAULT_DEADLINE_MS, call } from "./calls.ts";
import type { CallOptions } from "./calls.ts";
import { openServices } from "./channel.ts";
import type { ServerOptions, Services } from "./channel.ts";
import { checkThreshold, decide } from "./decision.ts";
import type { Decision } from "./decision.ts";
import { EnrollmentStream } from "./enrollment.ts";
import type { EnrollOptions, Enrollment } from "./enrollment.ts";
import { ClientError } from "./errors.ts";
import type { Candidate } from "./identification.ts";
import { checkId } from "./ids.ts";
import type { KeyHolder } from "./key-holder.ts";
import { Matching } from "./matching.ts";
import type { OpenGallery } from "./matching.ts";
import type { ModelSpace } from "./model-space.ts";
import { PackedCrypto } from "./packed-crypto.ts";
import { Roster } from "./roster.ts";
import { fromWireEntry, fromWireGallery, invalidReply, toWireParameterSet, toWireSpace } from "./wire.ts";
import type { GalleryInfo, RosterEntry } from "./wire.ts";

export interface VeilfaceClientOptions extends ServerOptions {
  /** Encrypts and decrypts. Stays the caller's: it outlives the client. */
  readonly keyHolder: KeyHolder;
  /** The deadline of calls that name none, in milliseconds; 60,000 unless set. */
  readonly deadlineMs?: number;
}

/** Names the model that made the embeddings, so that those of another than the gallery's are refused with MODEL_MISMATCH. */
export interface ModelOption {
  readonly modelId?: string;
}

export interface VerifyOptions extends CallOptions, ModelOption {
  /** The largest distance that is accepted, in the gallery's metric. */
  readonly threshold: number;
}

export interface IdentifyOptions extends CallOptions, ModelOption {
  /** How many subjects at most, >= 1; 5 unless set. */
  readonly top?: number;
  /** Leaves out subjects beyond this distance; unless set, the nearest are returned however far they are. */
  readonly threshold?: number;
}

/** The outcome of a verification: the nearest of the subject's templates and whether it is near enough. */
export interface Verification extends Decision {
  readonly subjectId: string;
  readonly templateId: string;
}

// The server may hold other strides, or another gallery under this id, than when it was last read.
const REASONS_TO_READ_AGAIN: readonly (string | undefined)[] = ["PROBE_INCOMPLETE", "FIELD_INVALID", "SPACE_MISMATCH", "CONTEXT_MISMATCH"];
const PAGE_SIZE = 1000;
const MAX_IDS_PER_DELETE = 10_000;

/**
 * Enrolls, verifies and identifies embeddings on a matching server that sees ciphertexts and opaque ids only. One connection; calls
 * may run at the same time. Every method throws ClientError: SERVER_UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED, SERVER_REFUSED with
 * the server's reason (such as GALLERY_NOT_FOUND), REPLY_INVALID for an answer that cannot be right, USAGE for a malformed id.
 */
export class VeilfaceClient implements Disposable {
  readonly #keyHolder: KeyHolder;
  readonly #services: Services;
  readonly #matching: Matching;
  readonly #deadlineMs: number;
  readonly #galleries = new Map<string, OpenGallery>();

  /** Connects at the first call. Throws ClientError USAGE for a malformed address, or plain text to another machine. */
  constructor(options: VeilfaceClientOptions) {
    this.#keyHolder = options.keyHolder;
    this.#services = openServices(options);
    this.#matching = new Matching(this.#services, options.keyHolder);
    this.#deadlineMs = options.deadlineMs ?? DEFAULT_DEADLINE_MS;
  }

  /** Makes the key's context known to the server: a parameter set's name and 32 random bytes. Changes nothing where it is known. */
  async ensureContext(options: CallOptions = {}): Promise<void> {
    const { parameterSet, keyId } = this.#keyHolder;
    const packed = { parameterSet: toWireParameterSet(parameterSet.name), keyId: Buffer.from(keyId) };
    const requests = ReadableStream.from([{ context: { scheme: { $case: "packed" as const, value: packed } } }]);
    const { context } = await this.#call(options, (signal) => this.#services.contexts.createContext(requests, { signal }));
    if (context?.contextId !== packedContextId(parameterSet.name, keyId)) throw invalidReply("another context id than the context's content gives");
  }

  /** Creates an empty gallery under this key, and the key's context where the server does not have it. Refused with GALLERY_EXISTS. */
  async createGallery(galleryId: string, space: ModelSpace, options: CallOptions = {}): Promise<GalleryInfo> {
    await this.ensureContext(options);
    const gallery = { galleryId: checkId("gallery", galleryId), contextId: this.#keyHolder.contextId, space: toWireSpace(space) };
    const reply = await this.#call(options, (signal) => this.#services.galleries.createGallery({ gallery }, { signal }));
    return fromWireGallery(reply.gallery);
  }

  /** One gallery as it is now. Refused with GALLERY_NOT_FOUND. */
  async getGallery(galleryId: string, options: CallOptions = {}): Promise<GalleryInfo> {
    checkId("gallery", galleryId);
    const { gallery } = await this.#call(options, (signal) => this.#services.galleries.getGallery({ galleryId }, { signal }));
    return fromWireGallery(gallery);
  }

  /** The galleries under this key, in the order of their ids; none where the server does not know the key's context. */
  async listGalleries(options: CallOptions = {}): Promise<GalleryInfo[]> {
    const galleries: GalleryInfo[] = [];
    const { contextId } = this.#keyHolder;
    let pageToken = "";
    do {
      const request = { contextId, pageSize: PAGE_SIZE, pageToken };
      const page = await this.#call(options, (signal) => this.#services.galleries.listGalleries(request, { signal }));
      galleries.push(...page.galleries.map(fromWireGallery));
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    return galleries;
  }

  /** Deletes a gallery with all its templates. Refused with GALLERY_NOT_FOUND. */
  async deleteGallery(galleryId: string, options: CallOptions = {}): Promise<void> {
    checkId("gallery", galleryId);
    await this.#call(options, (signal) => this.#services.galleries.deleteGallery({ galleryId }, { signal }));
    this.#galleries.delete(galleryId);
  }

  /**
   * Encrypts and enrolls templates as the source yields them; memory does not grow with their number. Returns how many. Enrolling an
   * id again replaces its template, so a broken enrollment is resumed by running it again. Where it throws, what onProgress reported
   * is enrolled and stays. Throws ClientError EMBEDDING_INVALID, KEY_MISMATCH, MODEL_MISMATCH, and what the source throws.
   */
  async enroll(galleryId: string, source: AsyncIterable<Enrollment> | Iterable<Enrollment>, options: EnrollOptions & ModelOption = {}): Promise<number> {
    const { info, crypto } = await this.#read(galleryId, options);
    const stream = new EnrollmentStream(this.#services, this.#keyHolder, crypto, info, { ...options, ...this.#deadline(options) });
    return stream.run(source);
  }

  /**
   * Whether an embedding is of a subject (1:1): the distance to the nearest of its templates, and the decision, which never leaves
   * this process. Throws ClientError SERVER_REFUSED with SUBJECT_NOT_FOUND, EMBEDDING_INVALID, KEY_MISMATCH, MODEL_MISMATCH.
   */
  async verify(galleryId: string, subjectId: string, embedding: ArrayLike<number>, options: VerifyOptions): Promise<Verification> {
    checkThreshold(options.threshold);
    checkId("subject", subjectId);
    const nearest = await this.#withGallery(galleryId, options, (gallery) => this.#matching.compare(gallery, subjectId, embedding, { ...options, ...this.#deadline(options) }));
    return { ...decide(nearest.distance, options.threshold), subjectId, templateId: nearest.templateId };
  }

  /**
   * Who an embedding may be of (1:N): the nearest subjects by the nearest of their templates, nearest first, ties in the order of
   * ids; empty for nobody. Throws ClientError EMBEDDING_INVALID, KEY_MISMATCH, MODEL_MISMATCH.
   */
  async identify(galleryId: string, embedding: ArrayLike<number>, options: IdentifyOptions = {}): Promise<Candidate[]> {
    const { top = 5, threshold } = options;
    if (!Number.isInteger(top) || top < 1) throw new ClientError("USAGE", `top ${top} is out of range: expected a whole number >= 1`);
    if (threshold !== undefined) checkThreshold(threshold);
    // Always read anew: a gallery that was deleted and created again under its id would have other people in the same places.
    const gallery = await this.#read(galleryId, options);
    const candidates = await this.#matching.search(gallery, embedding, top, { ...options, ...this.#deadline(options) });
    return threshold === undefined ? candidates : candidates.filter(({ distance }) => distance <= threshold);
  }

  /** The live templates of a gallery with their subjects, in the order they last changed. */
  async listTemplates(galleryId: string, options: CallOptions = {}): Promise<RosterEntry[]> {
    const { info, roster } = await this.#read(galleryId, options);
    await roster.update(info.revision);
    return roster.entries();
  }

  /** Deletes templates by id or by subject; ids that are not there are passed over. Returns the ids of the templates that are gone. */
  async deleteTemplates(galleryId: string, ids: { readonly templateIds?: readonly string[]; readonly subjectIds?: readonly string[] }, options: CallOptions = {}): Promise<string[]> {
    const templateIds = (ids.templateIds ?? []).map((id) => checkId("template", id));
    const subjectIds = (ids.subjectIds ?? []).map((id) => checkId("subject", id));
    const deleted: string[] = [];
    for (let at = 0; at < Math.max(templateIds.length, subjectIds.length); at += MAX_IDS_PER_DELETE) {
      const page = (all: string[]): string[] => all.slice(at, at + MAX_IDS_PER_DELETE);
      const request = { galleryId: checkId("gallery", galleryId), templateIds: page(templateIds), subjectIds: page(subjectIds) };
      const { entries } = await this.#call(options, (signal) => this.#services.galleries.deleteTemplates(request, { signal }));
      deleted.push(...entries.map(({ templateId }) => templateId));
    }
    return deleted;
  }

  [Symbol.dispose](): void {
    this.#services.close();
  }

  async #withGallery<T>(galleryId: string, options: CallOptions & ModelOption, run: (gallery: OpenGallery) => Promise<T>): Promise<T> {
    const known = this.#galleries.get(galleryId);
    if (known === undefined) return run(await this.#read(galleryId, options));
    checkModel(known.info, options);
    try {
      return await run(known);
    } catch (error) {
      if (!(error instanceof ClientError) || !REASONS_TO_READ_AGAIN.includes(error.serverReason)) throw error;
      return run(await this.#read(galleryId, options));
    }
  }

  /** Reads a gallery and keeps what is known of it, unless it is another one under the same id by now. */
  async #read(galleryId: string, options: CallOptions & ModelOption): Promise<OpenGallery> {
    const info = await this.getGallery(galleryId, options);
    if (info.contextId !== this.#keyHolder.contextId) {
      throw new ClientError("KEY_MISMATCH", `gallery "${galleryId}" belongs to another key: use the key it was created with`);
    }
    checkModel(info, options);
    const known = this.#galleries.get(galleryId);
    const same = known?.info.createTime.getTime() === info.createTime.getTime() ? known : undefined;
    const gallery = { info, crypto: same?.crypto ?? new PackedCrypto(this.#keyHolder, info.space), roster: same?.roster ?? this.#newRoster(galleryId) };
    this.#galleries.set(galleryId, gallery);
    return gallery;
  }

  #newRoster(galleryId: string): Roster {
    return new Roster(async (sinceRevision, pageToken) => {
      const request = { galleryId, sinceRevision, pageSize: PAGE_SIZE, pageToken };
      const { entries, revision, nextPageToken } = await this.#call({}, (signal) => this.#services.galleries.listTemplates(request, { signal }));
      return { changes: entries.map((entry) => ({ templateId: entry.templateId, live: fromWireEntry(entry) })), revision, nextPageToken };
    });
  }

  #call<T>(options: CallOptions, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return call(this.#services.address, { ...options, ...this.#deadline(options) }, run);
  }

  #deadline({ deadlineMs }: CallOptions): { deadlineMs: number } {
    return { deadlineMs: deadlineMs ?? this.#deadlineMs };
  }
}

function checkModel({ galleryId, space }: GalleryInfo, { modelId }: ModelOption): void {
  if (modelId === undefined || modelId === space.modelId) return;
  throw new ClientError("MODEL_MISMATCH", `gallery "${galleryId}" holds embeddings of model "${space.modelId}", not of "${modelId}": use the gallery's model`);
}
