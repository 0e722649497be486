import { ROSTER_PAGES } from "@veilface/proto";
import type { ListTemplatesRequest } from "@veilface/proto";
import type { GalleryStore, RosterPage } from "../store/gallery-store.ts";
import { pageSize, resourceId, revision, revisionToken } from "./from-wire.ts";
import { readAll } from "./read-all.ts";

/** To code more at a time holds the event loop for over 20 ms. A page may be shorter than was asked for. */
const ENTRIES_PER_PAGE = 2500;

/** A page of a roster's changes. Throws ServerError FIELD_INVALID, GALLERY_NOT_FOUND. */
export async function listTemplates(store: GalleryStore, request: ListTemplatesRequest): Promise<RosterPage> {
  const { pageToken, sinceRevision } = request;
  const { galleryId, since, limit } = readAll({
    galleryId: () => resourceId("gallery_id", request.galleryId),
    since: () => (pageToken === "" ? revision("since_revision", sinceRevision) : revisionToken(pageToken)),
    limit: () => pageSize(request.pageSize, ROSTER_PAGES),
  });
  return store.listEntries(galleryId, since, Math.min(limit, ENTRIES_PER_PAGE));
}
