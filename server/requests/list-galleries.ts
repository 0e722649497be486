import type { ListGalleriesRequest } from "@veilface/proto";
import type { GalleryPage, GalleryStore } from "../store/gallery-store.ts";
import { contextId, pageSize, pageToken } from "./from-wire.ts";
import { readAll } from "./read-all.ts";

const MOST_GALLERIES = 1000;
const USUAL_GALLERIES = 100;

/** A page of galleries. Throws ServerError FIELD_INVALID. */
export function listGalleries(store: GalleryStore, request: ListGalleriesRequest): GalleryPage {
  const { context, token, limit } = readAll({
    context: () => (request.contextId === "" ? undefined : contextId("context_id", request.contextId)),
    token: () => pageToken(request.pageToken),
    limit: () => pageSize(request.pageSize, MOST_GALLERIES, USUAL_GALLERIES),
  });
  return store.listGalleries(context, token, limit);
}
