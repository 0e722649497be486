import { callersCallback } from "../boundary.ts";
import type { RefusedOption } from "../client-options.ts";
import { ClientError } from "../errors.ts";
import type { RefusedTemplate } from "./rank-candidates.ts";

const MOST_NAMED = 10;

/** Hands templates that the server could not compare to the caller, or warns of them. */
export function tellOfRefused(refused: readonly RefusedTemplate[], { onRefused }: RefusedOption): void {
  if (refused.length === 0) return;
  if (onRefused !== undefined) callersCallback(onRefused)(refused);
  else process.emitWarning(textOfRefused(refused), { type: "VeilfaceWarning", code: "TEMPLATES_REFUSED" });
}

/** What to throw where there is nothing else to go by. */
export function allRefused(refused: readonly RefusedTemplate[]): ClientError {
  const serverReason = refused[0]?.reason ?? "INTERNAL";
  return new ClientError("SERVER_REFUSED", textOfRefused(refused), { serverReason });
}

/** Which templates could not be compared and why, and what to do, in one sentence for people: at most ten are named. */
export function textOfRefused(refused: readonly RefusedTemplate[]): string {
  const named = refused.slice(0, MOST_NAMED).map(({ templateId, subjectId }) => `${templateId} of ${subjectId}`);
  const more = refused.length > MOST_NAMED ? ` and ${refused.length - MOST_NAMED} more` : "";
  const reasons = [...new Set(refused.map(({ reason }) => reason))].join(", ");
  const advice = "delete and enroll them again, or have the server's store restored from a backup";
  return `the server could not compare ${named.join(", ")}${more} (${reasons}): ${advice}`;
}
