import type { CallBounds } from "./call-bounds.ts";
import { reachedNobody } from "./call-errors.ts";
import { ClientError } from "../errors.ts";

/** Whether a failed call may be tried again. */
export type MayRetry = (error: unknown) => boolean;

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
const LONGEST_WAIT_MS = 60_000;

/** Of what is idempotent: whether the server went away or is going, or asks to come back later. */
export function isUnavailable(error: unknown): boolean {
  return error instanceof ClientError && (error.reason === "SERVER_UNAVAILABLE" || error.retryAfterMs !== undefined);
}

/**
 * Of what must not be done twice: whether the server never heard of it, or had no room for it and asks to come back
 * later.
 */
export function isUndone(error: unknown): boolean {
  if (!(error instanceof ClientError)) return false;
  return error.reason === "SERVER_UNAVAILABLE" ? reachedNobody(error.cause) : error.retryAfterMs !== undefined;
}

/**
 * Runs work again while it fails in a way that may pass, at most five times more, with growing pauses or those that
 * the server asks for. Throws the last failure, at once where its pause would outlast the deadline; ClientError
 * CANCELLED or DEADLINE_EXCEEDED.
 */
export async function retrying<T>(bounds: CallBounds, work: () => Promise<T>, mayRetry: MayRetry): Promise<T> {
  let paused = 0;
  let last: ClientError | undefined;
  for (let failures = 1; ; failures++) {
    try {
      return await work();
    } catch (error) {
      const milliseconds = pauseAfter(failures, error);
      paused += milliseconds;
      if (failures > RETRIES || !mayRetry(error) || !isTimeFor(paused, milliseconds, bounds))
        throw lateAfter(last, error);
      if (error instanceof ClientError) last = error;
      await pauseAfterFailure(error, milliseconds, bounds);
    }
  }
}

/** Whether there is time for a pause, the last of so many milliseconds of them in all. */
function isTimeFor(paused: number, milliseconds: number, { leftMs }: CallBounds): boolean {
  return milliseconds < leftMs && (leftMs < Infinity || paused <= LONGEST_WAIT_MS);
}

// Where the deadline passes in a pause nothing was under way: the failure says what was wrong.
async function pauseAfterFailure(failure: unknown, milliseconds: number, bounds: CallBounds): Promise<void> {
  try {
    await bounds.pause(milliseconds);
  } catch (ended) {
    throw isLate(ended) ? failure : ended;
  }
}

function isLate(error: unknown): error is ClientError {
  return error instanceof ClientError && error.reason === "DEADLINE_EXCEEDED";
}

/** That there was no time to ask once more says less than why it had to be. */
function lateAfter(last: ClientError | undefined, error: unknown): unknown {
  if (last === undefined || !isLate(error)) return error;
  return new ClientError(error.reason, `${error.message} (before that: ${last.message})`, { cause: error });
}

/**
 * Runs idempotent work with much to lose again while the server is away, at most seventeen times more. Throws as
 * {@link pauseBeforeRetry}.
 */
export async function retryingPatiently<T>(bounds: CallBounds, work: () => Promise<T>): Promise<T> {
  for (let failures = 0; ; ) {
    try {
      return await work();
    } catch (error) {
      await pauseBeforeRetry(++failures, error, bounds);
    }
  }
}

/**
 * Waits before an idempotent call with work to lose is tried again after so many failures in a row. Throws `error`
 * where it is not that the server is away, once there were too many, or where the wait would outlast the deadline, or
 * a minute; ClientError CANCELLED or DEADLINE_EXCEEDED.
 */
export async function pauseBeforeRetry(failures: number, error: unknown, bounds: CallBounds): Promise<void> {
  const milliseconds = pauseAfter(failures, error);
  if (!isUnavailable(error) || failures > PATIENT_RETRIES || !isTimeFor(milliseconds, milliseconds, bounds))
    throw error;
  await pauseAfterFailure(error, milliseconds, bounds);
}

function pauseAfter(failures: number, error: unknown): number {
  const asked = error instanceof ClientError ? (error.retryAfterMs ?? 0) : 0;
  const own = Math.min(FIRST_PAUSE_MS * 2 ** (failures - 1), LONGEST_PAUSE_MS);
  return Math.max(asked, own) * (1 + JITTER * Math.random());
}
