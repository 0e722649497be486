import { GALLERY_PAGES } from "@veilface/proto";
import type { ListGalleriesRequest } from "@veilface/proto";
import type { GalleryPage, GalleryStore } from "../store/gallery-store.ts";
import { contextId, pageSize, pageToken } from "./from-wire.ts";
import { readAll } from "./read-all.ts";

/** A page of galleries. Throws ServerError FIELD_INVALID. */
export function listGalleries(store: GalleryStore, request: ListGalleriesRequest): GalleryPage {
  const { context, token, limit } = readAll({
    context: () => (request.contextId === "" ? undefined : contextId("context_id", request.contextId)),
    token: () => pageToken(request.pageToken),
    limit: () => pageSize(request.pageSize, GALLERY_PAGES),
  });
  return store.listGalleries(context, token, limit);
}
