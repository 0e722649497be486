import { ServerError } from "../errors.ts";
import type { FieldViolation } from "../errors.ts";

/**
 * What each of several readers of a request gives. All of them read before one refusal names everything that they found
 * wrong: its reason is that of the first. A reader may call another one again; what both refuse is named once. Whatever
 * else one throws is thrown at once.
 */
export function readAll<T extends object>(readers: { readonly [Name in keyof T]: () => T[Name] }): T {
  const refusals: ServerError[] = [];
  const read: Partial<T> = {};
  for (const name in readers) {
    try {
      read[name] = readers[name]();
    } catch (error) {
      if (!(error instanceof ServerError) || error.violations.length === 0) throw error;
      refusals.push(error);
    }
  }
  const [first, ...others] = refusals;
  if (first !== undefined) throw combined(first, others);
  // Whole, as no reader refused, which the types do not tell.
  return read as T;
}

/** One refusal with everything that several say. The first one gives its reason. */
function combined(first: ServerError, others: readonly ServerError[]): ServerError {
  const refusals = [first, ...others];
  const messages = new Set(refusals.map(({ message }) => message));
  if (messages.size === 1) return first;
  const violations = refusals.flatMap((refusal) => refusal.violations);
  return new ServerError(first.reason, [...messages].join("; "), { violations: distinct(violations) });
}

function distinct(violations: readonly FieldViolation[]): FieldViolation[] {
  return [
    ...new Map(violations.map((violation) => [`${violation.field} ${violation.description}`, violation])).values(),
  ];
}

/** A promise's end as a part for {@link readAll}: returns what it resolved to, or throws what it was rejected with. */
export async function later<T>(promise: Promise<T>): Promise<() => T> {
  const [end] = await Promise.allSettled([promise]);
  return () => {
    if (end.status === "rejected") throw end.reason;
    return end.value;
  };
}
