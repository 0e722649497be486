import { GALLERY_PAGES } from "@veilface/proto";
import type { ListGalleriesRequest } from "@veilface/proto";
import type { GalleryPage, GalleryStore, StoredGallery } from "../store/gallery-store.ts";
import { contextId } from "./from-wire.ts";
import { PageTokens, pageSize } from "./page-token.ts";
import { readAll } from "./read-all.ts";

/** A reply stays below 4 MiB, the most that gRPC's clients take: one gallery's labels have up to 70 KB. */
const PAGE_BYTES = 2 * 2 ** 20;
const GALLERIES_AT_ONCE = 16;

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
  const galleries: StoredGallery[] = [];
  let next: string | undefined = after ?? "";
  for (let bytes = 0; next !== undefined && galleries.length < limit && bytes < PAGE_BYTES; ) {
    const found: GalleryPage = store.listGalleries(
      context,
      next,
      Math.min(GALLERIES_AT_ONCE, limit - galleries.length),
    );
    galleries.push(...found.galleries);
    bytes += found.galleries.reduce((sum, gallery) => sum + bytesOf(gallery), 0);
    next = found.next;
  }
  return { galleries, nextPageToken: tokens.write(next) };
}

/** About as many as a gallery takes on the wire, and not less. */
function bytesOf({ labels, strides }: StoredGallery): number {
  const texts = Object.entries(labels).flat();
  return texts.reduce((sum, text) => sum + Buffer.byteLength(text) + 8, 1024 + 4 * strides.length);
}
