import { FheError } from "@veilface/fhe";
import type { FheErrorReason } from "@veilface/fhe";
import { move, transferableSymbol, valueSymbol } from "piscina";
import { ServerError } from "../errors.ts";
import type { FieldViolation, ServerErrorReason } from "../errors.ts";

/** Errors lose their class between threads, so tasks answer with values. */
export type Outcome<T> =
  | { readonly value: T }
  | { readonly fheError: { readonly reason: FheErrorReason; readonly message: string } }
  | {
      readonly serverError: {
        readonly reason: ServerErrorReason;
        readonly message: string;
        readonly violations: readonly FieldViolation[];
      };
    };

/** Runs a worker task. `transfer`: buffers of its value to be handed over instead of copied. */
export function outcome<T>(run: () => T, transfer: (value: T) => ArrayBufferLike[] = () => []): Outcome<T> {
  try {
    const value = run();
    // Piscina hands over the buffers, and gives the pool `value` alone, of which its types know nothing.
    return move({ [transferableSymbol]: transfer(value), [valueSymbol]: { value } }) as never;
  } catch (error) {
    if (error instanceof FheError) return { fheError: { reason: error.reason, message: error.message } };
    if (error instanceof ServerError)
      return { serverError: { reason: error.reason, message: error.message, violations: error.violations } };
    throw error;
  }
}
