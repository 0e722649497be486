import type { DeleteTemplatesResponse } from "@veilface/proto";
import type { ClientError } from "./errors.ts";
import { invalidReply } from "./remote/wire.ts";

/** Ids that were named for deletion and of which nothing was there. */
export interface NotFoundIds {
  /** Ids of templates that the gallery did not have; each once. */
  readonly templateIds: readonly string[];
  /** Ids of subjects that had no template in it; each once. */
  readonly subjectIds: readonly string[];
}

/** What a deletion came to. */
export interface DeletedTemplates {
  /** How many templates are gone: no search finds them any more. */
  readonly deleted: number;
  /**
   * Ids of templates that were named and are gone, now or since before, but whose bits stay on the server's disk,
   * inside packed blocks, until the gallery is packed anew (VeilfaceClient.packGallery). At most 10,000 of those that
   * are gone since before.
   */
  readonly struck: readonly string[];
  /** The ids that were named and of which nothing was there. */
  readonly notFound: NotFoundIds;
}

/** Gathers the replies to the calls of one deletion. */
export class Deletion {
  #deleted = 0;
  /** Packed blocks that have bits of deleted templates, with these. */
  readonly #struck = new Map<number, Set<string>>();
  readonly #unknownSubjectIds = new Set<string>();
  readonly #unknownTemplateIds = new Set<string>();

  /**
   * `first`: whether it is the first reply to its request; to a repetition what the first call deleted is unknown.
   */
  add(reply: DeleteTemplatesResponse, first: boolean): void {
    const { struckTemplateIds, struckBlocks } = reply;
    this.#deleted += reply.deletedCount;
    if (struckBlocks.length > struckTemplateIds.length) throw unevenlyStruck();
    for (const [i, templateId] of struckTemplateIds.entries()) {
      const block = struckBlocks[i];
      if (block === undefined) throw unevenlyStruck();
      const others = this.#struck.get(block) ?? new Set();
      this.#struck.set(block, others.add(templateId));
    }
    for (const block of reply.erasedBlocks) this.#struck.delete(block);
    if (!first) return;
    for (const subjectId of reply.unknownSubjectIds) this.#unknownSubjectIds.add(subjectId);
    for (const templateId of reply.unknownTemplateIds) this.#unknownTemplateIds.add(templateId);
  }

  result(): DeletedTemplates {
    const struck = new Set([...this.#struck.values()].flatMap((ids) => [...ids]));
    const notFound = { templateIds: [...this.#unknownTemplateIds], subjectIds: [...this.#unknownSubjectIds] };
    return { deleted: this.#deleted, struck: [...struck], notFound };
  }
}

function unevenlyStruck(): ClientError {
  return invalidReply("another number of struck templates than of their blocks");
}
