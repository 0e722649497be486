// A matching server in this process that keeps templates in memory and lets a test falsify what it replies.
import { createHash } from "node:crypto";
import { RingKernel, parameterSet } from "@veilface/fhe";
import { ContextServiceDefinition, GalleryServiceDefinition, MatchingServiceDefinition, Metric } from "@veilface/proto";
import type {
  CompareTarget,
  CompareTemplatesRequest,
  CompareTemplatesResponse,
  EncryptedDistances,
  EnrollTemplatesRequest,
  EnrollTemplatesResponse,
  Gallery,
  LooseTemplate,
  ProbePiece,
  SearchGalleryRequest,
  SearchGalleryResponse,
  SearchTarget,
  TemplateEntry,
} from "@veilface/proto";
import { createServer } from "nice-grpc";
import type { CallContext, ServerMiddlewareCall } from "nice-grpc";
import { toTiles } from "../../../fhe/ring/tiles.ts";

/** Changes a reply on its way out; returns it, or another in its place. */
interface Falsify {
  enroll?: (reply: EnrollTemplatesResponse) => EnrollTemplatesResponse;
  compare?: (reply: CompareTemplatesResponse) => CompareTemplatesResponse | undefined;
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
  /** The rpcs that were asked, by name. */
  readonly rpcs: string[] = [];
  /** How many of them are not over yet. */
  underWay = 0;
  /** The targets of the searches. */
  readonly searches: SearchTarget[] = [];
  /** All pieces of probes that came, of comparisons and searches. */
  readonly pieces: ProbePiece[] = [];
  /** Whether it says nothing about a gallery before the whole probe is there. */
  isReticent = false;
  /** How long it takes before it acknowledges, in milliseconds. */
  ackDelayMs = 0;
  /** The largest number of templates received and not yet acknowledged. */
  mostInFlight = 0;
  readonly #kernel = RingKernel.create(parameterSet("PACKED_N4096_Q60").dataPrimes, { probes: 1, pieces: 1 });
  readonly #residues: Uint32Array[] = [];
  readonly #server = createServer().use((call, context) => this.#count(call, context));
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
      listTemplates: refuse,
      listSubjects: refuse,
      getGallery: () => Promise.resolve({ gallery: this.gallery }),
      listTemplateChanges: ({ sinceRevision }) =>
        Promise.resolve({
          entries: this.#changesSince(sinceRevision),
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

  async *#count<Request, Response>(
    call: ServerMiddlewareCall<Request, Response>,
    context: CallContext,
  ): AsyncGenerator<Response, Response | undefined, undefined> {
    this.rpcs.push(call.method.path.split("/").at(-1)!);
    this.underWay++;
    try {
      const response = yield* call.next(call.request, context);
      return response ?? undefined;
    } finally {
      this.underWay--;
    }
  }

  #changesSince(revision: number): TemplateEntry[] {
    return this.entries.filter((entry) => entry.revision > revision);
  }

  async *#enroll(requests: AsyncIterable<EnrollTemplatesRequest>): AsyncGenerator<EnrollTemplatesResponse> {
    const received: LooseTemplate[] = [];
    const reading = (async () => {
      for await (const { message } of requests) if (message?.$case === "template") received.push(message.value);
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
    return { message: { $case: "template", value: { entry, struckTemplateIds: [] } } };
  }

  async *#compare(requests: AsyncIterable<CompareTemplatesRequest>): AsyncGenerator<CompareTemplatesResponse> {
    for await (const reply of this.#comparison(new Asked(requests, this))) {
      const sent = this.falsify.compare === undefined ? reply : this.falsify.compare(structuredClone(reply));
      if (sent !== undefined) yield sent;
    }
  }

  async *#comparison(asked: Asked<CompareTarget>): AsyncGenerator<CompareTemplatesResponse> {
    const { subjectId } = await asked.target();
    if (this.isReticent) await asked.pieces();
    yield { message: { $case: "subject", value: { gallery: this.gallery, strides: [4] } } };
    const [distances] = this.#multiply(await asked.pieces());
    const entries = this.entries.filter((entry) => entry.subjectId === subjectId);
    yield { message: { $case: "comparison", value: { distances, entries } } };
  }

  async *#search(requests: AsyncIterable<SearchGalleryRequest>): AsyncGenerator<SearchGalleryResponse> {
    for await (const reply of this.#answers(new Asked(requests, this))) {
      const sent = this.falsify.search === undefined ? reply : this.falsify.search(structuredClone(reply));
      if (sent !== undefined) yield sent;
    }
  }

  async *#answers(asked: Asked<SearchTarget>): AsyncGenerator<SearchGalleryResponse> {
    const target = await asked.target();
    this.searches.push(target);
    if (this.isReticent) await asked.pieces();
    yield { message: { $case: "gallery", value: this.gallery } };
    if (target.roster !== undefined) {
      const isKnown = Buffer.from(this.gallery.uid).equals(target.roster.uid);
      const entries = this.#changesSince(isKnown ? target.roster.revision : 0);
      if (entries.length > 0) yield { message: { $case: "rosterChanges", value: { entries } } };
    }
    const products = this.#multiply(await asked.pieces());
    yield { message: { $case: "start", value: { revision: this.gallery.revision } } };
    for (const distances of products) yield { message: { $case: "distances", value: distances } };
  }

  /** Of each probe's piece at the stride that the templates lie at. */
  #multiply(pieces: readonly ProbePiece[]): EncryptedDistances[] {
    return pieces
      .filter(({ stride }) => stride === 4)
      .map((piece) => {
        this.#kernel.loadProbes([toTiles([this.#kernel.unpack(piece.ciphertext!.data)])]);
        const product = this.#kernel.matchBlock([toTiles([this.#kernel.sum(this.#residues)])])[0]!;
        const data = Buffer.from(this.#kernel.pack(product));
        const ciphertext = { contextId: this.gallery.contextId, encoding: 2 as const, data, sha256: sha256(data) };
        const { probe } = piece;
        return { block: 0, stride: 4, ciphertext, identical: false, refused: 0, damagedSlots: [], probe };
      });
  }
}

/** A question as it comes: the target, then pieces of the probes. */
class Asked<Target> {
  readonly #messages: AsyncIterator<{ message?: ProbeMessage<Target> | undefined }>;
  readonly #server: Pick<FakeServer, "pieces">;
  #pieces: Promise<ProbePiece[]> | undefined;

  constructor(messages: AsyncIterable<{ message?: ProbeMessage<Target> | undefined }>, server: FakeServer) {
    this.#messages = messages[Symbol.asyncIterator]();
    this.#server = server;
  }

  async target(): Promise<Target> {
    const first = await this.#messages.next();
    const message = first.done === true ? undefined : first.value.message;
    if (message?.$case !== "target") throw new Error("no target came first");
    return message.value;
  }

  /** All of them, once the client has sent the last. */
  async pieces(): Promise<ProbePiece[]> {
    return (this.#pieces ??= this.#receive());
  }

  async #receive(): Promise<ProbePiece[]> {
    const pieces: ProbePiece[] = [];
    for (let next = await this.#messages.next(); next.done !== true; next = await this.#messages.next()) {
      const { message } = next.value;
      if (message?.$case !== "pieces") throw new Error("something else than pieces came");
      pieces.push(...message.value.pieces);
      this.#server.pieces.push(...message.value.pieces);
    }
    return pieces;
  }
}

type ProbeMessage<Target> = { $case: "target"; value: Target } | { $case: "pieces"; value: { pieces: ProbePiece[] } };

export function sha256(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest();
}

function refuse(): never {
  throw new Error("the fake server does not do this");
}
