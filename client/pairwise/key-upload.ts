import { CreateContextRequest } from "@veilface/proto";
import type { Context, KeyMaterial, KeyUpload } from "@veilface/proto";
import type { Bounded, CallOptions } from "../remote/call-bounds.ts";
import type { RpcWatch, Rpcs } from "../remote/calls.ts";
import { retryingPatiently } from "../remote/retrying.ts";
import { sha256 } from "../remote/wire.ts";

/** How key material is uploaded. */
export interface UploadOptions extends CallOptions {
  /**
   * Called with how many of how many bytes of key material are on their way; goes back to the start where the server
   * went away meanwhile.
   */
  readonly onProgress?: (sentBytes: number, totalBytes: number) => void;
  /** What messages call the key material, such as the name of its file. */
  readonly name?: string;
  /**
   * The largest expected error of a squared distance of unit vectors that is accepted, in (0, 1e6]; 0.01 unless set.
   */
  readonly acceptedError?: number;
}

/** An object of key material. */
interface KeyObject {
  readonly material: KeyMaterial;
  readonly bytes: Uint8Array;
}

/** What is uploaded: the context's scheme as far as the key material does not say it, and the key material. */
export interface ContextUpload {
  readonly encryptionParameters: Uint8Array;
  readonly scale: number;
  readonly keys: readonly KeyObject[];
}

interface AnnouncedUpload extends ContextUpload {
  readonly announced: KeyUpload[];
}

// 16 messages are under way before gRPC says wait. Of the 1 MiB that the contract allows, that would be 16 MiB: a line
// of 1 Mbit/s takes two minutes for them, while the deadline runs and the progress stands still. Of 64 KiB it is 1 MiB.
const CHUNK_BYTES = 65_536;

/**
 * Creates a context with its keys. Uploading is idempotent: where the server goes away on the way, all is sent again.
 * Throws ClientError as PairwiseClient.uploadContext.
 */
export async function uploadKeys(
  rpcs: Rpcs,
  upload: ContextUpload,
  options: Bounded<UploadOptions>,
): Promise<Context | undefined> {
  // Once, as it hashes all of the keys.
  const announced = upload.keys.map(announce);
  return retryingPatiently(options.bounds, () => attempt(rpcs, { ...upload, announced }, options));
}

function announce({ material, bytes }: KeyObject): KeyUpload {
  return { material, totalBytes: bytes.length, sha256: sha256(bytes) };
}

async function attempt(
  rpcs: Rpcs,
  upload: AnnouncedUpload,
  options: Bounded<UploadOptions>,
): Promise<Context | undefined> {
  using watch = rpcs.watchStream(options);
  try {
    const requests = ReadableStream.from(messages(upload, watch, options));
    const { context } = await rpcs.services.contexts.createContext(requests, watch.rpc);
    return context;
  } catch (error) {
    throw watch.translate(error);
  }
}

function* messages(
  { encryptionParameters, scale, keys, announced }: AnnouncedUpload,
  watch: RpcWatch,
  { onProgress, acceptedError = 0 }: UploadOptions,
): Generator<CreateContextRequest, void, undefined> {
  const scheme = { $case: "pairwise" as const, value: { encryptionParameters, scale, acceptedError } };
  const newContext = { context: { scheme }, keyUploads: announced };
  yield CreateContextRequest.create({ message: { $case: "newContext", value: newContext } });
  const total = keys.reduce((sum, { bytes }) => sum + bytes.length, 0);
  let sent = 0;
  for (const { material, bytes } of keys) {
    for (let offset = 0; offset < bytes.length; offset += CHUNK_BYTES) {
      const data = bytes.subarray(offset, offset + CHUNK_BYTES);
      yield CreateContextRequest.create({ message: { $case: "keyChunk", value: { material, offset, data } } });
      sent += data.length;
      watch.restart();
      onProgress?.(sent, total);
    }
  }
}
