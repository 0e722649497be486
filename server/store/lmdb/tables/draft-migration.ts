import type { RootDatabase } from "lmdb";
import { decodeGallery } from "../rows/gallery-rows.ts";
import { BINARY, idKey, u48 } from "../rows/schema.ts";

/**
 * Lists the drafts of a store of schema version 3 or before in the table of drafts, as last written to now. It may run
 * again where the process ended before the new version was noted. What the older version left in the rows of galleries
 * is not looked at any more.
 */
export function migrateDrafts(root: RootDatabase<Buffer, Buffer>): void {
  const galleries = root.openDB<Buffer, Buffer>("galleries", BINARY);
  const drafts = root.openDB<Buffer, Buffer>("drafts", BINARY);
  root.transactionSync(() => {
    for (const { key, value } of galleries.getRange()) {
      const { draftOf } = decodeGallery(key.toString("latin1"), value);
      if (draftOf !== undefined) drafts.putSync(Buffer.concat([idKey(`${draftOf.galleryId}/`), key]), u48(Date.now()));
    }
  });
}
