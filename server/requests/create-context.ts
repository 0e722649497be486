import { packedContextId } from "@veilface/fhe";
import { KeyMaterial } from "@veilface/proto";
import type {
  Context,
  CreateContextRequest,
  KeyChunk,
  KeyUpload,
  PairwiseScheme as WirePairwise,
} from "@veilface/proto";
import { KeyUploads, checkAnnounced } from "./key-upload.ts";
import { PACE } from "../limits.ts";
import type { PairwiseMatcher } from "../compute/pairwise/pairwise-matcher.ts";
import type { ContextKeys, NewContext } from "../store/gallery-store.ts";
import { readAll } from "./read-all.ts";
import { Patience, forEachItem, patiently } from "../streams.ts";
import { absent, packedScheme, pairwiseAcceptedError, required } from "./from-wire.ts";
import { fieldInvalid, impossible, tooSlow } from "../errors.ts";
import type { ServerError } from "../errors.ts";

/** A context as it was sent, checked, with its keys where its scheme has any. */
interface ReceivedContext {
  readonly context: NewContext;
  readonly keys?: ContextKeys;
}

/** The first message of a stream, with bytes of its own. */
interface Head {
  readonly scheme: Context["scheme"];
  readonly announced: readonly KeyUpload[];
}

/** The messages after the first one, and how long the server still waits for them. */
interface Rest {
  readonly messages: AsyncIterableIterator<CreateContextRequest>;
  readonly patience: Patience;
}

/**
 * Receives a context: the first message has it, key material may follow. Throws ServerError with what is wrong with it,
 * or TOO_SLOW if it comes too slowly.
 */
export async function receiveContext(
  pairwise: PairwiseMatcher,
  requests: AsyncIterable<CreateContextRequest>,
): Promise<ReceivedContext> {
  const patience = new Patience(PACE);
  const messages = patiently(requests, patience, cameTooSlowly);
  const { scheme, announced } = await receiveHead(messages);
  switch (scheme?.$case) {
    case "packed":
      if (announced.length > 0)
        throw fieldInvalid(
          "new_context.key_uploads",
          "are for the pairwise scheme: the packed one has no keys",
          "SCHEME_MISMATCH",
        );
      await forEachItem(messages, refuseMore);
      return receivePacked(scheme.value);
    case "pairwise":
      return receivePairwise(pairwise, scheme.value, { announced, messages, patience });
    case undefined:
      throw fieldInvalid("new_context.context", "has no scheme: packed or pairwise is required");
  }
}

// Copies what is kept, and has a frame of its own: the message may be far larger than that, and the upload long.
async function receiveHead(messages: AsyncIterator<CreateContextRequest>): Promise<Head> {
  const first = await messages.next();
  const message = first.done === true ? undefined : first.value.message;
  if (message?.$case !== "newContext") throw fieldInvalid("new_context", "is required in the first message");
  const { context, keyUploads } = message.value;
  const { scheme } = required("new_context.context", context);
  const announced = keyUploads.map((upload) => ({ ...upload, sha256: new Uint8Array(upload.sha256) }));
  if (scheme?.$case !== "pairwise") return { scheme, announced };
  const encryptionParameters = new Uint8Array(scheme.value.encryptionParameters);
  return { scheme: { ...scheme, value: { ...scheme.value, encryptionParameters } }, announced };
}

function receivePacked(value: Parameters<typeof packedScheme>[1]): ReceivedContext {
  const { parameterSet, keyId } = packedScheme("new_context.context.packed", value);
  return {
    context: { contextId: packedContextId(parameterSet, keyId), scheme: { kind: "packed", parameterSet, keyId } },
  };
}

function refuseMore(request: CreateContextRequest): never {
  chunkOf(request);
  throw fieldInvalid("key_chunk", "is for the pairwise scheme: the packed one has no keys", "SCHEME_MISMATCH");
}

function chunkOf({ message }: CreateContextRequest): KeyChunk {
  absent("new_context", message?.$case === "newContext" ? message : undefined);
  return required("key_chunk", message?.$case === "keyChunk" ? message.value : undefined);
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
    acceptedError: () => pairwiseAcceptedError("new_context.context.pairwise.accepted_error", scheme.acceptedError),
  });
  using uploads = new KeyUploads(announced);
  patience.interrupt = uploads.signal;
  await forEachItem(messages, (request) => {
    const chunk = chunkOf(request);
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

function cameTooSlowly(): ServerError {
  const expected = `expected it without a pause of ${PACE.graceMs / 1000} s, and ${PACE.bytesPerSecond} bytes a second at the least`;
  const message = `the context, or the next chunk of its keys, came too slowly: ${expected}; send it again, in smaller chunks on a slow link`;
  return tooSlow(message);
}

function checkLeftToTenseal({ encryptionParameters, scale }: WirePairwise): void {
  readAll({
    parameters: () => {
      if (encryptionParameters.length === 0) return;
      throw fieldInvalid(
        "new_context.context.pairwise.encryption_parameters",
        "must be empty where a TenSEAL context is uploaded, which has them",
      );
    },
    scale: () => {
      if (scale !== 0)
        throw fieldInvalid(
          "new_context.context.pairwise.scale",
          "must be 0 where a TenSEAL context is uploaded, which has it",
        );
    },
  });
}
