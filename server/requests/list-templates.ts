import { ROSTER_PAGES } from "@veilface/proto";
import type { ListTemplatesRequest } from "@veilface/proto";
import type { GalleryStore, LiveEntry, RosterEntry } from "../store/gallery-store.ts";
import { resourceId } from "./from-wire.ts";
import { PageTokens, pageSize } from "./page-token.ts";
import { readAll } from "./read-all.ts";

/** To code more at a time holds the event loop for over 20 ms. A page may be shorter than was asked for. */
export const ENTRIES_PER_PAGE = 2500;

/** A page of live templates, and the token of the next one. */
export interface ListedTemplates {
  readonly entries: readonly LiveEntry[];
  readonly nextPageToken: string;
}

/**
 * A page of live templates, of the gallery or of one subject, in the order of their revisions. Throws ServerError
 * FIELD_INVALID, GALLERY_NOT_FOUND.
 */
export async function listTemplates(store: GalleryStore, request: ListTemplatesRequest): Promise<ListedTemplates> {
  const tokens = new PageTokens("ListTemplates", request.galleryId, request.subjectId);
  const { galleryId, subjectId, after, limit } = readAll({
    galleryId: () => resourceId("gallery_id", request.galleryId),
    subjectId: () => (request.subjectId === "" ? undefined : resourceId("subject_id", request.subjectId)),
    after: () => tokens.readRevision(request.pageToken) ?? 0,
    limit: () => Math.min(pageSize(request.pageSize, ROSTER_PAGES), ENTRIES_PER_PAGE),
  });
  if (subjectId === undefined) {
    const { entries, next } = await store.listEntries(galleryId, after, limit);
    return { entries: entries.flatMap(live), nextPageToken: tokens.write(next) };
  }
  const all = await store.entriesOfSubject(galleryId, subjectId);
  const left = all.filter(({ revision }) => revision > after).sort((a, b) => a.revision - b.revision);
  const entries = left.slice(0, limit);
  return { entries, nextPageToken: tokens.write(left.length > limit ? entries.at(-1)?.revision : undefined) };
}

function live({ live, ...entry }: RosterEntry): LiveEntry[] {
  return live === undefined ? [] : [{ ...entry, live }];
}
