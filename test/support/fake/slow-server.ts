// A server in this process that takes its time for every page and every answer, and has no end of them.
import { setTimeout as sleep } from "node:timers/promises";
import { ContextServiceDefinition, GalleryServiceDefinition, MatchingServiceDefinition, Metric } from "@veilface/proto";
import type {
  Context,
  EnrollTemplatesRequest,
  EnrollTemplatesResponse,
  Gallery,
  SearchGalleryResponse,
  TemplateEntry,
} from "@veilface/proto";
import { ServerError, Status, createServer } from "nice-grpc";
import type { CallContext } from "nice-grpc";

/** Galleries, contexts and templates without end, one a page; the gallery "g" is of both schemes. */
export class SlowServer implements AsyncDisposable {
  /** How many there are of each. */
  pages = 1_000_000;
  /** What happens before a gallery is described, and once it is deleted. */
  interference: () => Promise<void> = () => Promise.resolve();
  readonly #contextId: string;
  readonly #delayMs: number;
  readonly #server = createServer();
  /** The calls under way. */
  readonly #running = new Set<CallContext>();
  #address = "";
  #isDeleted = false;

  private constructor(contextId: string, delayMs: number) {
    this.#contextId = contextId;
    this.#delayMs = delayMs;
    this.#server.add(ContextServiceDefinition, {
      createContext: refuse,
      deleteContext: refuse,
      getContext: ({ contextId: asked }) => Promise.resolve({ context: pairwiseContext(asked) }),
      listContexts: async ({ pageToken }, call) => ({
        contexts: [pairwiseContext(this.#contextId)],
        nextPageToken: await this.#nextPage(pageToken, call),
      }),
    });
    this.#server.add(GalleryServiceDefinition, {
      createGallery: refuse,
      updateGallery: refuse,
      deleteGallery: ({ allowMissing }) => this.#delete(allowMissing),
      deleteTemplates: refuse,
      readTemplates: refuse,
      replaceGallery: refuse,
      getGallery: async () => {
        await this.interference();
        return { gallery: this.#gallery() };
      },
      listGalleries: async ({ pageToken }, call) => ({
        galleries: [this.#gallery()],
        nextPageToken: await this.#nextPage(pageToken, call),
      }),
      listTemplates: refuse,
      listSubjects: refuse,
      listTemplateChanges: async ({ pageToken }, call) => ({
        entries: [entry(Number(pageToken))],
        nextPageToken: await this.#nextPage(pageToken, call),
        revision: this.pages,
      }),
      enrollTemplates: (requests, call) => this.#enroll(requests, call),
    });
    this.#server.add(MatchingServiceDefinition, {
      compareTemplates: refuse,
      compareCiphertexts: refuse,
      searchGallery: (_requests, call) => this.#search(call),
    });
  }

  static async start(contextId: string, delayMs: number): Promise<SlowServer> {
    const slow = new SlowServer(contextId, delayMs);
    slow.#address = `127.0.0.1:${await slow.#server.listen("127.0.0.1:0")}`;
    return slow;
  }

  get address(): string {
    return this.#address;
  }

  /** Resolves once no call is under way any more. */
  async stopped(): Promise<void> {
    while (this.#running.size > 0) await sleep(10);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.forceShutdown();
    await Promise.resolve();
  }

  async *#enroll(
    requests: AsyncIterable<EnrollTemplatesRequest>,
    call: CallContext,
  ): AsyncGenerator<EnrollTemplatesResponse> {
    let enrolled = 0;
    for await (const { message } of requests) {
      if (message?.$case !== "template") continue;
      await this.#delay(call);
      const { templateId } = message.value;
      const value = { entry: { ...entry(enrolled++), templateId }, struckTemplateIds: [] };
      yield { message: { $case: "template", value } };
    }
  }

  async *#search(call: CallContext): AsyncGenerator<SearchGalleryResponse> {
    yield { message: { $case: "gallery", value: this.#gallery() } };
    yield { message: { $case: "start", value: { revision: this.pages } } };
    for (let block = 0; ; block++) {
      await this.#delay(call);
      const nothing = { ciphertext: undefined, identical: true, refused: 0 as const, damagedSlots: [] };
      yield { message: { $case: "distances", value: { block, stride: 4, probe: 0, ...nothing } } };
    }
  }

  /** It is gone before the interference, so that a call that fails through it has done its work. */
  async #delete(allowMissing: boolean): Promise<object> {
    if (this.#isDeleted && !allowMissing) throw new ServerError(Status.NOT_FOUND, "there is no such gallery");
    this.#isDeleted = true;
    await this.interference();
    return {};
  }

  async #nextPage(pageToken: string, call: CallContext): Promise<string> {
    await this.#delay(call);
    const next = Number(pageToken) + 1;
    return next < this.pages ? String(next) : "";
  }

  async #delay(call: CallContext): Promise<void> {
    this.#running.add(call);
    try {
      await sleep(this.#delayMs, undefined, { signal: call.signal });
    } finally {
      this.#running.delete(call);
    }
  }

  #gallery(): Gallery {
    return {
      galleryId: "g",
      contextId: this.#contextId,
      space: { dimension: 4, metric: Metric.METRIC_COSINE, modelId: "slow", modelVersion: "", normBound: 1 },
      strides: [4],
      templateCount: this.pages,
      revision: this.pages,
      createTime: new Date(1),
      packedStride: 0,
      expectedTemplates: 0,
      draftOf: "",
      uid: Buffer.alloc(16, 1),
      labels: {},
    };
  }
}

function entry(i: number): TemplateEntry {
  const placement = { block: i, slot: 0, stride: 4 };
  return { templateId: `t-${i}`, subjectId: "s", placement, revision: i + 1, deleted: false };
}

function pairwiseContext(contextId: string): Context {
  const value = {
    encryptionParameters: new Uint8Array(),
    scale: 2 ** 40,
    polyModulusDegree: 8192,
    coeffModulusBits: [60, 40, 40, 60],
    rotationSteps: [1, 2],
    maxDimension: 4,
    maxDistance: 1e6,
    expectedError: 1e-6,
    acceptedError: 0,
  };
  return { contextId, createTime: new Date(1), scheme: { $case: "pairwise", value } };
}

function refuse(): never {
  throw new Error("the slow server does not do this");
}
