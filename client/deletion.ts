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
  /** Ids of the templates that are gone: no search finds them any more. */
  readonly deleted: readonly string[];
  /**
   * Ids of templates that were named and are gone, now or since before, but whose bits stay on the server's disk,
   * inside packed blocks, until the gallery is packed anew (VeilfaceClient.pack). At most 10,000 of those that are gone
   * since before.
   */
  readonly struck: readonly string[];
  /** The ids that were named and of which nothing was there. */
  readonly notFound: NotFoundIds;
}

/** Gathers the replies to the calls of one deletion. */
export class Deletion {
  readonly #deleted = new Set<string>();
  /** Packed blocks that have bits of deleted templates, with these. */
  readonly #struck = new Map<number, Set<string>>();
  readonly #unknownSubjectIds = new Set<string>();

  /**
   * `first`: whether it is the first reply to its request; to a repetition the subjects of the first call are unknown.
   */
  add(
    { entries, struckTemplateIds, struckBlocks, erasedBlocks, unknownSubjectIds }: DeleteTemplatesResponse,
    first: boolean,
  ): void {
    for (const { templateId } of entries) this.#deleted.add(templateId);
    if (struckBlocks.length > struckTemplateIds.length) throw unevenlyStruck();
    for (const [i, templateId] of struckTemplateIds.entries()) {
      const block = struckBlocks[i];
      if (block === undefined) throw unevenlyStruck();
      const others = this.#struck.get(block) ?? new Set();
      this.#struck.set(block, others.add(templateId));
    }
    for (const block of erasedBlocks) this.#struck.delete(block);
    if (first) for (const subjectId of unknownSubjectIds) this.#unknownSubjectIds.add(subjectId);
  }

  /** `templateIds`: those that were named. */
  result(templateIds: readonly string[]): DeletedTemplates {
    const struck = new Set([...this.#struck.values()].flatMap((ids) => [...ids]));
    const unknown = new Set(templateIds.filter((templateId) => !this.#deleted.has(templateId)));
    return {
      deleted: [...this.#deleted],
      struck: [...struck],
      notFound: { templateIds: [...unknown], subjectIds: [...this.#unknownSubjectIds] },
    };
  }
}

function unevenlyStruck(): ClientError {
  return invalidReply("another number of struck templates than of their blocks");
}
