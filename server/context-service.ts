import { packedContextId } from "@veilface/fhe";
import type { Context, ContextServiceImplementation, CreateContextRequest } from "@veilface/proto";
import type { GalleryStore, StoredContext } from "./store/gallery-store.ts";
import { contextToWire } from "./to-wire.ts";
import { absent, contextId, fieldInvalid, packedScheme, pageSize, pageToken, required } from "./validate.ts";

const MOST_PER_PAGE = 1000;
const USUAL_PER_PAGE = 100;

/** The rpcs of ContextService over a store. */
export function contextService(store: GalleryStore): ContextServiceImplementation {
  return {
    async createContext(requests) {
      return { context: contextToWire(await store.createContext(await receiveContext(requests))) };
    },
    async getContext(request) {
      return Promise.resolve({ context: contextToWire(store.getContext(contextId("context_id", request.contextId))) });
    },
    async listContexts(request) {
      const limit = pageSize(request.pageSize, MOST_PER_PAGE, USUAL_PER_PAGE);
      const contexts = store.listContexts(pageToken(request.pageToken), limit);
      const nextPageToken = contexts.length === limit ? contexts.at(-1)!.contextId : "";
      return Promise.resolve({ contexts: contexts.map(contextToWire), nextPageToken });
    },
    async deleteContext(request) {
      await store.deleteContext(contextId("context_id", request.contextId), request.force);
      return {};
    },
  };
}

async function receiveContext(requests: AsyncIterable<CreateContextRequest>): Promise<Omit<StoredContext, "createTime">> {
  let context: Context | undefined;
  for await (const request of requests) {
    if (context !== undefined) absent("context", request.context ?? "empty message");
    context = required("context", request.context);
  }
  const { scheme } = required("context", context);
  if (scheme?.$case !== "packed") throw fieldInvalid("context.packed", "is required");
  const { parameterSet, keyId } = packedScheme("context.packed", scheme.value);
  return { contextId: packedContextId(parameterSet, keyId), parameterSet, keyId };
}
