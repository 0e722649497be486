import { ClientError } from "../errors.ts";

/** ClientError TENSEAL_INVALID. `name`: of the file; `what`: what is wrong with it, and what to do. */
export function tensealInvalid(name: string, what: string, cause?: unknown): ClientError {
  return new ClientError("TENSEAL_INVALID", `${name} ${what}`, { cause });
}

/** The same for bytes that TenSEAL did not write whole. `lacks`: what is missing or wrong. */
export function tensealDamaged(name: string, lacks: string): ClientError {
  return tensealInvalid(name, `is damaged or cut short: ${lacks}; write it again`);
}
