import { hash, timingSafeEqual } from "node:crypto";
import { FheError } from "@veilface/fhe";
import type { CiphertextEncoding } from "@veilface/fhe";
import { ServerError } from "../errors.ts";
import type { ServerErrorReason } from "../errors.ts";
import { readOutside } from "./secrets.ts";

/** How the ciphertexts of pairwise contexts are laid out. */
export type PairwiseEncoding = "SEAL" | "TENSEAL_CKKS_VECTOR";

/** A ciphertext's envelope, its bytes not looked at yet. */
export interface CiphertextEnvelope<Encoding = CiphertextEncoding> {
  /** Path of the ciphertext in the request, for refusals. */
  readonly field: string;
  readonly encoding: Encoding;
  readonly data: Uint8Array;
  /** Undefined once the bytes were compared with it. */
  readonly sha256: Uint8Array | undefined;
}

/** A ciphertext that the server made. */
export interface Envelope {
  readonly data: Uint8Array;
  readonly sha256: Uint8Array;
}

type Received = Pick<CiphertextEnvelope, "field" | "data" | "sha256">;

/**
 * What `open` makes of the bytes. Throws ServerError CIPHERTEXT_CORRUPT, and what `open` throws with the field at
 * fault.
 */
export function openEnvelope<T>(envelope: Received, open: (data: Uint8Array) => T): T {
  // The digest is compared first: it tells damage in transit from bytes that never were a ciphertext.
  checkDigest(envelope);
  return inField(`${envelope.field}.data`, () => readOutside(envelope.data, open));
}

/** Throws ServerError CIPHERTEXT_CORRUPT unless the bytes have the SHA-256 that came with them. */
export function checkDigest({ field, data, sha256 }: Received): void {
  if (sha256 === undefined || timingSafeEqual(hash("sha256", data, "buffer"), sha256)) return;
  throw fieldAtFault(
    `${field}.data`,
    "CIPHERTEXT_CORRUPT",
    "the ciphertext's bytes do not have the SHA-256 that came with them: send it again",
  );
}

/** Runs what reads a field of the request; what it refuses names the field. */
export function inField<T>(field: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw error instanceof FheError ? fieldAtFault(field, error.reason, error.message) : error;
  }
}

/** Bytes with their SHA-256. */
export function envelopeOf(data: Uint8Array): Envelope {
  return { data, sha256: Uint8Array.from(hash("sha256", data, "buffer")) };
}

function fieldAtFault(field: string, reason: ServerErrorReason, description: string): ServerError {
  return new ServerError(reason, description, { violations: [{ field, description }] });
}
