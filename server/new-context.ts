import { packedContextId } from "@veilface/fhe";
import { KeyMaterial } from "@veilface/proto";
import type { CreateContextRequest, KeyUpload, PairwiseScheme as WirePairwise } from "@veilface/proto";
import { ServerError } from "./errors.ts";
import { KeyUploads } from "./key-upload.ts";
import type { PairwiseMatcher } from "./pairwise/pairwise-matcher.ts";
import type { ContextKeys, NewContext } from "./store/gallery-store.ts";
import { failingWhenSilent } from "./streams.ts";
import { absent, fieldInvalid, packedScheme, pairwiseAcceptedError, required } from "./validate.ts";

/** An upload that pauses for longer makes room for others. */
const PATIENCE_MS = 30_000;

/** A context as it was sent, checked, with its keys where its scheme has any. */
export interface ReceivedContext {
  readonly context: NewContext;
  readonly keys?: ContextKeys;
}

/** Receives a context: the first message has it, key material may follow. Throws ServerError with what is wrong with it. */
export async function receiveContext(pairwise: PairwiseMatcher, requests: AsyncIterable<CreateContextRequest>): Promise<ReceivedContext> {
  const messages = requests[Symbol.asyncIterator]();
  const first = await messages.next();
  const { context, keyUploads, keyChunk } = first.done === true ? { context: undefined, keyUploads: [], keyChunk: undefined } : first.value;
  const { scheme } = required("context", context);
  if (keyChunk !== undefined) throw fieldInvalid("key_chunk", "belongs to the messages after the first");
  const rest = { [Symbol.asyncIterator]: () => messages };
  switch (scheme?.$case) {
    case "packed":
      if (keyUploads.length > 0) throw fieldInvalid("key_uploads", "are for the pairwise scheme: the packed one has no keys", "SCHEME_MISMATCH");
      for await (const message of rest) refuseMore(message);
      return receivePacked(scheme.value);
    case "pairwise":
      return receivePairwise(pairwise, scheme.value, keyUploads, rest);
    case undefined:
      throw fieldInvalid("context", "has no scheme: packed or pairwise is required");
  }
}

function receivePacked(value: Parameters<typeof packedScheme>[1]): ReceivedContext {
  const { parameterSet, keyId } = packedScheme("context.packed", value);
  return { context: { contextId: packedContextId(parameterSet, keyId), scheme: { kind: "packed", parameterSet, keyId } } };
}

function refuseMore({ context, keyChunk }: CreateContextRequest): never {
  absent("context", context);
  throw keyChunk === undefined ? fieldInvalid("key_chunk", "is required after the first message") : fieldInvalid("key_chunk", "is for the pairwise scheme: the packed one has no keys", "SCHEME_MISMATCH");
}

async function receivePairwise(pairwise: PairwiseMatcher, scheme: WirePairwise, announced: readonly KeyUpload[], messages: AsyncIterable<CreateContextRequest>): Promise<ReceivedContext> {
  using uploads = new KeyUploads(announced);
  const isTenseal = announced[0]?.material === KeyMaterial.KEY_MATERIAL_TENSEAL_CONTEXT;
  if (isTenseal) checkLeftToTenseal(scheme);
  const acceptedError = pairwiseAcceptedError("context.pairwise.accepted_error", scheme.acceptedError);
  for await (const { context, keyUploads, keyChunk } of failingWhenSilent(messages, PATIENCE_MS, tooSlow)) {
    absent("context", context);
    absent("key_uploads", keyUploads[0]);
    uploads.add(required("key_chunk", keyChunk));
  }
  const { keys, ...context } = await pairwise.admit({ ...uploadedKeys(scheme, uploads.finish()), acceptedError });
  return { context, keys };
}

function uploadedKeys({ encryptionParameters, scale }: WirePairwise, objects: ReadonlyMap<KeyMaterial, Uint8Array>) {
  const context = objects.get(KeyMaterial.KEY_MATERIAL_TENSEAL_CONTEXT);
  if (context !== undefined) return { kind: "tenseal", context } as const;
  const [relinKeys, galoisKeys] = [objects.get(KeyMaterial.KEY_MATERIAL_SEAL_RELIN_KEYS)!, objects.get(KeyMaterial.KEY_MATERIAL_SEAL_GALOIS_KEYS)!];
  return { kind: "seal", parameters: Uint8Array.from(encryptionParameters), scale, relinKeys, galoisKeys } as const;
}

function tooSlow(): ServerError {
  return new ServerError("UPLOAD_BROKEN", `no chunk came for ${PATIENCE_MS / 1000} s: upload the keys again without pauses`);
}

function checkLeftToTenseal({ encryptionParameters, scale }: WirePairwise): void {
  if (encryptionParameters.length > 0) throw fieldInvalid("context.pairwise.encryption_parameters", "must be empty where a TenSEAL context is uploaded, which has them");
  if (scale !== 0) throw fieldInvalid("context.pairwise.scale", "must be 0 where a TenSEAL context is uploaded, which has it");
}
