import { ServerError } from "../errors.ts";
import type { ServerErrorReason } from "../errors.ts";

const MISSING: readonly ServerErrorReason[] = ["GALLERY_NOT_FOUND", "CONTEXT_NOT_FOUND"];

/** Awaits a deletion; where that is allowed, what is not there is as good as deleted. */
export async function unlessMissing(allowMissing: boolean, deletion: Promise<void>): Promise<void> {
  try {
    await deletion;
  } catch (error) {
    const isMissing = error instanceof ServerError && MISSING.includes(error.reason);
    if (!(isMissing && allowMissing)) throw error;
  }
}
