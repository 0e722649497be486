import type { GalleryServiceImplementation } from "@veilface/proto";
import { WAITING_BYTES } from "../limits.ts";
import { newGallery } from "../requests/create-gallery.ts";
import { askedDeletion } from "../requests/delete-templates.ts";
import { enroll } from "../requests/enroll-templates.ts";
import { required, resourceId } from "../requests/from-wire.ts";
import type { Serving } from "../requests/gallery-scheme.ts";
import { listGalleries } from "../requests/list-galleries.ts";
import { listSubjects } from "../requests/list-subjects.ts";
import { listTemplateChanges } from "../requests/list-template-changes.ts";
import { listTemplates } from "../requests/list-templates.ts";
import { readTemplates } from "../requests/read-templates.ts";
import { replaceGallery } from "../requests/replace-gallery.ts";
import { unlessMissing } from "../requests/unless-missing.ts";
import { galleryChanges } from "../requests/update-gallery.ts";
import { WaitingBytes } from "../requests/waiting-bytes.ts";
import type { GalleryStore } from "../store/gallery-store.ts";
import { deletedToWire, enrolledToWire, entryToWire, galleryToWire, readStepToWire } from "./to-wire.ts";

/** The rpcs of GalleryService over a store. Enrollments end once `stopping` aborts. */
export function galleryService(serving: Serving, stopping: AbortSignal): GalleryServiceImplementation {
  return { ...aboutGalleries(serving.store), ...listings(serving.store), ...aboutTemplates(serving, stopping) };
}

type Listings = "listTemplates" | "listSubjects" | "listTemplateChanges";
type AboutTemplates = "enrollTemplates" | "deleteTemplates" | "readTemplates";

function aboutGalleries(store: GalleryStore): Omit<GalleryServiceImplementation, Listings | AboutTemplates> {
  return {
    async createGallery({ gallery }) {
      return { gallery: galleryToWire(await store.createGallery(newGallery(store, required("gallery", gallery)))) };
    },
    async getGallery({ galleryId }) {
      return Promise.resolve({ gallery: galleryToWire(store.getGallery(resourceId("gallery_id", galleryId))) });
    },
    async listGalleries(request) {
      const { galleries, nextPageToken } = listGalleries(store, request);
      return Promise.resolve({ galleries: galleries.map(galleryToWire), nextPageToken });
    },
    async updateGallery(request) {
      const { galleryId, changes } = galleryChanges(request);
      return { gallery: galleryToWire(await store.updateGallery(galleryId, changes)) };
    },
    async deleteGallery({ galleryId, allowMissing }) {
      await unlessMissing(allowMissing, store.deleteGallery(resourceId("gallery_id", galleryId)));
      return {};
    },
    async replaceGallery(request) {
      return { gallery: galleryToWire(await replaceGallery(store, request)) };
    },
  };
}

function listings(store: GalleryStore): Pick<GalleryServiceImplementation, Listings> {
  return {
    async listTemplates(request) {
      const { entries, nextPageToken } = await listTemplates(store, request);
      return { entries: entries.map(entryToWire), nextPageToken };
    },
    async listSubjects(request) {
      const { subjects, nextPageToken } = await listSubjects(store, request);
      return { subjects: [...subjects], nextPageToken };
    },
    async listTemplateChanges(request) {
      const { entries, ...page } = await listTemplateChanges(store, request);
      return { entries: entries.map(entryToWire), ...page };
    },
  };
}

function aboutTemplates(serving: Serving, stopping: AbortSignal): Pick<GalleryServiceImplementation, AboutTemplates> {
  const { store } = serving;
  const units = new WaitingBytes({ what: "blocks and templates", bytes: WAITING_BYTES });
  const enrolling = { ...serving, stopping, units };
  return {
    async *enrollTemplates(requests) {
      for await (const enrolled of enroll(enrolling, requests)) yield enrolledToWire(enrolled);
    },
    async deleteTemplates(request) {
      const { galleryId, deletion } = askedDeletion(request);
      return deletedToWire(await store.deleteTemplates(galleryId, deletion));
    },
    async *readTemplates({ galleryId }, { signal }) {
      const steps = readTemplates(serving, resourceId("gallery_id", galleryId), signal);
      for await (const step of steps) yield { message: readStepToWire(step) };
    },
  };
}
