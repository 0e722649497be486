import { CONTEXT_PAGES } from "@veilface/proto";
import type { ContextServiceImplementation } from "@veilface/proto";
import { contextPage } from "./context-page.ts";
import { receiveContext } from "../requests/create-context.ts";
import type { PairwiseMatcher } from "../compute/pairwise/pairwise-matcher.ts";
import { unlessMissing } from "../requests/unless-missing.ts";
import { readAll } from "../requests/read-all.ts";
import type { GalleryStore } from "../store/gallery-store.ts";
import { contextToWire } from "./to-wire.ts";
import { contextId } from "../requests/from-wire.ts";
import { PageTokens, pageSize } from "../requests/page-token.ts";

const TOKENS = new PageTokens("ListContexts");

/** The rpcs of ContextService over a store. */
export function contextService(store: GalleryStore, pairwise: PairwiseMatcher): ContextServiceImplementation {
  return {
    async createContext(requests) {
      const { context, keys } = await receiveContext(pairwise, requests);
      return { context: contextToWire(await store.createContext(context, keys)) };
    },
    async getContext(request) {
      return Promise.resolve({ context: contextToWire(store.getContext(contextId("context_id", request.contextId))) });
    },
    async listContexts(request) {
      const { after, limit } = readAll({
        after: () => TOKENS.read(request.pageToken),
        limit: () => pageSize(request.pageSize, CONTEXT_PAGES),
      });
      const { contexts, last } = await contextPage(store, after ?? "", limit);
      return { contexts, nextPageToken: TOKENS.write(last) };
    },
    async deleteContext({ contextId: id, force, allowMissing }) {
      await unlessMissing(allowMissing, store.deleteContext(contextId("context_id", id), force));
      return {};
    },
  };
}
