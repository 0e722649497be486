import type { DeleteTemplatesRequest, GalleryServiceImplementation } from "@veilface/proto";
import { enroll } from "../requests/enroll-templates.ts";
import { WAITING_BYTES } from "../limits.ts";
import type { Serving } from "../requests/gallery-scheme.ts";
import { galleryChanges } from "../requests/update-gallery.ts";
import { unlessMissing } from "../requests/unless-missing.ts";
import { newGallery } from "../requests/create-gallery.ts";
import { readAll } from "../requests/read-all.ts";
import { readTemplates } from "../requests/read-templates.ts";
import type { Deletion } from "../store/gallery-store.ts";
import { deletedToWire, enrolledToWire, entryToWire, galleryToWire, readStepToWire } from "./to-wire.ts";
import {
  contextId,
  pageSize,
  pageToken,
  required,
  resourceId,
  revision,
  revisionToken,
  uid,
} from "../requests/from-wire.ts";
import { fieldInvalid } from "../errors.ts";
import { WaitingBytes } from "../requests/waiting-bytes.ts";

const MOST_GALLERIES = 1000;
const USUAL_GALLERIES = 100;
const MOST_ENTRIES = 10_000;
const USUAL_ENTRIES = 1000;
/** To code more at a time holds the event loop for over 20 ms. A page may be shorter than was asked for. */
const ENTRIES_PER_PAGE = 2500;
const MOST_IDS = 10_000;
const MOST_DELETED = 10_000;

/** The rpcs of GalleryService over a store. Enrollments end once `stopping` aborts. */
export function galleryService(serving: Serving, stopping: AbortSignal): GalleryServiceImplementation {
  const { store } = serving;
  const enrolling = {
    ...serving,
    stopping,
    units: new WaitingBytes({ what: "blocks and templates", bytes: WAITING_BYTES }),
  };
  return {
    async createGallery(request) {
      return {
        gallery: galleryToWire(await store.createGallery(newGallery(store, required("gallery", request.gallery)))),
      };
    },
    async getGallery(request) {
      return Promise.resolve({ gallery: galleryToWire(store.getGallery(resourceId("gallery_id", request.galleryId))) });
    },
    async listGalleries(request) {
      const { context, token, limit } = readAll({
        context: () => (request.contextId === "" ? undefined : contextId("context_id", request.contextId)),
        token: () => pageToken(request.pageToken),
        limit: () => pageSize(request.pageSize, MOST_GALLERIES, USUAL_GALLERIES),
      });
      const { galleries, next } = store.listGalleries(context, token, limit);
      return Promise.resolve({ galleries: galleries.map(galleryToWire), nextPageToken: next ?? "" });
    },
    async updateGallery(request) {
      const { galleryId, changes } = galleryChanges(request);
      return { gallery: galleryToWire(await store.updateGallery(galleryId, changes)) };
    },
    async deleteGallery({ galleryId, allowMissing }) {
      await unlessMissing(allowMissing, store.deleteGallery(resourceId("gallery_id", galleryId)));
      return {};
    },
    async *enrollTemplates(requests) {
      for await (const enrolled of enroll(enrolling, requests)) yield enrolledToWire(enrolled);
    },
    async listTemplates(request) {
      const { galleryId, since, limit } = readAll({
        galleryId: () => resourceId("gallery_id", request.galleryId),
        since: () =>
          request.pageToken === ""
            ? revision("since_revision", request.sinceRevision)
            : revisionToken(request.pageToken),
        limit: () => pageSize(request.pageSize, MOST_ENTRIES, USUAL_ENTRIES),
      });
      const page = await store.listEntries(galleryId, since, Math.min(limit, ENTRIES_PER_PAGE));
      return {
        entries: page.entries.map(entryToWire),
        nextPageToken: page.next?.toString() ?? "",
        revision: page.revision,
      };
    },
    async deleteTemplates(request) {
      const { galleryId, what } = readAll({
        galleryId: () => resourceId("gallery_id", request.galleryId),
        what: () => deletion(request),
      });
      return deletedToWire(await store.deleteTemplates(galleryId, what));
    },
    async *readTemplates(request, { signal }) {
      for await (const step of readTemplates(serving, resourceId("gallery_id", request.galleryId), signal))
        yield { message: readStepToWire(step) };
    },
    async replaceGallery(request) {
      const { galleryId, draftId, expectedRevision, draftUid } = readAll({
        galleryId: () => resourceId("gallery_id", request.galleryId),
        draftId: () => resourceId("draft_id", request.draftId),
        expectedRevision: () => revision("expected_revision", request.expectedRevision),
        draftUid: () => (request.draftUid.length === 0 ? undefined : uid("draft_uid", request.draftUid)),
      });
      const there = store.getGallery(galleryId);
      const isDone = draftUid !== undefined && Buffer.from(draftUid).equals(there.uid);
      return {
        gallery: galleryToWire(isDone ? there : await store.replaceGallery(galleryId, draftId, expectedRevision)),
      };
    },
  };
}

function deletion({ templateIds, subjectIds, maxTemplates }: DeleteTemplatesRequest): Deletion {
  const { most, ...named } = readAll({
    templateIds: () => ids("template_ids", templateIds),
    subjectIds: () => ids("subject_ids", subjectIds),
    most: () => mostDeleted("max_templates", maxTemplates),
  });
  return { ...named, ...(most > 0 && { most }) };
}

function mostDeleted(field: string, value: number): number {
  if (value < 0 || value > MOST_DELETED) throw fieldInvalid(field, `must be in [1, ${MOST_DELETED}], or 0 for all`);
  return value;
}

function ids(field: string, values: readonly string[]): string[] {
  if (values.length > MOST_IDS)
    throw fieldInvalid(field, `has ${values.length} ids: send at most ${MOST_IDS} in one call`);
  return values.map((value) => resourceId(field, value));
}
