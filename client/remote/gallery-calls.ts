import { randomBytes } from "node:crypto";
import { packedContextId } from "@veilface/fhe";
import {
  GALLERY_PAGES,
  MAX_DELETED_PER_CALL,
  PARAMETER_SETS,
  ROSTER_PAGES,
  UID_BYTES,
  definedOnly,
} from "@veilface/proto";
import type { ListTemplatesRequest } from "@veilface/proto";
import { call, repeatableCall } from "./calls.ts";
import type { CallOptions } from "./calls.ts";
import type { Services } from "./channel.ts";
import { Deletion } from "../deletion.ts";
import type { DeletedTemplates } from "../deletion.ts";
import { checkId } from "../ids.ts";
import type { KeyHolder } from "../keys/key-holder.ts";
import type { ModelSpace } from "../model-space.ts";
import type { RosterPage } from "./wire.ts";
import { fromWireEntry, fromWireGallery, fromWireServerInfo, invalidReply, toWireSpace } from "./wire.ts";
import type { GalleryInfo, ServerInfo } from "./wire.ts";
import { ciphersOf } from "../keys/key-holder.ts";

/** A gallery to be created. */
export interface NewGallery {
  readonly galleryId: string;
  readonly contextId: string;
  readonly space: ModelSpace;
  /** The stride of packed blocks; the server chooses where it is not given. */
  readonly packedStride?: number;
  /** What the server chooses the stride for; 10,000 where it is not given. */
  readonly expectedTemplates?: number;
  readonly draftOf?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

/** Which page of a roster's changes. */
type RosterPageRequest = Pick<ListTemplatesRequest, "sinceRevision" | "pageToken">;

/** The templates to delete, by their ids or by their subjects'. */
export interface DeletedIds {
  readonly templateIds?: readonly string[];
  readonly subjectIds?: readonly string[];
}

// A quarter of what the contract allows: longer messages hold the event loop of either side for too long.
const MAX_ENTRIES_PER_PAGE = ROSTER_PAGES.most / 4;
const MAX_IDS_PER_DELETE = 1000;
const MOST_DELETED = MAX_DELETED_PER_CALL / 4;

/** What may be changed of a gallery. */
export interface GalleryChanges {
  /** All labels that it has from then on: at most 64, keys of a-z, 0-9, "-", "_" and ".", which the server sees. */
  readonly labels?: Readonly<Record<string, string>>;
  /** How many templates it is for, in [0, 1e9]; 0 means 10,000. Packing chooses the stride by it. */
  readonly expectedTemplates?: number;
}

/** The calls about contexts and galleries, one method each: what is asked and answered is checked here. */
export class GalleryCalls {
  readonly services: Services;
  readonly #deadlineMs: number;

  constructor(services: Services, deadlineMs: number) {
    this.services = services;
    this.#deadlineMs = deadlineMs;
  }

  /** As VeilfaceClient.ensureContext, for any key. */
  async ensureContext(keyHolder: KeyHolder, options: CallOptions): Promise<void> {
    const { keyId, contextId } = keyHolder;
    const { parameterSet } = ciphersOf(keyHolder);
    const packed = { parameterSet: PARAMETER_SETS.toWire(parameterSet.name), keyId: Buffer.from(keyId) };
    const request = { context: { scheme: { $case: "packed" as const, value: packed } } };
    const { contexts } = this.services;
    const create = (signal: AbortSignal) => contexts.createContext(ReadableStream.from([request]), { signal });
    const { context } = await this.#repeatable(options, create);
    if (context?.contextId !== contextId || contextId !== packedContextId(parameterSet.name, keyId))
      throw invalidReply("another context id than the context's content gives");
  }

  /** As VeilfaceClient.getServerInfo. */
  async serverInfo(options: CallOptions): Promise<ServerInfo> {
    const { server } = this.services;
    const { serverInfo } = await this.#repeatable(options, (signal) => server.getServerInfo({}, { signal }));
    return fromWireServerInfo(serverInfo);
  }

  async create({ galleryId, space, labels, ...gallery }: NewGallery, options: CallOptions): Promise<GalleryInfo> {
    // By the uid the server knows the request again, so that it can be repeated.
    const uid = randomBytes(UID_BYTES);
    const asked = {
      ...gallery,
      galleryId: checkId("gallery", galleryId),
      space: toWireSpace(space),
      uid,
      labels: { ...labels },
    };
    const { galleries } = this.services;
    const reply = await this.#repeatable(options, (signal) => galleries.createGallery({ gallery: asked }, { signal }));
    const created = fromWireGallery(reply.gallery);
    if (created.uid !== uid.toString("hex")) throw invalidReply("a new gallery of another uid than was drawn for it");
    return created;
  }

  /** Changes labels, the expected number of templates, or both. */
  async update(galleryId: string, changes: GalleryChanges, options: CallOptions): Promise<GalleryInfo> {
    checkId("gallery", galleryId);
    const { labels, expectedTemplates } = changes;
    const updateMask = [
      ...(labels === undefined ? [] : ["labels"]),
      ...(expectedTemplates === undefined ? [] : ["expected_templates"]),
    ];
    const gallery = definedOnly({ galleryId, labels: labels && { ...labels }, expectedTemplates });
    const { galleries } = this.services;
    const request = { gallery, updateMask };
    const reply = await this.#repeatable(options, (signal) => galleries.updateGallery(request, { signal }));
    return fromWireGallery(reply.gallery);
  }

  async get(galleryId: string, options: CallOptions): Promise<GalleryInfo> {
    checkId("gallery", galleryId);
    const { galleries } = this.services;
    const { gallery } = await this.#repeatable(options, (signal) => galleries.getGallery({ galleryId }, { signal }));
    return fromWireGallery(gallery);
  }

  /** All galleries of a context, drafts too, in the order of their ids. */
  async list(contextId: string, options: CallOptions): Promise<GalleryInfo[]> {
    const galleries: GalleryInfo[] = [];
    let pageToken = "";
    do {
      const request = { contextId, pageSize: GALLERY_PAGES.most, pageToken };
      const list = (signal: AbortSignal) => this.services.galleries.listGalleries(request, { signal });
      const page = await this.#repeatable(options, list);
      galleries.push(...page.galleries.map(fromWireGallery));
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    return galleries;
  }

  async delete(galleryId: string, options: CallOptions): Promise<void> {
    checkId("gallery", galleryId);
    await this.#call(options, (signal) => this.services.galleries.deleteGallery({ galleryId }, { signal }));
  }

  /** Puts a draft in the place of a gallery that has that revision still. */
  async replace(old: GalleryInfo, draft: GalleryInfo, options: CallOptions): Promise<GalleryInfo> {
    const draftUid = Buffer.from(draft.uid, "hex");
    const request = {
      galleryId: old.galleryId,
      draftId: draft.galleryId,
      expectedRevision: old.revision,
      draftUid,
    };
    const { galleries } = this.services;
    const { gallery } = await this.#call(options, (signal) => galleries.replaceGallery(request, { signal }));
    return fromWireGallery(gallery);
  }

  /** The changes after a revision, from the page that the token names. */
  async readRosterPage(galleryId: string, page: RosterPageRequest, options: CallOptions): Promise<RosterPage> {
    const request = { galleryId, pageSize: MAX_ENTRIES_PER_PAGE, ...page };
    const list = (signal: AbortSignal) => this.services.galleries.listTemplates(request, { signal });
    const { entries, revision, nextPageToken } = await this.#repeatable(options, list);
    return {
      changes: entries.map((entry) => ({
        templateId: entry.templateId,
        live: fromWireEntry(entry),
        revision: entry.revision,
      })),
      revision,
      nextPageToken,
    };
  }

  /** As VeilfaceClient.deleteTemplates: as many calls as it takes. */
  async deleteTemplates(galleryId: string, ids: DeletedIds, options: CallOptions): Promise<DeletedTemplates> {
    checkId("gallery", galleryId);
    const templateIds = (ids.templateIds ?? []).map((id) => checkId("template", id));
    const subjectIds = (ids.subjectIds ?? []).map((id) => checkId("subject", id));
    const deletion = new Deletion();
    for (let at = 0; at < Math.max(templateIds.length, subjectIds.length); at += MAX_IDS_PER_DELETE) {
      const page = (all: string[]): string[] => all.slice(at, at + MAX_IDS_PER_DELETE);
      const request = {
        galleryId,
        templateIds: page(templateIds),
        subjectIds: page(subjectIds),
        maxTemplates: MOST_DELETED,
      };
      for (let first = true, more = true; more; first = false) {
        const reply = await this.#call(options, (signal) =>
          this.services.galleries.deleteTemplates(request, { signal }),
        );
        if (reply.more && reply.entries.length === 0) throw invalidReply("no deletion, but that there are more");
        deletion.add(reply, first);
        ({ more } = reply);
      }
    }
    return deletion.result(templateIds);
  }

  /** The options with a deadline: their own, or the client's. */
  deadline<T extends CallOptions>(options: T): T & { deadlineMs: number } {
    return { ...options, deadlineMs: options.deadlineMs ?? this.#deadlineMs };
  }

  /** A call that changes nothing more when it is made again: it is, where the server went away. */
  #repeatable<T>(options: CallOptions, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return repeatableCall(this.services.address, this.deadline(options), run);
  }

  #call<T>(options: CallOptions, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return call(this.services.address, this.deadline(options), run);
  }
}
