import { setImmediate } from "node:timers/promises";
import type { CiphertextEncoding } from "@veilface/fhe";
import { PIECES_PER_MESSAGE } from "@veilface/proto";
import { ServerError } from "../errors.ts";
import type { Envelope } from "../compute/envelope.ts";
import type { GalleryStore, RosterEntry, StoredBlock, StoredGallery } from "../store/gallery-store.ts";
import { schemeOf } from "./gallery-scheme.ts";
import type { GalleryScheme, Serving } from "./gallery-scheme.ts";

/** A step of reading a gallery. */
export type ReadStep =
  | { readonly kind: "gallery"; readonly gallery: StoredGallery }
  | {
      readonly kind: "block";
      readonly block: number;
      readonly stride: number;
      readonly entries: readonly RosterEntry[];
      readonly pieces: number;
    }
  | {
      readonly kind: "pieces";
      readonly contextId: string;
      readonly encoding: CiphertextEncoding;
      readonly pieces: readonly Envelope[];
    };

/** A loose template or a packed block, as it is sent. */
interface Unit {
  readonly block: number;
  readonly stride: number;
  readonly entries: readonly RosterEntry[];
  readonly pieces: readonly Envelope[];
}

/**
 * Everything that is stored of a gallery, for the key holder. Throws ServerError GALLERY_CHANGED if its roster changes
 * meanwhile: what was read would be neither the old gallery nor the new one.
 */
export async function* readTemplates(
  serving: Serving,
  galleryId: string,
  signal: AbortSignal,
): AsyncGenerator<ReadStep> {
  const { store } = serving;
  const gallery = store.getGallery(galleryId);
  const { contextId } = gallery;
  const scheme = schemeOf(serving, gallery);
  const { storedEncoding: encoding } = scheme;
  yield { kind: "gallery", gallery };
  for await (const stored of store.readBlocks(galleryId)) {
    const { block, stride, entries, pieces } = await unitOf(scheme, stored);
    signal.throwIfAborted();
    yield { kind: "block", block, stride, entries, pieces: pieces.length };
    for (let at = 0; at < pieces.length; at += PIECES_PER_MESSAGE)
      yield { kind: "pieces", contextId, encoding, pieces: pieces.slice(at, at + PIECES_PER_MESSAGE) };
    checkRevision(store, gallery);
  }
}

// Stored bytes are valid until the next step only, so they are copied, for the worker too.
async function unitOf(scheme: GalleryScheme, stored: StoredBlock): Promise<Unit> {
  if (stored.kind === "packed") {
    const { block, stride, entries } = stored;
    const chunks: Uint8Array<ArrayBuffer>[] = [];
    for (const chunk of stored.chunks) {
      chunks.push(Uint8Array.from(chunk));
      // A chunk takes about a millisecond, most of it for its SHA-256; the longest blocks have hundreds.
      await setImmediate();
    }
    return { block, stride, entries, pieces: await scheme.blockAsSent(stride, chunks) };
  }
  const { entry, residues } = stored;
  const { block, stride } = entry.live.placement;
  return { block, stride, entries: [entry], pieces: await scheme.looseAsSent(Uint8Array.from(residues)) };
}

function checkRevision(store: GalleryStore, { galleryId, revision, createTime }: StoredGallery): void {
  const now = store.getGallery(galleryId);
  if (now.revision === revision && now.createTime.getTime() === createTime.getTime()) return;
  throw new ServerError(
    "GALLERY_CHANGED",
    `gallery "${galleryId}" was changed while it was read: read it again from the start`,
  );
}
