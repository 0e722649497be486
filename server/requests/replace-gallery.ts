import type { ReplaceGalleryRequest } from "@veilface/proto";
import type { GalleryStore, StoredGallery } from "../store/gallery-store.ts";
import { resourceId, revision, uid } from "./from-wire.ts";
import { readAll } from "./read-all.ts";

/**
 * Puts a draft in the place of its gallery; where an earlier attempt did, by the draft's uid, nothing more. Throws
 * ServerError FIELD_INVALID, and as GalleryStore.replaceGallery.
 */
export async function replaceGallery(store: GalleryStore, request: ReplaceGalleryRequest): Promise<StoredGallery> {
  const { galleryId, draftId, expectedRevision, draftUid } = readAll({
    galleryId: () => resourceId("gallery_id", request.galleryId),
    draftId: () => resourceId("draft_id", request.draftId),
    expectedRevision: () => revision("expected_revision", request.expectedRevision),
    draftUid: () => (request.draftUid.length === 0 ? undefined : uid("draft_uid", request.draftUid)),
  });
  const there = store.getGallery(galleryId);
  const isDone = draftUid !== undefined && Buffer.from(draftUid).equals(there.uid);
  return isDone ? there : store.replaceGallery(galleryId, draftId, expectedRevision);
}
