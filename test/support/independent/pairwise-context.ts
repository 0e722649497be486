// What tests do with a pairwise context over the independent client: upload its keys, compare ciphertexts, and read
// distances back.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { CiphertextMessage } from "./gallery-fixture.ts";
import type { IndependentClient } from "./independent-client.ts";
import type { EvaluationKeys, TensealMaker, VectorForm, Written } from "./tenseal-maker.ts";

export type Encoding = "SEAL" | "TENSEAL_CKKS_VECTOR";
export const ENCODINGS: readonly Encoding[] = ["SEAL", "TENSEAL_CKKS_VECTOR"];
export type Operation = "SQUARED_DISTANCE" | "INNER_PRODUCT";
export const OPERATIONS: readonly Operation[] = ["SQUARED_DISTANCE", "INNER_PRODUCT"];

/** An object of key material. */
interface Upload {
  readonly material: "TENSEAL_CONTEXT" | "SEAL_RELIN_KEYS" | "SEAL_GALOIS_KEYS";
  readonly bytes: Buffer;
}

/** A whole upload: what the first message says of the scheme, and the key material. */
export interface ContextUpload {
  readonly pairwise: {
    readonly encryption_parameters?: Buffer;
    readonly scale?: number;
    readonly accepted_error?: number;
  };
  readonly uploads: readonly Upload[];
}

/** Context, as the wire gives it. */
export interface PairwiseContextMessage {
  readonly context_id: string;
  readonly scheme: string;
  readonly pairwise: {
    readonly encryption_parameters: Buffer;
    readonly scale: number;
    readonly poly_modulus_degree: number;
    readonly coeff_modulus_bits: readonly number[];
    readonly rotation_steps: readonly number[];
    readonly max_dimension: number;
    readonly max_distance: number;
    readonly expected_error: number;
  };
  readonly create_time: { readonly seconds: number };
}

/** The largest chunk that the contract allows. */
export const CHUNK_BYTES = 1 << 20;

export function tensealUpload(bytes: Buffer): ContextUpload {
  return { pairwise: {}, uploads: [{ material: "TENSEAL_CONTEXT", bytes }] };
}

export function sealUpload(maker: TensealMaker, keys: EvaluationKeys, written: Written = {}): ContextUpload {
  return {
    pairwise: { encryption_parameters: maker.encryptionParameters(written.compression), scale: maker.parameters.scale },
    uploads: [
      { material: "SEAL_RELIN_KEYS", bytes: keys.relinKeys(written) },
      { material: "SEAL_GALOIS_KEYS", bytes: keys.galoisKeys(written) },
    ],
  };
}

/** The first message of an upload. */
export function announcement({ pairwise, uploads }: ContextUpload): {
  readonly new_context: { readonly context: object; readonly key_uploads: readonly object[] };
} {
  const key_uploads = uploads.map(({ material, bytes }) => ({
    material: `KEY_MATERIAL_${material}`,
    total_bytes: bytes.length,
    sha256: sha256(bytes),
  }));
  return { new_context: { context: { pairwise }, key_uploads } };
}

/** The later messages of an upload. */
export function chunks(
  { uploads }: ContextUpload,
  chunkBytes = CHUNK_BYTES,
): { readonly key_chunk: { readonly material: string; readonly offset: number; readonly data: Buffer } }[] {
  return uploads.flatMap(({ material, bytes }) =>
    Array.from({ length: Math.ceil(bytes.length / chunkBytes) }, (_, k) => {
      const offset = k * chunkBytes;
      return {
        key_chunk: { material: `KEY_MATERIAL_${material}`, offset, data: bytes.subarray(offset, offset + chunkBytes) },
      };
    }),
  );
}

export async function createPairwiseContext(
  client: IndependentClient,
  upload: ContextUpload,
  chunkBytes?: number,
): Promise<PairwiseContextMessage> {
  const [answer] = await client.call<{ context: PairwiseContextMessage }>(
    "ContextService/CreateContext",
    announcement(upload),
    ...chunks(upload, chunkBytes),
  );
  return answer!.context;
}

/** What a comparison asks for besides its two ciphertexts. */
export interface Question {
  readonly operation?: Operation;
  readonly dimension?: number;
  readonly norm_bound?: number;
  readonly reply?: Encoding | undefined;
}

/** A pairwise context on a running server, with the key it belongs to. */
export class TestContext {
  readonly client: IndependentClient;
  readonly maker: TensealMaker;
  readonly contextId: string;

  static async create(client: IndependentClient, maker: TensealMaker, upload: ContextUpload): Promise<TestContext> {
    return new TestContext(client, maker, (await createPairwiseContext(client, upload)).context_id);
  }

  /** A context that is there already. */
  constructor(client: IndependentClient, maker: TensealMaker, contextId: string) {
    this.client = client;
    this.maker = maker;
    this.contextId = contextId;
  }

  /** A ciphertext's bytes in their envelope. */
  envelope(data: Buffer, encoding: Encoding = "SEAL"): CiphertextMessage {
    return { context_id: this.contextId, encoding: `CIPHERTEXT_ENCODING_${encoding}`, data, sha256: sha256(data) };
  }

  /** An encrypted vector in its envelope. */
  vector(components: readonly number[], encoding: Encoding = "SEAL", form: VectorForm = {}): CiphertextMessage {
    return this.envelope(
      encoding === "SEAL" ? this.maker.ciphertext(components, form) : this.maker.vector(components, form),
      encoding,
    );
  }

  /** The answer to a comparison, held to what the contract says of every answer. */
  async ask(
    first: CiphertextMessage,
    second: CiphertextMessage,
    { operation = "SQUARED_DISTANCE", reply, ...rest }: Question,
  ): Promise<CiphertextMessage> {
    const reply_encoding = reply === undefined ? undefined : `CIPHERTEXT_ENCODING_${reply}`;
    const request = { first, second, operation: `PAIRWISE_OPERATION_${operation}`, reply_encoding, ...rest };
    const [answer] = await this.client.call<{ distance: CiphertextMessage }>(
      "MatchingService/CompareCiphertexts",
      request,
    );
    const { distance } = answer!;
    assertReply(distance, this.contextId, reply_encoding ?? first.encoding);
    return distance;
  }

  /** The decrypted answer to a comparison. */
  async compare(first: CiphertextMessage, second: CiphertextMessage, question: Question): Promise<number> {
    const { encoding, data } = await this.ask(first, second, question);
    return this.maker.decrypt(encoding, data);
  }

  /** Whether the server still does its work for this context: compares two vectors. */
  async assertServes(): Promise<void> {
    const found = await this.compare(this.vector([0.5, -0.25]), this.vector([0.25, 0.5]), { dimension: 2 });
    assert.ok(Math.abs(found - 0.625) < 1e-3, `the distance is ${found}: expected 0.625`);
  }
}

/** Fails unless a reply names its context, has the expected encoding, and has its SHA-256. */
export function assertReply(reply: CiphertextMessage, contextId: string, encoding: string): void {
  assert.deepEqual({ context_id: reply.context_id, encoding: reply.encoding }, { context_id: contextId, encoding });
  assert.ok(sha256(reply.data).equals(reply.sha256), "the reply has its SHA-256");
}

/** The plain result that an encrypted one is held to. */
export function plainResult(operation: Operation, x: readonly number[], y: readonly number[]): number {
  return x.reduce((sum, a, k) => sum + (operation === "SQUARED_DISTANCE" ? (a - y[k]!) ** 2 : a * y[k]!), 0);
}

export async function listContextIds(client: IndependentClient): Promise<string[]> {
  const [page] = await client.call<{ contexts: { context_id: string }[] }>("ContextService/ListContexts", {
    page_size: 1000,
  });
  return page!.contexts.map(({ context_id }) => context_id);
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest();
}
