import { ROSTER_PAGES } from "@veilface/proto";
import type { ListTemplateChangesRequest } from "@veilface/proto";
import type { GalleryStore, RosterEntry, RosterPage } from "../store/gallery-store.ts";
import { resourceId, revision } from "./from-wire.ts";
import { ENTRIES_PER_PAGE } from "./list-templates.ts";
import { PageTokens, pageSize } from "./page-token.ts";
import { readAll } from "./read-all.ts";

/** A page of changes, and the token of the next one. */
export interface ListedChanges {
  readonly entries: readonly RosterEntry[];
  /** The gallery's revision when the page was read. */
  readonly revision: number;
  readonly nextPageToken: string;
}

/** A page of a roster's changes. Throws ServerError FIELD_INVALID, GALLERY_NOT_FOUND. */
export async function listTemplateChanges(
  store: GalleryStore,
  request: ListTemplateChangesRequest,
): Promise<ListedChanges> {
  const tokens = new PageTokens("ListTemplateChanges", request.galleryId, String(request.sinceRevision));
  const { galleryId, since, after, limit } = readAll({
    galleryId: () => resourceId("gallery_id", request.galleryId),
    since: () => revision("since_revision", request.sinceRevision),
    after: () => tokens.readRevision(request.pageToken),
    limit: () => Math.min(pageSize(request.pageSize, ROSTER_PAGES), ENTRIES_PER_PAGE),
  });
  const { next, ...page } = await store.listEntries(galleryId, after ?? since, limit);
  return { ...page, nextPageToken: tokens.write(next) };
}

/** The changes of a gallery's roster after a revision, page by page, until there are none. */
export async function* changesSince(
  store: GalleryStore,
  galleryId: string,
  since: number,
): AsyncGenerator<readonly RosterEntry[]> {
  for (let after: number | undefined = since; after !== undefined; ) {
    const page: RosterPage = await store.listEntries(galleryId, after, ENTRIES_PER_PAGE);
    if (page.entries.length > 0) yield page.entries;
    after = page.next;
  }
}
