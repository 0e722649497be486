import { FheError } from "../errors.ts";

// SEAL's generator of the group that rotations belong to (GaloisTool::generator_).
const GENERATOR = 3n;

/**
 * The rotation steps by which the first `dimension` slots are summed into slot 0: all powers of two below it.
 *
 * Doubling gives S_k, sums of 2^k slots: S_k+1 = S_k + rotate(S_k, 2^k). The sum R of exactly `dimension` slots takes
 * S_k for each bit k of it, from the lowest: R = S_k + rotate(R, 2^k). So it does not matter what the slots after them
 * hold: TenSEAL repeats the vector.
 */
export function rotationSteps(dimension: number): number[] {
  return Array.from({ length: Math.ceil(Math.log2(dimension)) }, (_, k) => 2 ** k);
}

/** All steps that a context of that degree can use: those of a vector that fills all N/2 slots. */
export function allRotationSteps(degree: number): number[] {
  return rotationSteps(degree / 2);
}

/** Where SEAL keeps the Galois key of a rotation to the left: (g - 1) / 2 for the Galois element g = 3^step mod 2N. */
export function galoisKeyIndex(step: number, degree: number): number {
  let element = 1n;
  for (let i = 0; i < step; i++) element = (element * GENERATOR) % BigInt(2 * degree);
  return (Number(element) - 1) / 2;
}

/** The largest dimension whose steps ({@link rotationSteps}) are all there, in [1, N/2] for ring degree N. */
export function maxDimension(steps: readonly number[], degree: number): number {
  const missing = allRotationSteps(degree).find((step) => !steps.includes(step));
  return missing ?? degree / 2;
}

/**
 * Throws FheError ROTATION_KEYS_MISSING, naming the steps that a vector of `dimension` components needs and `steps`
 * lacks.
 */
export function checkRotationSteps(steps: readonly number[], dimension: number): void {
  const missing = rotationSteps(dimension).filter((step) => !steps.includes(step));
  if (missing.length > 0) throw rotationKeysMissing(missing, `vectors of ${dimension} components need`);
}

export function rotationKeysMissing(missing: readonly number[], whoNeeds: string): FheError {
  const steps = missing.join(", ");
  return new FheError(
    "ROTATION_KEYS_MISSING",
    `the context has no Galois keys for rotations to the left by ${steps}, which ${whoNeeds}: make them with these steps and upload the context again`,
  );
}
