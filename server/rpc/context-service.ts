import { CONTEXT_PAGES } from "@veilface/proto";
import type { ContextServiceImplementation } from "@veilface/proto";
import { contextPage } from "./context-page.ts";
import { receiveContext } from "../requests/create-context.ts";
import type { PairwiseMatcher } from "../compute/pairwise/pairwise-matcher.ts";
import { unlessMissing } from "../requests/unless-missing.ts";
import { readAll } from "../requests/read-all.ts";
import type { GalleryStore } from "../store/gallery-store.ts";
import { contextToWire } from "./to-wire.ts";
import { contextId, pageSize, pageToken } from "../requests/from-wire.ts";

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
      const { token, limit } = readAll({
        token: () => pageToken(request.pageToken),
        limit: () => pageSize(request.pageSize, CONTEXT_PAGES),
      });
      return contextPage(store, token, limit);
    },
    async deleteContext({ contextId: id, force, allowMissing }) {
      await unlessMissing(allowMissing, store.deleteContext(contextId("context_id", id), force));
      return {};
    },
  };
}
