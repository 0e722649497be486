import { GALLERY_PAGES } from "@veilface/proto";
import type { ListGalleriesRequest } from "@veilface/proto";
import type { GalleryStore, StoredGallery } from "../store/gallery-store.ts";
import { contextId } from "./from-wire.ts";
import { PageTokens, pageSize } from "./page-token.ts";
import { readAll } from "./read-all.ts";

/** A page of galleries, and the token of the next one. */
export interface ListedGalleries {
  readonly galleries: readonly StoredGallery[];
  readonly nextPageToken: string;
}

/** A page of galleries. Throws ServerError FIELD_INVALID. */
export function listGalleries(store: GalleryStore, request: ListGalleriesRequest): ListedGalleries {
  const tokens = new PageTokens("ListGalleries", request.contextId);
  const { context, after, limit } = readAll({
    context: () => (request.contextId === "" ? undefined : contextId("context_id", request.contextId)),
    after: () => tokens.read(request.pageToken),
    limit: () => pageSize(request.pageSize, GALLERY_PAGES),
  });
  const { galleries, next } = store.listGalleries(context, after ?? "", limit);
  return { galleries, nextPageToken: tokens.write(next) };
}
