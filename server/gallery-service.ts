import type { DeleteTemplatesRequest, GalleryServiceImplementation } from "@veilface/proto";
import { enroll } from "./enrollment.ts";
import type { Matchers } from "./matchers.ts";
import { newGallery } from "./new-gallery.ts";
import { readTemplates } from "./reading.ts";
import type { Deletion, GalleryStore } from "./store/gallery-store.ts";
import { deletedToWire, enrolledToWire, entryToWire, galleryToWire, readStepToWire } from "./to-wire.ts";
import { contextId, fieldInvalid, pageSize, pageToken, required, resourceId, revision, revisionToken } from "./validate.ts";

const MOST_GALLERIES = 1000;
const USUAL_GALLERIES = 100;
const MOST_ENTRIES = 10_000;
const USUAL_ENTRIES = 1000;
const MOST_IDS = 10_000;
const MOST_DELETED = 10_000;

/** The rpcs of GalleryService over a store. Enrollments end once `stopping` aborts. */
export function galleryService(store: GalleryStore, matchers: Matchers, stopping: AbortSignal): GalleryServiceImplementation {
  return {
    async createGallery(request) {
      return { gallery: galleryToWire(await store.createGallery(newGallery(store, required("gallery", request.gallery)))) };
    },
    async getGallery(request) {
      return Promise.resolve({ gallery: galleryToWire(store.getGallery(resourceId("gallery_id", request.galleryId))) });
    },
    async listGalleries(request) {
      const limit = pageSize(request.pageSize, MOST_GALLERIES, USUAL_GALLERIES);
      const context = request.contextId === "" ? undefined : contextId("context_id", request.contextId);
      const { galleries, next } = store.listGalleries(context, pageToken(request.pageToken), limit);
      return Promise.resolve({ galleries: galleries.map(galleryToWire), nextPageToken: next ?? "" });
    },
    async deleteGallery(request) {
      await store.deleteGallery(resourceId("gallery_id", request.galleryId));
      return {};
    },
    async *enrollTemplates(requests) {
      for await (const enrolled of enroll(store, matchers, requests, stopping)) yield enrolledToWire(enrolled);
    },
    async listTemplates(request) {
      const limit = pageSize(request.pageSize, MOST_ENTRIES, USUAL_ENTRIES);
      const since = request.pageToken === "" ? revision("since_revision", request.sinceRevision) : revisionToken(request.pageToken);
      const page = await store.listEntries(resourceId("gallery_id", request.galleryId), since, limit);
      return { entries: page.entries.map(entryToWire), nextPageToken: page.next?.toString() ?? "", revision: page.revision };
    },
    async deleteTemplates(request) {
      return deletedToWire(await store.deleteTemplates(resourceId("gallery_id", request.galleryId), deletion(request)));
    },
    async *readTemplates(request, { signal }) {
      for await (const step of readTemplates(store, matchers.packed, resourceId("gallery_id", request.galleryId), signal)) yield { message: readStepToWire(step) };
    },
    async replaceGallery(request) {
      const [galleryId, draftId] = [resourceId("gallery_id", request.galleryId), resourceId("draft_id", request.draftId)];
      const gallery = await store.replaceGallery(galleryId, draftId, revision("expected_revision", request.expectedRevision));
      return { gallery: galleryToWire(gallery) };
    },
  };
}

function deletion({ templateIds, subjectIds, maxTemplates }: DeleteTemplatesRequest): Deletion {
  if (maxTemplates < 0 || maxTemplates > MOST_DELETED) throw fieldInvalid("max_templates", `must be in [1, ${MOST_DELETED}], or 0 for all`);
  const named = { templateIds: ids("template_ids", templateIds), subjectIds: ids("subject_ids", subjectIds) };
  return { ...named, most: maxTemplates === 0 ? MOST_DELETED : maxTemplates, leaveRest: maxTemplates !== 0 };
}

function ids(field: string, values: readonly string[]): string[] {
  if (values.length > MOST_IDS) throw fieldInvalid(field, `has ${values.length} ids: send at most ${MOST_IDS} in one call`);
  return values.map((value) => resourceId(field, value));
}
