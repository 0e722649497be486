import type { ReadTemplatesResponse, StoredBlock } from "@veilface/proto";
import { callStream } from "./calls.ts";
import type { CallOptions } from "./calls.ts";
import type { Services } from "./channel.ts";
import type { EncodedTemplate } from "./enrollment-units.ts";
import { ClientError } from "./errors.ts";
import type { KeyHolder } from "./key-holder.ts";
import { PackedCrypto } from "./packed-crypto.ts";
import type { EncodedBytes } from "./packed-crypto.ts";
import { fromLiveWireEntry, fromWireCiphertext, fromWireGallery, invalidReply } from "./wire.ts";
import type { GalleryInfo } from "./wire.ts";

/** A gallery that is being read: what it was when the reading began, and its templates as they come. */
export interface StoredReading {
  readonly info: GalleryInfo;
  /** Decrypted, in encoded form. Memory is one block's. Throws ClientError REPLY_INVALID for blocks that cannot be right. */
  readonly templates: AsyncGenerator<EncodedTemplate, void, undefined>;
}

/** Reads a gallery's ciphertexts and decrypts them. Throws ClientError KEY_MISMATCH for a gallery of another key. Abort the signal to stop reading early. */
export async function readStored(services: Services, keyHolder: KeyHolder, galleryId: string, options: CallOptions): Promise<StoredReading> {
  const replies = callStream(services.address, options, (signal) => services.galleries.readTemplates({ galleryId }, { signal }));
  const first = await replies.next();
  const message = first.done === true ? undefined : first.value.message;
  if (message?.$case !== "gallery") throw invalidReply("templates without their gallery");
  const info = fromWireGallery(message.value);
  if (info.contextId !== keyHolder.contextId) {
    throw new ClientError("KEY_MISMATCH", `gallery "${galleryId}" belongs to another key: use the key it was created with`);
  }
  return { info, templates: decryptBlocks(replies, keyHolder, info) };
}

async function* decryptBlocks(replies: AsyncIterable<ReadTemplatesResponse>, keyHolder: KeyHolder, { space }: GalleryInfo): AsyncGenerator<EncodedTemplate, void, undefined> {
  const crypto = new PackedCrypto(keyHolder, space);
  let block: { readonly head: StoredBlock; readonly pieces: EncodedBytes[] } | undefined;
  for await (const { message } of replies) {
    if (message?.$case === "block" && block === undefined) {
      block = { head: message.value, pieces: [] };
    } else if (message?.$case === "pieces" && block !== undefined) {
      for (const piece of message.value.pieces) block.pieces.push(fromWireCiphertext(keyHolder.contextId, piece));
    } else {
      throw invalidReply("a block's head or ciphertexts out of turn");
    }
    if (block.pieces.length < block.head.pieces) continue;
    yield* decryptBlock(crypto, block.head, block.pieces);
    block = undefined;
  }
  if (block !== undefined) throw invalidReply("a block that lacks ciphertexts");
}

function decryptBlock(crypto: PackedCrypto, head: StoredBlock, pieces: readonly EncodedBytes[]): EncodedTemplate[] {
  const entries = head.entries.map(fromLiveWireEntry);
  if (entries.some(({ placement }) => placement.block !== head.block || placement.stride !== head.stride)) throw invalidReply("a template that is not in its block");
  const vectors = crypto.decryptTemplates(head.stride, pieces, entries.map(({ placement }) => placement.slot));
  return entries.map(({ templateId, subjectId }, i) => ({ templateId, subjectId, vector: vectors[i]! }));
}
