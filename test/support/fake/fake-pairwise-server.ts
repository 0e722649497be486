// A server of the pairwise scheme in this process that computes nothing: it remembers what it was sent, and answers as
// a test wants.
import { createHash } from "node:crypto";
import { ContextServiceDefinition, MatchingServiceDefinition } from "@veilface/proto";
import type {
  Ciphertext,
  CompareCiphertextsRequest,
  Context,
  CreateContextRequest,
  DeleteContextRequest,
  KeyChunk,
  KeyUpload,
} from "@veilface/proto";
import { Status, createServer } from "nice-grpc";
import { ErrorInfo, RichServerError, errorDetailsServerMiddleware } from "nice-grpc-error-details";

/** What came of one upload. */
export interface ReceivedUpload {
  readonly context: Context | undefined;
  readonly announced: readonly KeyUpload[];
  /** In the order they came. */
  readonly chunks: KeyChunk[];
}

/** What a test may do on the way. Throwing ends the call with that error. */
interface PairwiseInterference {
  chunk?: (upload: ReceivedUpload) => Promise<void> | void;
  context?: (context: Context) => Context | undefined;
  distance?: (distance: Ciphertext) => Ciphertext | undefined;
}

/** The id that every uploaded context gets. */
export const FAKE_CONTEXT_ID = "0123456789abcdef".repeat(4);

export class FakePairwiseServer implements AsyncDisposable {
  readonly uploads: ReceivedUpload[] = [];
  readonly comparisons: CompareCiphertextsRequest[] = [];
  readonly deletions: DeleteContextRequest[] = [];
  interference: PairwiseInterference = {};
  /** The bytes of the distance that it answers with. */
  distance: Uint8Array = Buffer.alloc(0);
  /** Whether it says, instead, that both ciphertexts are one. */
  identical = false;
  readonly #server = createServer().use(errorDetailsServerMiddleware);
  #address = "";

  static async start(): Promise<FakePairwiseServer> {
    const fake = new FakePairwiseServer();
    fake.#address = `127.0.0.1:${await fake.#server.listen("127.0.0.1:0")}`;
    return fake;
  }

  private constructor() {
    this.#server.add(ContextServiceDefinition, {
      createContext: (requests) => this.#create(requests),
      getContext: ({ contextId }) => Promise.resolve({ context: this.#context(contextId) }),
      listContexts: () => Promise.resolve({ contexts: [], nextPageToken: "" }),
      deleteContext: (request) => {
        this.deletions.push(request);
        return Promise.resolve({});
      },
    });
    this.#server.add(MatchingServiceDefinition, {
      compareTemplates: unsupported,
      searchGallery: unsupported,
      compareCiphertexts: (request) => Promise.resolve(this.#compare(request)),
    });
  }

  get address(): string {
    return this.#address;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.forceShutdown();
    await Promise.resolve();
  }

  async #create(requests: AsyncIterable<CreateContextRequest>): Promise<{ context: Context | undefined }> {
    let upload: ReceivedUpload | undefined;
    for await (const { message } of requests) {
      if (message?.$case === "newContext") {
        const { context, keyUploads } = message.value;
        this.uploads.push((upload = { context, announced: keyUploads, chunks: [] }));
      }
      if (message?.$case !== "keyChunk" || upload === undefined) continue;
      upload.chunks.push(message.value);
      await this.interference.chunk?.(upload);
    }
    return { context: this.#context() };
  }

  #context(contextId = FAKE_CONTEXT_ID): Context | undefined {
    const value = {
      encryptionParameters: new Uint8Array(),
      scale: 2 ** 40,
      polyModulusDegree: 8192,
      coeffModulusBits: [60, 40, 40, 60],
      rotationSteps: [1, 2, 4, 8],
      maxDimension: 16,
      maxDistance: 1e6,
      expectedError: 2.5e-6,
      acceptedError: 0,
    };
    const context: Context = { contextId, createTime: new Date(1), scheme: { $case: "pairwise", value } };
    return this.interference.context === undefined ? context : this.interference.context(context);
  }

  #compare(request: CompareCiphertextsRequest): { distance?: Ciphertext | undefined; identical?: boolean } {
    this.comparisons.push(request);
    if (this.identical) return { identical: true };
    const data = this.distance;
    const distance = {
      contextId: request.first!.contextId,
      encoding: request.replyEncoding,
      data,
      sha256: createHash("sha256").update(data).digest(),
    };
    return { distance: this.interference.distance === undefined ? distance : this.interference.distance(distance) };
  }
}

/** A refusal as the server words them. */
export function refusal(reason: string, message: string, status: Status = Status.INVALID_ARGUMENT): RichServerError {
  return new RichServerError(status, message, [ErrorInfo.fromPartial({ reason, domain: "veilface.dev" })]);
}

function unsupported(): never {
  throw new Error("the fake server does not do this");
}
