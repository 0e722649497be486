import { packedContextId } from "@veilface/fhe";
import { KeyMaterial } from "@veilface/proto";
import type { CreateContextRequest, KeyUpload, PairwiseScheme as WirePairwise } from "@veilface/proto";
import { KeyUploads, checkAnnounced } from "./key-upload.ts";
import { PACE, RETRY_AFTER_MS } from "../limits.ts";
import type { PairwiseMatcher } from "../compute/pairwise/pairwise-matcher.ts";
import type { ContextKeys, NewContext } from "../store/gallery-store.ts";
import { readAll } from "./read-all.ts";
import { Patience, forEachItem, patiently } from "../streams.ts";
import { absent, packedScheme, pairwiseAcceptedError, required } from "./from-wire.ts";
import { ServerError, fieldInvalid, impossible } from "../errors.ts";

/** A context as it was sent, checked, with its keys where its scheme has any. */
interface ReceivedContext {
  readonly context: NewContext;
  readonly keys?: ContextKeys;
}

/** The first message of a stream, with bytes of its own. */
interface Head {
  readonly scheme: NonNullable<CreateContextRequest["context"]>["scheme"];
  readonly announced: readonly KeyUpload[];
}

/** The messages after the first one, and how long the server still waits for them. */
interface Rest {
  readonly messages: AsyncIterableIterator<CreateContextRequest>;
  readonly patience: Patience;
}

/**
 * Receives a context: the first message has it, key material may follow. Throws ServerError with what is wrong with it,
 * or LIMIT_EXCEEDED if it comes too slowly.
 */
export async function receiveContext(
  pairwise: PairwiseMatcher,
  requests: AsyncIterable<CreateContextRequest>,
): Promise<ReceivedContext> {
  const patience = new Patience(PACE);
  const messages = patiently(requests, patience, tooSlow);
  const { scheme, announced } = await receiveHead(messages);
  switch (scheme?.$case) {
    case "packed":
      if (announced.length > 0)
        throw fieldInvalid("key_uploads", "are for the pairwise scheme: the packed one has no keys", "SCHEME_MISMATCH");
      await forEachItem(messages, refuseMore);
      return receivePacked(scheme.value);
    case "pairwise":
      return receivePairwise(pairwise, scheme.value, { announced, messages, patience });
    case undefined:
      throw fieldInvalid("context", "has no scheme: packed or pairwise is required");
  }
}

// Copies what is kept, and has a frame of its own: the message may be far larger than that, and the upload long.
async function receiveHead(messages: AsyncIterator<CreateContextRequest>): Promise<Head> {
  const first = await messages.next();
  const { context, keyUploads, keyChunk } =
    first.done === true ? { context: undefined, keyUploads: [], keyChunk: undefined } : first.value;
  const { scheme } = required("context", context);
  if (keyChunk !== undefined) throw fieldInvalid("key_chunk", "belongs to the messages after the first");
  const announced = keyUploads.map((upload) => ({ ...upload, sha256: new Uint8Array(upload.sha256) }));
  if (scheme?.$case !== "pairwise") return { scheme, announced };
  const encryptionParameters = new Uint8Array(scheme.value.encryptionParameters);
  return { scheme: { ...scheme, value: { ...scheme.value, encryptionParameters } }, announced };
}

function receivePacked(value: Parameters<typeof packedScheme>[1]): ReceivedContext {
  const { parameterSet, keyId } = packedScheme("context.packed", value);
  return {
    context: { contextId: packedContextId(parameterSet, keyId), scheme: { kind: "packed", parameterSet, keyId } },
  };
}

function refuseMore({ context, keyChunk }: CreateContextRequest): never {
  absent("context", context);
  throw keyChunk === undefined
    ? fieldInvalid("key_chunk", "is required after the first message")
    : fieldInvalid("key_chunk", "is for the pairwise scheme: the packed one has no keys", "SCHEME_MISMATCH");
}

async function receivePairwise(
  pairwise: PairwiseMatcher,
  scheme: WirePairwise,
  { announced, messages, patience }: Rest & Pick<Head, "announced">,
): Promise<ReceivedContext> {
  const isTenseal = announced[0]?.material === KeyMaterial.KEY_MATERIAL_TENSEAL_CONTEXT;
  const { acceptedError } = readAll({
    uploads: () => {
      checkAnnounced(announced);
    },
    leftToTenseal: () => {
      if (isTenseal) checkLeftToTenseal(scheme);
    },
    acceptedError: () => pairwiseAcceptedError("context.pairwise.accepted_error", scheme.acceptedError),
  });
  using uploads = new KeyUploads(announced);
  patience.interrupt = uploads.signal;
  await forEachItem(messages, ({ context, keyUploads, keyChunk }) => {
    absent("context", context);
    absent("key_uploads", keyUploads[0]);
    const chunk = required("key_chunk", keyChunk);
    uploads.add(chunk);
    patience.earn(chunk.data.length);
  });
  const { keys, ...context } = await pairwise.admit({ ...uploadedKeys(scheme, uploads.finish()), acceptedError });
  return { context, keys };
}

function uploadedKeys({ encryptionParameters, scale }: WirePairwise, objects: ReadonlyMap<KeyMaterial, Uint8Array>) {
  const context = objects.get(KeyMaterial.KEY_MATERIAL_TENSEAL_CONTEXT);
  if (context !== undefined) return { kind: "tenseal", context } as const;
  const relinKeys = objects.get(KeyMaterial.KEY_MATERIAL_SEAL_RELIN_KEYS);
  const galoisKeys = objects.get(KeyMaterial.KEY_MATERIAL_SEAL_GALOIS_KEYS);
  // Announced, or the stream would have been refused with its first message.
  if (relinKeys === undefined || galoisKeys === undefined) return impossible("an upload without keys");
  return { kind: "seal", parameters: Uint8Array.from(encryptionParameters), scale, relinKeys, galoisKeys } as const;
}

function tooSlow(): ServerError {
  const expected = `expected it without a pause of ${PACE.graceMs / 1000} s, and ${PACE.bytesPerSecond} bytes a second at the least`;
  const message = `the context, or the next chunk of its keys, came too slowly: ${expected}; send it again, in smaller chunks on a slow link`;
  return new ServerError("LIMIT_EXCEEDED", message, { retryAfterMs: RETRY_AFTER_MS });
}

function checkLeftToTenseal({ encryptionParameters, scale }: WirePairwise): void {
  readAll({
    parameters: () => {
      if (encryptionParameters.length === 0) return;
      throw fieldInvalid(
        "context.pairwise.encryption_parameters",
        "must be empty where a TenSEAL context is uploaded, which has them",
      );
    },
    scale: () => {
      if (scale !== 0)
        throw fieldInvalid("context.pairwise.scale", "must be 0 where a TenSEAL context is uploaded, which has it");
    },
  });
}
