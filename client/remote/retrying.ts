import { setTimeout } from "node:timers/promises";
import { reachedNobody } from "./call-errors.ts";
import { ClientError } from "../errors.ts";

/** What bounds trying again. */
interface RetryOptions {
  readonly signal?: AbortSignal;
  /** Pauses stay below it in all, in milliseconds. */
  readonly deadlineMs?: number;
}

/** Whether a failed call may be tried again. */
type MayRetry = (error: unknown) => boolean;

// 0.1 + 0.2 + 0.4 + 0.8 + 1.5 s: three seconds for a server that restarts, and no longer until a wrong address is
// reported.
const RETRIES = 5;
// And 12 times 1.5 s more, 21 s in all, for what has work to lose. Pauses stay short, so that none outlasts the outage
// by much.
const PATIENT_RETRIES = 17;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 1500;
// So that those whom one outage cut off do not come back all at once.
const JITTER = 0.25;
const USUAL_LONGEST_WAIT_MS = 60_000;

/** Of what is idempotent: whether the server went away or is going, or asks to come back later. */
export function isUnavailable(error: unknown): boolean {
  return error instanceof ClientError && (error.reason === "SERVER_UNAVAILABLE" || error.retryAfterMs !== undefined);
}

/**
 * Of what must not be done twice: whether the server never heard of it, or had no room for it and asks to come back
 * later.
 */
function isUndone(error: unknown): boolean {
  if (!(error instanceof ClientError)) return false;
  return error.reason === "SERVER_UNAVAILABLE" ? reachedNobody(error.cause) : error.retryAfterMs !== undefined;
}

/**
 * Runs work again while it fails in a way that may pass, at most five times more, with growing pauses or those that
 * the server asks for. Throws the last failure; ClientError CANCELLED.
 */
export async function retrying<T>(
  options: RetryOptions,
  work: () => Promise<T>,
  mayRetry: MayRetry = isUndone,
): Promise<T> {
  const { deadlineMs = USUAL_LONGEST_WAIT_MS } = options;
  let paused = 0;
  let last: { readonly error: unknown } | undefined;
  for (let failures = 1; ; failures++) {
    try {
      return await work();
    } catch (error) {
      // That nobody answered before says more than that there was no time to ask once more.
      if (last !== undefined && isLate(error)) throw last.error;
      last = { error };
      const milliseconds = pauseAfter(failures, error);
      paused += milliseconds;
      if (failures > RETRIES || paused > deadlineMs || !mayRetry(error)) throw error;
      await pause(milliseconds, options);
    }
  }
}

/**
 * Runs idempotent work with much to lose again while the server is away, at most seventeen times more. Throws as
 * {@link pauseBeforeRetry}.
 */
export async function retryingPatiently<T>(options: RetryOptions, work: () => Promise<T>): Promise<T> {
  for (let failures = 0; ; ) {
    try {
      return await work();
    } catch (error) {
      await pauseBeforeRetry(++failures, error, options);
    }
  }
}

/**
 * Waits before an idempotent call with work to lose is tried again after so many failures in a row. Throws `error`
 * where it is not that the server is away, once there were too many, or where the server asks for a longer wait than
 * the deadline; ClientError CANCELLED.
 */
export async function pauseBeforeRetry(failures: number, error: unknown, options: RetryOptions): Promise<void> {
  const milliseconds = pauseAfter(failures, error);
  if (
    !isUnavailable(error) ||
    failures > PATIENT_RETRIES ||
    milliseconds > Math.max(options.deadlineMs ?? USUAL_LONGEST_WAIT_MS, 2 * LONGEST_PAUSE_MS)
  )
    throw error;
  await pause(milliseconds, options);
}

function isLate(error: unknown): boolean {
  return error instanceof ClientError && error.reason === "DEADLINE_EXCEEDED";
}

function pauseAfter(failures: number, error: unknown): number {
  const asked = error instanceof ClientError ? (error.retryAfterMs ?? 0) : 0;
  const own = Math.min(FIRST_PAUSE_MS * 2 ** (failures - 1), LONGEST_PAUSE_MS);
  return Math.max(asked, own) * (1 + JITTER * Math.random());
}

async function pause(milliseconds: number, { signal }: RetryOptions): Promise<void> {
  await setTimeout(milliseconds, undefined, signal && { signal }).catch((cause: unknown) => {
    throw new ClientError("CANCELLED", "the call was cancelled", { cause });
  });
}
