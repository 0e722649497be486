import { totalmem } from "node:os";

/** How slowly a client may send. */
export interface Pace {
  /** How long the server waits for it in all, in milliseconds, before it must have sent something. */
  readonly graceMs: number;
  /** So many bytes give back one second of the grace. */
  readonly bytesPerSecond: number;
}

/**
 * Of every stream of requests. A mobile link that is barely there sends 10 KiB a second and pauses for some seconds; a
 * message of 1 MiB, the largest that the contract asks for, gets through in the grace at 35 KiB a second, one of a
 * template (60 KiB) at 2.
 */
export const PACE: Pace = { graceMs: 30_000, bytesPerSecond: 4096 };

/**
 * Between templates or blocks of an enrollment, where nothing waits: a camera that enrolls now and then may keep its
 * stream.
 */
export const IDLE_BETWEEN_UNITS_MS = 5 * 60_000;

/** Where memory or places are short, whoever sends more slowly than this makes room: 64 MiB take 17 minutes. */
export const SLOW_BYTES_PER_SECOND = 64 * 1024;

/** Before that nobody's rate is known. */
export const NEWCOMER_MS = 5000;

/** How long a call waits for room that others are about to leave. */
export const ROOM_PATIENCE_MS = 60_000;

/** What a refused client is told to wait. */
export const RETRY_AFTER_MS = 2000;

/** Key uploads side by side: each may reserve 64 MiB of address space, and takes the memory as its bytes come. */
export const MOST_UPLOADS = 16;

// An eighth of the memory that the process may have, so that three kinds of bytes that wait leave room for the work on
// them.
const memory = Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY);

/**
 * Bytes of each kind that may wait in memory at once, over all calls: probes for the rest of them and for their
 * answers, enrollments for the rest of their block and for the disk, key uploads for their end. A probe of 512
 * components at stride 1 is 31 MB, a block of 128 is 8 MB.
 */
export const WAITING_BYTES = Math.min(256 * 2 ** 20, Math.floor(memory / 8));
