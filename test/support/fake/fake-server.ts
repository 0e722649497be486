// A matching server in this process that keeps templates in memory and lets a test falsify what it replies.
import { createHash } from "node:crypto";
import { RingKernel, parameterSet } from "@veilface/fhe";
import { ContextServiceDefinition, GalleryServiceDefinition, MatchingServiceDefinition, Metric } from "@veilface/proto";
import type {
  CompareTemplatesResponse,
  EncryptedDistances,
  EnrollTemplatesResponse,
  Gallery,
  LooseTemplate,
  ProbePiece,
  SearchGalleryResponse,
  TemplateEntry,
} from "@veilface/proto";
import { createServer } from "nice-grpc";
import { toTiles } from "../../../fhe/ring/tiles.ts";

/** Changes a reply on its way out; returns it, or another in its place. */
interface Falsify {
  enroll?: (reply: EnrollTemplatesResponse) => EnrollTemplatesResponse;
  compare?: (reply: CompareTemplatesResponse) => CompareTemplatesResponse;
  search?: (reply: SearchGalleryResponse) => SearchGalleryResponse | undefined;
}

/**
 * What the server holds; tests read and change it. All templates lie in block 0 of a gallery with 4-component cosine
 * embeddings.
 */
export class FakeServer implements AsyncDisposable {
  readonly gallery: Gallery;
  readonly entries: TemplateEntry[] = [];
  falsify: Falsify = {};
  /** How long it takes before it acknowledges, in milliseconds. */
  ackDelayMs = 0;
  /** The largest number of templates received and not yet acknowledged. */
  mostInFlight = 0;
  readonly #kernel = RingKernel.create(parameterSet("PACKED_N4096_Q60").dataPrimes, { probes: 1, pieces: 1 });
  readonly #residues: Uint32Array[] = [];
  readonly #server = createServer();
  #address = "";

  private constructor(contextId: string) {
    const space = { dimension: 4, metric: Metric.METRIC_COSINE, modelId: "fake", modelVersion: "", normBound: 1 };
    this.gallery = {
      galleryId: "g",
      contextId,
      space,
      strides: [4],
      templateCount: 0,
      revision: 0,
      createTime: new Date(1),
      packedStride: 0,
      expectedTemplates: 0,
      draftOf: "",
      uid: Buffer.alloc(16, 1),
      labels: {},
    };
    this.#server.add(ContextServiceDefinition, {
      createContext: refuse,
      getContext: refuse,
      listContexts: refuse,
      deleteContext: refuse,
    });
    this.#server.add(GalleryServiceDefinition, {
      createGallery: refuse,
      listGalleries: refuse,
      updateGallery: refuse,
      deleteGallery: refuse,
      deleteTemplates: refuse,
      readTemplates: refuse,
      replaceGallery: refuse,
      getGallery: () => Promise.resolve({ gallery: this.gallery }),
      listTemplates: ({ sinceRevision }) =>
        Promise.resolve({
          entries: this.entries.filter(({ revision }) => revision > sinceRevision),
          nextPageToken: "",
          revision: this.gallery.revision,
        }),
      enrollTemplates: (requests) => this.#enroll(requests),
    });
    this.#server.add(MatchingServiceDefinition, {
      compareTemplates: (requests) => this.#compare(requests),
      searchGallery: (requests) => this.#search(requests),
      compareCiphertexts: refuse,
    });
  }

  static async start(contextId: string): Promise<FakeServer> {
    const fake = new FakeServer(contextId);
    fake.#address = `127.0.0.1:${await fake.#server.listen("127.0.0.1:0")}`;
    return fake;
  }

  get address(): string {
    return this.#address;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.forceShutdown();
    await Promise.resolve();
  }

  async *#enroll(
    requests: AsyncIterable<{ message: { $case: string; value: unknown } | undefined }>,
  ): AsyncGenerator<EnrollTemplatesResponse> {
    const received: LooseTemplate[] = [];
    const reading = (async () => {
      for await (const { message } of requests)
        if (message?.$case === "template") received.push(message.value as LooseTemplate);
      return true;
    })();
    for (let done = 0; ; ) {
      // Slow on purpose: a client that does not wait for acknowledgements would run ahead.
      const ended = await Promise.race([reading, new Promise<false>((resolve) => setTimeout(resolve, 20, false))]);
      this.mostInFlight = Math.max(this.mostInFlight, received.length - done);
      await new Promise((resolve) => setTimeout(resolve, this.ackDelayMs));
      for (; done < received.length; done++)
        yield this.falsify.enroll?.(this.#store(received[done]!)) ?? this.#store(received[done]!);
      if (ended) return;
    }
  }

  #store({ templateId, subjectId, ciphertext }: LooseTemplate): EnrollTemplatesResponse {
    const slot = this.entries.length;
    this.gallery.revision++;
    this.gallery.templateCount++;
    this.#residues.push(this.#kernel.multiplyByMonomial(this.#kernel.unpack(ciphertext!.data), 4 * slot));
    const entry = {
      templateId,
      subjectId,
      placement: { block: 0, slot, stride: 4 },
      revision: this.gallery.revision,
      deleted: false,
    };
    this.entries.push(entry);
    return { entry, block: undefined, struckTemplateIds: [] };
  }

  async *#compare(
    requests: AsyncIterable<{ target: { subjectId: string } | undefined; pieces: ProbePiece[] }>,
  ): AsyncGenerator<CompareTemplatesResponse> {
    for await (const { target, pieces } of requests) {
      const entries = this.entries.filter(({ subjectId }) => subjectId === target?.subjectId);
      const reply = { distances: this.#multiply(pieces[0]!), entries };
      yield this.falsify.compare?.(structuredClone(reply)) ?? reply;
    }
  }

  async *#search(requests: AsyncIterable<{ pieces: ProbePiece[] }>): AsyncGenerator<SearchGalleryResponse> {
    for await (const { pieces } of requests) {
      for (const reply of [
        { revision: this.gallery.revision, distances: undefined },
        { revision: 0, distances: this.#multiply(pieces[0]!) },
      ]) {
        const sent = this.falsify.search === undefined ? reply : this.falsify.search(structuredClone(reply));
        if (sent !== undefined) yield sent;
      }
    }
  }

  #multiply(piece: ProbePiece): EncryptedDistances {
    this.#kernel.loadProbes([toTiles([this.#kernel.unpack(piece.ciphertext!.data)])]);
    const product = this.#kernel.matchBlock([toTiles([this.#kernel.sum(this.#residues)])])[0]!;
    const data = Buffer.from(this.#kernel.pack(product));
    const ciphertext = { contextId: this.gallery.contextId, encoding: 2 as const, data, sha256: sha256(data) };
    return { block: 0, stride: 4, ciphertext, identical: false, refused: 0, damagedSlots: [] };
  }
}

export function sha256(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest();
}

function refuse(): never {
  throw new Error("the fake server does not do this");
}
