import { FheError } from "../errors.ts";
import { inflateSeal } from "../seal/seal-bytes.ts";
import type { SealObjectLimits } from "../seal/seal-bytes.ts";
import type { PairwiseLevels } from "./levels.ts";
import { MAX_PAIRWISE_CIPHERTEXT_BYTES } from "./parameters.ts";
import { SealCursor } from "../seal/seal-cursor.ts";
import type { CiphertextSpan } from "../seal/seal-cursor.ts";

const PAIRWISE_CIPHERTEXT: SealObjectLimits = {
  what: "ciphertext",
  maxBytes: MAX_PAIRWISE_CIPHERTEXT_BYTES,
  malformed: "CIPHERTEXT_MALFORMED",
  tooLarge: "CIPHERTEXT_TOO_LARGE",
};

/**
 * A fresh ciphertext from outside as bytes that may be shown to SEAL: uncompressed, two components (the second may be a
 * seed), in NTT form, at the data level, with the context's scale. Whether each residue is below its prime is for SEAL
 * to say. Throws FheError with the CIPHERTEXT_* or PARAMETER_SET_MISMATCH reasons.
 */
export function checkFreshCiphertext(levels: PairwiseLevels, data: Uint8Array): Uint8Array {
  const bytes = inflateSeal(data, PAIRWISE_CIPHERTEXT);
  const cursor = new SealCursor(bytes, PAIRWISE_CIPHERTEXT);
  const span = cursor.ciphertext();
  checkLevel(levels, span);
  if (!isTwoComponents(span, levels.parameters.degree, levels.parameters.primes.length - 1)) {
    throw cursor.malformed("expected a fresh ciphertext of two components in NTT form at the data level");
  }
  checkScale(levels, span);
  if (hidesNothing(bytes, span))
    throw transparent(
      "the ciphertext is transparent: its second component is zero, so it hides nothing; encrypt it again",
    );
  return bytes;
}

/**
 * Whether two ciphertexts from outside are one and the same, however compressed. Throws FheError CIPHERTEXT_MALFORMED.
 */
export function areSameCiphertext(first: Uint8Array, second: Uint8Array): boolean {
  return Buffer.from(inflateSeal(first, PAIRWISE_CIPHERTEXT)).equals(inflateSeal(second, PAIRWISE_CIPHERTEXT));
}

function checkLevel({ parameters, dataParmsId }: PairwiseLevels, { parmsId, degree, primes }: CiphertextSpan): void {
  if (Buffer.from(dataParmsId).equals(parmsId)) return;
  const { degree: expectedDegree, primes: expectedPrimes } = parameters;
  const expected = `expected a fresh one of the context, with ring degree ${expectedDegree} and ${expectedPrimes.length - 1} primes`;
  throw new FheError(
    "PARAMETER_SET_MISMATCH",
    `the ciphertext has ring degree ${degree} and ${primes} primes of other parameters, or was computed with: ${expected}`,
  );
}

function checkScale({ parameters }: PairwiseLevels, { scale }: CiphertextSpan): void {
  if (scale === parameters.scale) return;
  throw new FheError(
    "CIPHERTEXT_MALFORMED",
    `the ciphertext's scale is ${scale}: expected ${parameters.scale}, the context's: encrypt with that scale`,
  );
}

/** Whether a span is a ciphertext of two components over so many primes, or one and a seed. */
export function isTwoComponents(span: CiphertextSpan, degree: number, primes: number): boolean {
  const { components, words, seeded } = span;
  return (
    span.inNttForm &&
    components === 2 &&
    span.degree === degree &&
    span.primes === primes &&
    span.correction === 1 &&
    words === (seeded ? 1 : 2) * degree * primes
  );
}

/** Whether the second component is zero modulo any prime: then it hides nothing modulo that prime. */
export function hidesNothing(bytes: Uint8Array, { wordsAt, degree, primes, seeded }: CiphertextSpan): boolean {
  if (seeded) return false;
  const zeros = Buffer.alloc(8 * degree);
  return Array.from({ length: primes }, (_, prime) => wordsAt + 8 * degree * (primes + prime)).some((at) =>
    zeros.equals(bytes.subarray(at, at + zeros.length)),
  );
}

export function transparent(message: string): FheError {
  return new FheError("CIPHERTEXT_TRANSPARENT", message);
}
