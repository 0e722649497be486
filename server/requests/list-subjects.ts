import { ROSTER_PAGES } from "@veilface/proto";
import type { ListSubjectsRequest } from "@veilface/proto";
import type { GalleryStore, SubjectLine } from "../store/gallery-store.ts";
import { resourceId } from "./from-wire.ts";
import { ENTRIES_PER_PAGE } from "./list-templates.ts";
import { PageTokens, pageSize } from "./page-token.ts";
import { readAll } from "./read-all.ts";

/** A page of subjects, and the token of the next one. */
export interface ListedSubjects {
  readonly subjects: readonly SubjectLine[];
  readonly nextPageToken: string;
}

/** A page of a gallery's subjects. Throws ServerError FIELD_INVALID, GALLERY_NOT_FOUND. */
export async function listSubjects(store: GalleryStore, request: ListSubjectsRequest): Promise<ListedSubjects> {
  const tokens = new PageTokens("ListSubjects", request.galleryId);
  const { galleryId, after, limit } = readAll({
    galleryId: () => resourceId("gallery_id", request.galleryId),
    after: () => tokens.readRevision(request.pageToken) ?? 0,
    limit: () => Math.min(pageSize(request.pageSize, ROSTER_PAGES), ENTRIES_PER_PAGE),
  });
  const { subjects, next } = await store.listSubjects(galleryId, after, limit);
  return { subjects, nextPageToken: tokens.write(next) };
}
