import { DEGREE } from "@veilface/fhe";
import type { ReadTemplatesResponse, StoredBlock } from "@veilface/proto";
import type { Bounded } from "../remote/call-bounds.ts";
import type { Rpcs } from "../remote/calls.ts";
import type { EncodedTemplate } from "../enroll/unit-maker.ts";
import { ClientError } from "../errors.ts";
import type { KeyHolder } from "../keys/key-holder.ts";
import { PackedCrypto } from "../keys/packed-crypto.ts";
import type { EncodedBytes } from "../keys/packed-crypto.ts";
import { isUnavailable, pauseBeforeRetry, retrying } from "../remote/retrying.ts";
import {
  checkPackedGallery,
  fromLiveWireEntry,
  fromWireCiphertext,
  fromWireGallery,
  invalidReply,
} from "../remote/wire.ts";
import type { GalleryInfo } from "../remote/wire.ts";

/** A gallery that is being read: what it was when the reading began, and its templates as they come. */
export interface StoredReading {
  readonly info: GalleryInfo;
  /**
   * Decrypted, in encoded form. Memory is one block's. Throws ClientError REPLY_INVALID for blocks that cannot be
   * right.
   */
  readonly templates: AsyncGenerator<EncodedTemplate, void, undefined>;
}

/** A gallery to read, and who can decrypt it. */
interface StoredGallery {
  readonly galleryId: string;
  readonly keyHolder: KeyHolder;
}

/**
 * Reads a gallery's ciphertexts and decrypts them. Where the server goes away meanwhile, it is read again, less what
 * was read already. Throws ClientError KEY_MISMATCH for a gallery of another key, ROSTER_STALE for one that changed
 * before it was read again. Dispose of the bounds to stop reading early.
 */
export async function readStored(
  rpcs: Rpcs,
  { galleryId, keyHolder }: StoredGallery,
  options: Bounded,
): Promise<StoredReading> {
  const open = (): Promise<OpenReading> =>
    retrying(options.bounds, () => openReading(rpcs, galleryId, options), isUnavailable);
  const reading = await open();
  if (reading.info.contextId !== keyHolder.contextId) {
    throw new ClientError(
      "KEY_MISMATCH",
      `gallery "${galleryId}" belongs to another key: use the key it was created with`,
    );
  }
  checkPackedGallery(reading.info);
  const crypto = new PackedCrypto(keyHolder, reading.info.space);
  return { info: reading.info, templates: decryptBlocks(crypto, allBlocks(reading, open, options)) };
}

/** A stored block: a packed one, or one template enrolled alone. */
interface StoredPart {
  readonly head: StoredBlock;
  readonly pieces: EncodedBytes[];
}

/** A stream of a gallery's blocks that has said which gallery it is. */
interface OpenReading {
  readonly info: GalleryInfo;
  readonly replies: AsyncIterable<ReadTemplatesResponse>;
}

async function openReading(rpcs: Rpcs, galleryId: string, options: Bounded): Promise<OpenReading> {
  const replies = rpcs.stream(options, (rpc) => rpcs.services.galleries.readTemplates({ galleryId }, rpc));
  const first = await replies.next();
  const message = first.done === true ? undefined : first.value.message;
  if (message?.$case !== "gallery") throw invalidReply("templates without their gallery");
  return { info: fromWireGallery(message.value), replies };
}

async function* decryptBlocks(
  crypto: PackedCrypto,
  blocks: AsyncIterable<StoredPart>,
): AsyncGenerator<EncodedTemplate, void, undefined> {
  for await (const { head, pieces } of blocks) yield* decryptBlock(crypto, head, pieces);
}

/** Every block once, over as many streams as it takes. */
async function* allBlocks(
  first: OpenReading,
  open: () => Promise<OpenReading>,
  options: Bounded,
): AsyncGenerator<StoredPart, void, undefined> {
  const done = new Set<number>();
  let reading = first;
  for (let failures = 0; ; ) {
    try {
      for await (const part of blocksOf(first.info.contextId, reading.replies)) {
        if (done.has(placeOf(part))) continue;
        failures = 0;
        yield part;
        done.add(placeOf(part));
      }
      return;
    } catch (error) {
      await pauseBeforeRetry(++failures, error, options.bounds);
      reading = await open();
      checkUnchanged(first.info, reading.info);
    }
  }
}

/** A template enrolled alone shares its block's number with others: its slot tells them apart. */
function placeOf({ head: { block, entries } }: StoredPart): number {
  return block * DEGREE + (entries[0]?.placement?.slot ?? 0);
}

function checkUnchanged(before: GalleryInfo, now: GalleryInfo): void {
  if (before.uid === now.uid && before.revision === now.revision) return;
  throw new ClientError("ROSTER_STALE", `gallery "${before.galleryId}" was changed while it was read: run it again`);
}

async function* blocksOf(
  contextId: string,
  replies: AsyncIterable<ReadTemplatesResponse>,
): AsyncGenerator<StoredPart, void, undefined> {
  let block: StoredPart | undefined;
  for await (const { message } of replies) {
    if (message?.$case === "block" && block === undefined) {
      block = { head: message.value, pieces: [] };
    } else if (message?.$case === "pieces" && block !== undefined) {
      for (const piece of message.value.pieces) block.pieces.push(fromWireCiphertext(contextId, piece));
    } else {
      throw invalidReply("a block's head or ciphertexts out of turn");
    }
    if (block.pieces.length < block.head.pieces) continue;
    yield block;
    block = undefined;
  }
  if (block !== undefined) throw invalidReply("a block that lacks ciphertexts");
}

function decryptBlock(crypto: PackedCrypto, head: StoredBlock, pieces: readonly EncodedBytes[]): EncodedTemplate[] {
  const entries = head.entries.map(fromLiveWireEntry);
  if (entries.some(({ placement }) => placement.block !== head.block || placement.stride !== head.stride))
    throw invalidReply("a template that is not in its block");
  const vectorIn = crypto.decryptBlock(head.stride, pieces);
  return entries.map(({ templateId, subjectId, placement }) => ({
    templateId,
    subjectId,
    vector: vectorIn(placement.slot),
  }));
}
