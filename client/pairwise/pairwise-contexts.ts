import { CONTEXT_PAGES, KeyMaterial, MAX_ACCEPTED_ERROR, MAX_KEY_BYTES } from "@veilface/proto";
import { callersSource } from "../boundary.ts";
import { ClientError } from "../errors.ts";
import { checkContextId } from "../ids.ts";
import type { Bounded } from "../remote/call-bounds.ts";
import { isUnavailable } from "../remote/retrying.ts";
import { invalidReply } from "../remote/wire.ts";
import type { ByteSource } from "./byte-stream.ts";
import { trimContext } from "./context-trimmer.ts";
import { uploadKeys } from "./key-upload.ts";
import type { ContextUpload, UploadOptions } from "./key-upload.ts";
import type { PairwiseCalls } from "./pairwise-calls.ts";
import type { DeleteContextOptions, PairwiseKeys, TensealUploadOptions } from "./pairwise-options.ts";
import { fromWireContext } from "./pairwise-wire.ts";
import type { PairwiseContext } from "./pairwise-wire.ts";
import { guardSecretKey } from "./secret-key-guard.ts";
import { TRIM_ADVICE } from "./tenseal-advice.ts";
import { collectContext, publicTensealContext } from "./tenseal-files.ts";

/** Uploads, reads and deletes contexts of the pairwise scheme. */
export class PairwiseContexts {
  readonly #calls: PairwiseCalls;

  constructor(calls: PairwiseCalls) {
    this.#calls = calls;
  }

  /** As PairwiseClient.uploadTensealContext. */
  async uploadTenseal(
    data: Uint8Array | AsyncIterable<Uint8Array>,
    options: Bounded<TensealUploadOptions>,
  ): Promise<PairwiseContext> {
    const { dimension, name = "the data" } = options;
    const source: ByteSource = data instanceof Uint8Array ? [data] : callersSource(data);
    if (dimension !== undefined) return this.#upload(await trimContext({ source, dimension, name }), options);
    const bytes = publicTensealContext(
      data instanceof Uint8Array ? data : await collectContext(callersSource(data), name),
      name,
    );
    const keys = [{ material: KeyMaterial.KEY_MATERIAL_TENSEAL_CONTEXT, bytes }];
    return this.#upload({ encryptionParameters: new Uint8Array(), scale: 0, keys }, options);
  }

  /** As PairwiseClient.uploadContext. */
  async uploadSeal(
    { encryptionParameters, scale, relinKeys, galoisKeys }: PairwiseKeys,
    options: Bounded<UploadOptions>,
  ): Promise<PairwiseContext> {
    guardSecretKey(options.name ?? "the key material", encryptionParameters, relinKeys, galoisKeys);
    const keys = [
      { material: KeyMaterial.KEY_MATERIAL_SEAL_RELIN_KEYS, bytes: relinKeys },
      { material: KeyMaterial.KEY_MATERIAL_SEAL_GALOIS_KEYS, bytes: galoisKeys },
    ];
    return this.#upload({ encryptionParameters, scale, keys }, options);
  }

  /** As PairwiseClient.getContext. */
  async get(contextId: string, options: Bounded): Promise<PairwiseContext> {
    checkContextId(contextId);
    const { context } = await this.#calls.rpcs.call(
      options,
      (rpc) => this.#calls.rpcs.services.contexts.getContext({ contextId }, rpc),
      isUnavailable,
    );
    const found = fromWireContext(context);
    if (found === undefined)
      throw new ClientError(
        "USAGE",
        `context ${contextId} is of the packed scheme: expected one of the pairwise scheme`,
      );
    if (found.contextId !== contextId) throw invalidReply("another context than was asked for");
    return found;
  }

  /** As PairwiseClient.listContexts. */
  async list(options: Bounded): Promise<PairwiseContext[]> {
    const found: PairwiseContext[] = [];
    const { contexts } = this.#calls.rpcs.services;
    const pageSize = CONTEXT_PAGES.most;
    for await (const page of this.#calls.rpcs.pages(options, (pageToken, rpc) =>
      contexts.listContexts({ pageSize, pageToken }, rpc),
    ))
      found.push(...page.contexts.map(fromWireContext).filter((context) => context !== undefined));
    return found;
  }

  /** As PairwiseClient.deleteContext. */
  async delete(contextId: string, { force = false, ...options }: Bounded<DeleteContextOptions>): Promise<void> {
    checkContextId(contextId);
    const { contexts } = this.#calls.rpcs.services;
    await this.#calls.rpcs.deletion(options, (allowMissing, rpc) =>
      contexts.deleteContext({ contextId, force, allowMissing }, rpc),
    );
  }

  async #upload(upload: ContextUpload, options: Bounded<UploadOptions>): Promise<PairwiseContext> {
    checkAcceptedError(options);
    const bytes = upload.keys.reduce((sum, key) => sum + key.bytes.length, 0);
    if (bytes > MAX_KEY_BYTES)
      throw new ClientError(
        "USAGE",
        `the key material has ${bytes} bytes: expected at most ${MAX_KEY_BYTES}; ${TRIM_ADVICE}`,
      );
    // Where no server is, that should be known before the upload is tried again and again for 21 s.
    await this.#calls.rpcs.call(
      options,
      (rpc) => this.#calls.rpcs.services.contexts.listContexts({ pageSize: 1 }, rpc),
      isUnavailable,
    );
    const context = fromWireContext(await uploadKeys(this.#calls.rpcs, upload, options));
    if (context === undefined) throw invalidReply("a context of another scheme than was uploaded");
    return context;
  }
}

function checkAcceptedError({ acceptedError }: UploadOptions): void {
  if (acceptedError === undefined || (acceptedError > 0 && acceptedError <= MAX_ACCEPTED_ERROR)) return;
  const expected = `expected a number in (0, ${MAX_ACCEPTED_ERROR}]`;
  throw new ClientError("USAGE", `accepted error ${acceptedError} is out of range: ${expected}`);
}
