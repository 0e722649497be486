import type { GalleryServiceImplementation } from "@veilface/proto";
import { enroll } from "./enrollment.ts";
import type { Matcher } from "./matcher.ts";
import type { GalleryStore } from "./store/gallery-store.ts";
import { entryToWire, galleryToWire } from "./to-wire.ts";
import { contextId, embeddingSpace, fieldInvalid, pageSize, pageToken, required, resourceId, revision, revisionToken } from "./validate.ts";

const MOST_GALLERIES = 1000;
const USUAL_GALLERIES = 100;
const MOST_ENTRIES = 10_000;
const USUAL_ENTRIES = 1000;
const MOST_IDS = 10_000;

/** The rpcs of GalleryService over a store. Enrollments end once `stopping` aborts. */
export function galleryService(store: GalleryStore, matcher: Matcher, stopping: AbortSignal): GalleryServiceImplementation {
  return {
    async createGallery(request) {
      const { galleryId, contextId: context, space } = required("gallery", request.gallery);
      const gallery = await store.createGallery({
        galleryId: resourceId("gallery.gallery_id", galleryId),
        contextId: contextId("gallery.context_id", context),
        space: embeddingSpace("gallery.space", space),
      });
      return { gallery: galleryToWire(gallery) };
    },
    async getGallery(request) {
      return Promise.resolve({ gallery: galleryToWire(store.getGallery(resourceId("gallery_id", request.galleryId))) });
    },
    async listGalleries(request) {
      const limit = pageSize(request.pageSize, MOST_GALLERIES, USUAL_GALLERIES);
      const context = request.contextId === "" ? undefined : contextId("context_id", request.contextId);
      const galleries = store.listGalleries(context, pageToken(request.pageToken), limit);
      const nextPageToken = galleries.length === limit ? galleries.at(-1)!.galleryId : "";
      return Promise.resolve({ galleries: galleries.map(galleryToWire), nextPageToken });
    },
    async deleteGallery(request) {
      await store.deleteGallery(resourceId("gallery_id", request.galleryId));
      return {};
    },
    async *enrollTemplates(requests) {
      for await (const entry of enroll(store, matcher, requests, stopping)) yield { entry: entryToWire(entry) };
    },
    async listTemplates(request) {
      const limit = pageSize(request.pageSize, MOST_ENTRIES, USUAL_ENTRIES);
      const since = request.pageToken === "" ? revision("since_revision", request.sinceRevision) : revisionToken(request.pageToken);
      const page = store.listEntries(resourceId("gallery_id", request.galleryId), since, limit);
      return Promise.resolve({ entries: page.entries.map(entryToWire), nextPageToken: page.next?.toString() ?? "", revision: page.revision });
    },
    async deleteTemplates(request) {
      const galleryId = resourceId("gallery_id", request.galleryId);
      const deleted = await store.deleteTemplates(galleryId, ids("template_ids", request.templateIds), ids("subject_ids", request.subjectIds));
      return { entries: deleted.entries.map(entryToWire), revision: deleted.revision };
    },
  };
}

function ids(field: string, values: readonly string[]): string[] {
  if (values.length > MOST_IDS) throw fieldInvalid(field, `has ${values.length} ids: send at most ${MOST_IDS} in one call`);
  return values.map((value) => resourceId(field, value));
}
