import { randomBytes } from "node:crypto";
import { packedContextId } from "@veilface/fhe";
import type { ListTemplateChangesRequest } from "@veilface/proto";
import type { Bounded } from "./call-bounds.ts";
import type { RpcOptions, Rpcs } from "./calls.ts";
import {
  GALLERY_PAGES,
  MAX_DELETED_PER_CALL,
  PARAMETER_SETS,
  ROSTER_PAGES,
  UID_BYTES,
  definedOnly,
} from "@veilface/proto";
import { Deletion } from "../deletion.ts";
import type { DeletedTemplates } from "../deletion.ts";
import { checkId } from "../ids.ts";
import type { KeyHolder } from "../keys/key-holder.ts";
import type { ModelSpace } from "../model-space.ts";
import { isUnavailable } from "./retrying.ts";
import type { RosterPage } from "./wire.ts";
import { fromWireChange, fromWireGallery, fromWireServerInfo, invalidReply, toWireSpace } from "./wire.ts";
import type { GalleryInfo, ServerInfo, SubjectInfo } from "./wire.ts";
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
type RosterPageRequest = Pick<ListTemplateChangesRequest, "sinceRevision" | "pageToken">;

/** The templates to delete, by their ids, by their subjects', or both. */
export interface DeletedIds {
  /** Ids of templates, any number of them; none unless given. */
  readonly templateIds?: readonly string[];
  /** Ids of subjects all of whose templates are meant, any number of them; none unless given. */
  readonly subjectIds?: readonly string[];
}

// A quarter of what the contract allows: longer messages hold the event loop of either side for too long.
const MAX_ENTRIES_PER_PAGE = ROSTER_PAGES.most / 4;
const MAX_IDS_PER_DELETE = 1000;
const MOST_DELETED = MAX_DELETED_PER_CALL / 4;

/** What is changed of a gallery: what is not given stays as it is. */
export interface GalleryChanges {
  /** All labels that it has from then on: at most 64, keys of a-z, 0-9, "-", "_" and ".", which the server sees. */
  readonly labels?: Readonly<Record<string, string>>;
  /** How many templates it is for, in [0, 1e9]; 0 means 10,000. Packing chooses the stride by it. */
  readonly expectedTemplates?: number;
}

/** The calls about contexts and galleries, one method each: what is asked and answered is checked here. */
export class GalleryCalls {
  readonly rpcs: Rpcs;

  constructor(rpcs: Rpcs) {
    this.rpcs = rpcs;
  }

  /** As VeilfaceClient.ensureContext, for any key. */
  async ensureContext(keyHolder: KeyHolder, options: Bounded): Promise<void> {
    const { keyId, contextId } = keyHolder;
    const { parameterSet } = ciphersOf(keyHolder);
    const packed = { parameterSet: PARAMETER_SETS.toWire(parameterSet.name), keyId: Buffer.from(keyId) };
    const scheme = { $case: "packed" as const, value: packed };
    const request = { message: { $case: "newContext" as const, value: { context: { scheme } } } };
    const { contexts } = this.rpcs.services;
    const create = (rpc: RpcOptions) => contexts.createContext(ReadableStream.from([request]), rpc);
    const { context } = await this.rpcs.call(options, create, isUnavailable);
    if (context?.contextId !== contextId || contextId !== packedContextId(parameterSet.name, keyId))
      throw invalidReply("another context id than the context's content gives");
  }

  /** As VeilfaceClient.getServerInfo. */
  async serverInfo(options: Bounded): Promise<ServerInfo> {
    const { server } = this.rpcs.services;
    const { serverInfo } = await this.rpcs.call(options, (rpc) => server.getServerInfo({}, rpc), isUnavailable);
    return fromWireServerInfo(serverInfo);
  }

  async create({ galleryId, space, labels, ...gallery }: NewGallery, options: Bounded): Promise<GalleryInfo> {
    // By the uid the server knows the request again, so that it can be repeated.
    const uid = randomBytes(UID_BYTES);
    const asked = {
      ...gallery,
      galleryId: checkId("gallery", galleryId),
      space: toWireSpace(space),
      uid,
      labels: { ...labels },
    };
    const { galleries } = this.rpcs.services;
    const reply = await this.rpcs.call(
      options,
      (rpc) => galleries.createGallery({ gallery: asked }, rpc),
      isUnavailable,
    );
    const created = fromWireGallery(reply.gallery);
    if (created.uid !== uid.toString("hex")) throw invalidReply("a new gallery of another uid than was drawn for it");
    return created;
  }

  /** Changes labels, the expected number of templates, or both. */
  async update(galleryId: string, changes: GalleryChanges, options: Bounded): Promise<GalleryInfo> {
    checkId("gallery", galleryId);
    const { labels, expectedTemplates } = changes;
    const updateMask = [
      ...(labels === undefined ? [] : ["labels"]),
      ...(expectedTemplates === undefined ? [] : ["expected_templates"]),
    ];
    const gallery = definedOnly({ galleryId, labels: labels && { ...labels }, expectedTemplates });
    const { galleries } = this.rpcs.services;
    const request = { gallery, updateMask };
    const reply = await this.rpcs.call(options, (rpc) => galleries.updateGallery(request, rpc), isUnavailable);
    return fromWireGallery(reply.gallery);
  }

  async get(galleryId: string, options: Bounded): Promise<GalleryInfo> {
    checkId("gallery", galleryId);
    const { galleries } = this.rpcs.services;
    const { gallery } = await this.rpcs.call(options, (rpc) => galleries.getGallery({ galleryId }, rpc), isUnavailable);
    return fromWireGallery(gallery);
  }

  /** All galleries of a context, drafts too, in the order of their ids. */
  async list(contextId: string, options: Bounded): Promise<GalleryInfo[]> {
    const found: GalleryInfo[] = [];
    const { galleries } = this.rpcs.services;
    const request = { contextId, pageSize: GALLERY_PAGES.most };
    for await (const page of this.rpcs.pages(options, (pageToken, rpc) =>
      galleries.listGalleries({ ...request, pageToken }, rpc),
    ))
      found.push(...page.galleries.map(fromWireGallery));
    return found;
  }

  async delete(galleryId: string, options: Bounded): Promise<void> {
    checkId("gallery", galleryId);
    const { galleries } = this.rpcs.services;
    await this.rpcs.deletion(options, (allowMissing, rpc) => galleries.deleteGallery({ galleryId, allowMissing }, rpc));
  }

  /** Puts a draft in the place of a gallery that has that revision still. */
  async replace(old: GalleryInfo, draft: GalleryInfo, options: Bounded): Promise<GalleryInfo> {
    const draftUid = Buffer.from(draft.uid, "hex");
    const request = {
      galleryId: old.galleryId,
      draftId: draft.galleryId,
      expectedRevision: old.revision,
      draftUid,
    };
    const { galleries } = this.rpcs.services;
    const { gallery } = await this.rpcs.call(options, (rpc) => galleries.replaceGallery(request, rpc));
    return fromWireGallery(gallery);
  }

  /** The changes after a revision, from the page that the token names. */
  async readRosterPage(galleryId: string, page: RosterPageRequest, options: Bounded): Promise<RosterPage> {
    const request = { galleryId, pageSize: MAX_ENTRIES_PER_PAGE, ...page };
    const list = (rpc: RpcOptions) => this.rpcs.services.galleries.listTemplateChanges(request, rpc);
    const { entries, revision, nextPageToken } = await this.rpcs.call(options, list, isUnavailable);
    return {
      changes: entries.map(fromWireChange),
      revision,
      nextPageToken,
    };
  }

  /** As VeilfaceClient.listSubjects. */
  async listSubjects(galleryId: string, options: Bounded): Promise<SubjectInfo[]> {
    // By id: one whose oldest template changes meanwhile may come twice.
    const subjects = new Map<string, SubjectInfo>();
    const { galleries } = this.rpcs.services;
    const request = { galleryId, pageSize: MAX_ENTRIES_PER_PAGE };
    for await (const page of this.rpcs.pages(options, (pageToken, rpc) =>
      galleries.listSubjects({ ...request, pageToken }, rpc),
    ))
      for (const { subjectId, templateCount } of page.subjects) subjects.set(subjectId, { subjectId, templateCount });
    return [...subjects.values()];
  }

  /** As VeilfaceClient.deleteTemplates: as many calls as it takes. */
  async deleteTemplates(galleryId: string, ids: DeletedIds, options: Bounded): Promise<DeletedTemplates> {
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
        const reply = await this.rpcs.call(options, (rpc) =>
          this.rpcs.services.galleries.deleteTemplates(request, rpc),
        );
        if (reply.more && reply.deletedCount === 0) throw invalidReply("no deletion, but that there are more");
        deletion.add(reply, first);
        ({ more } = reply);
      }
    }
    return deletion.result();
  }
}
