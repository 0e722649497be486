import type { SEALContext } from "node-seal";
import { openCkksContext, parmsIdBytes } from "../seal/seal.ts";
import type { PublicSeal } from "../seal/seal.ts";
import type { EncryptionParameters, PairwiseParameters } from "./parameters.ts";

/** What tells objects of a pairwise context's levels apart. */
export interface PairwiseLevels {
  /** The parameters, scale included, that the context was made of. */
  readonly parameters: PairwiseParameters;
  /** Hash of the parameters with all primes, 32 bytes: that of keys. */
  readonly keyParmsId: Uint8Array;
  /** Hash of the parameters without the reserved prime, 32 bytes: that of fresh ciphertexts. */
  readonly dataParmsId: Uint8Array;
}

/**
 * SEAL's context of checked parameters, which the caller frees. Throws FheError PARAMETERS_INVALID if SEAL refuses
 * them.
 */
export function openPairwiseContext(seal: PublicSeal, { degree, primes }: EncryptionParameters): SEALContext {
  return openCkksContext(seal, { degree, primes }, "the encryption parameters");
}

/** The levels of a context that was made of these parameters. */
export function levelsOf(parameters: PairwiseParameters, context: SEALContext): PairwiseLevels {
  return {
    parameters,
    keyParmsId: parmsIdBytes(context.keyParmsId()),
    dataParmsId: parmsIdBytes(context.firstParmsId()),
  };
}
