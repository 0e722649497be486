import { randomBytes } from "node:crypto";
import { retryingPatiently } from "../remote/retrying.ts";
import { UNBOUNDED } from "../remote/call-bounds.ts";
import type { Bounded } from "../remote/call-bounds.ts";
import { UnitMaker } from "../enroll/unit-maker.ts";
import { EnrollmentStream } from "../enroll/enrollment-stream.ts";
import { ClientError } from "../errors.ts";
import type { GalleryCalls, NewGallery } from "../remote/gallery-calls.ts";
import type { KeyHolder } from "../keys/key-holder.ts";
import { PackedCrypto } from "../keys/packed-crypto.ts";
import { packingAt } from "../enroll/packing.ts";
import { readStored } from "./stored-templates.ts";
import type { StoredReading } from "./stored-templates.ts";
import { checkPackedGallery, invalidReply } from "../remote/wire.ts";
import type { GalleryInfo } from "../remote/wire.ts";

/** How a gallery is written anew. */
export interface Rewriting extends Bounded {
  readonly galleryId: string;
  /** The key it is under. */
  readonly from: KeyHolder;
  /** The key it shall be under; the same for packing. */
  readonly to: KeyHolder;
  /** The stride of its blocks; 0 to let the server choose for as many templates as there are. */
  readonly packedStride: (info: GalleryInfo) => number;
  /** How many of how many templates are written so far. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** A gallery that was written anew. */
export interface RewrittenGallery {
  /** The gallery as it is since, of another uid. */
  readonly gallery: GalleryInfo;
  /** How many templates it holds, all of them encrypted anew or packed. */
  readonly templates: number;
}

/** Drafts that interrupted runs left behind. */
interface LeftDrafts {
  /** The gallery that they are for. */
  readonly galleryId: string;
  /** Where they are. */
  readonly contextIds: readonly string[];
  /** At least so old, in milliseconds >= 0. */
  readonly olderThanMs: number;
}

// A draft this old was left behind by a run that was killed.
const STALE_DRAFT_MS = 24 * 60 * 60 * 1000;

/**
 * Reads a gallery, decrypts, packs and encrypts its templates into a draft, and puts the draft in its place in one
 * step. Until then the gallery is as it was, whatever fails; memory is a few blocks'. Every rewriting adds the
 * encryption noise of one template. Throws ClientError SERVER_REFUSED with GALLERY_CHANGED where somebody else changed
 * or rewrote the gallery meanwhile.
 */
export async function rewriteGallery(calls: GalleryCalls, rewriting: Rewriting): Promise<RewrittenGallery> {
  const { galleryId, from, to } = rewriting;
  const contextIds = [...new Set([from.contextId, to.contextId])];
  await discardDrafts(calls, { galleryId, contextIds, olderThanMs: STALE_DRAFT_MS }, rewriting);
  // Reading ends with what is made of it, also where that fails.
  using bounds = rewriting.bounds.part();
  try {
    const reading = await readStored(calls.rpcs, { galleryId, keyHolder: from }, { bounds });
    return await writeAnew(calls, rewriting, reading);
  } catch (cause) {
    throw explained(galleryId, cause);
  }
}

/** Deletes drafts. Returns how many. */
export async function discardDrafts(
  calls: GalleryCalls,
  { galleryId, contextIds, olderThanMs }: LeftDrafts,
  options: Bounded,
): Promise<number> {
  const galleries = (await Promise.all(contextIds.map((contextId) => calls.list(contextId, options)))).flat();
  const stale = galleries.filter(
    ({ draftOf, createTime }) => draftOf === galleryId && Date.now() - createTime.getTime() >= olderThanMs,
  );
  for (const draft of stale) await calls.delete(draft.galleryId, options);
  return stale.length;
}

async function writeAnew(calls: GalleryCalls, rewriting: Rewriting, reading: StoredReading): Promise<RewrittenGallery> {
  const { galleryId, from, to } = rewriting;
  const { info } = reading;
  if (info.draftOf !== undefined)
    throw new ClientError("USAGE", `gallery "${galleryId}" is a draft for "${info.draftOf}": name that one`);
  if (to !== from) await calls.ensureContext(to, rewriting);
  const draft = await calls.create(draftFor(info, rewriting), rewriting);
  try {
    await fillDraft(calls, { reading, draft }, rewriting);
    const gallery = await putInPlace(calls, { draft, of: info }, rewriting);
    return { gallery, templates: info.templateCount };
  } catch (cause) {
    // The caller's signal may have been aborted: tidying up must not be. After the deadline nobody waits for it.
    const tidied = calls.delete(draft.galleryId, UNBOUNDED).catch(() => undefined);
    if (rewriting.bounds.leftMs > 0) await tidied;
    throw cause;
  }
}

function draftFor(info: GalleryInfo, { galleryId, to, packedStride }: Rewriting): NewGallery {
  return {
    galleryId: `draft-${randomBytes(12).toString("hex")}`,
    contextId: to.contextId,
    space: info.space,
    packedStride: packedStride(info),
    // Not for as many as were expected: where few came, each search and verification would pay for many.
    expectedTemplates: info.templateCount || info.expectedTemplates,
    draftOf: galleryId,
  };
}

async function fillDraft(
  calls: GalleryCalls,
  { reading, draft }: { readonly reading: StoredReading; readonly draft: GalleryInfo },
  rewriting: Rewriting,
): Promise<void> {
  const { to, onProgress } = rewriting;
  const { templateCount } = reading.info;
  checkPackedGallery(draft);
  const maker = new UnitMaker(new PackedCrypto(to, draft.space), to.contextId, packingAt(draft.packedStride));
  const stream = new EnrollmentStream(calls.rpcs, draft, {
    bounds: rewriting.bounds,
    onProgress: (done) => onProgress?.(done, templateCount),
  });
  const written = await stream.run(maker.units(reading.templates));
  // The last guard before the old ciphertexts go.
  if (written !== templateCount) throw invalidReply(`${written} templates of a gallery that holds ${templateCount}`);
}

/**
 * Replacing is tried again while the server is away. One whose answer was lost is asked for again too: by the
 * draft's uid the server knows that it is done.
 */
function putInPlace(
  calls: GalleryCalls,
  { draft, of }: { readonly draft: GalleryInfo; readonly of: GalleryInfo },
  options: Bounded,
): Promise<GalleryInfo> {
  return retryingPatiently(options.bounds, () => calls.replace(of, draft, options));
}

function explained(galleryId: string, cause: unknown): unknown {
  if (!(cause instanceof ClientError) || cause.serverReason !== "GALLERY_CHANGED") return cause;
  const message = `gallery "${galleryId}" was changed by somebody else meanwhile: it is as they left it and nothing is lost; run it again`;
  return new ClientError(cause.reason, message, { cause, serverReason: cause.serverReason });
}
