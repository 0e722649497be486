// How a refused call is held to the contract.
import assert from "node:assert/strict";
import { CallRefused } from "./independent-client.ts";

/** gRPC status codes, by name. */
export const STATUS = {
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  UNAVAILABLE: 14,
} as const;

export interface ExpectedRefusal {
  readonly status: keyof typeof STATUS;
  /** ErrorInfo.reason. */
  readonly reason: string;
  /** The path that BadRequest must name. */
  readonly field?: string;
  /** What the text must say: what was wrong and what was expected. */
  readonly says?: RegExp;
}

/** Fails unless the call is refused in exactly that way. Gives the refusal. */
export async function assertRefused(call: Promise<unknown>, expected: ExpectedRefusal): Promise<CallRefused> {
  const refusal = await call.then(
    () => assert.fail(`the call was served: expected ${expected.status} ${expected.reason}`),
    (error: unknown) => error,
  );
  if (!(refusal instanceof CallRefused)) throw refusal;
  const { code, reason, domain, details, fields } = refusal;
  assert.deepEqual(
    { code, reason, domain },
    { code: STATUS[expected.status], reason: expected.reason, domain: "veilface.dev" },
    details,
  );
  if (expected.field !== undefined)
    assert.ok(
      fields.includes(expected.field),
      `BadRequest names [${fields.join(", ")}]: expected ${expected.field}; ${details}`,
    );
  assert.match(details, expected.says ?? /\S.{15,}/);
  return refusal;
}
