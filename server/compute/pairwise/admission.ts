import {
  FheError,
  PairwiseEvaluator,
  checkGaloisKeys,
  checkPublicKey,
  checkRelinKeys,
  expectedPairwiseError,
  maxDimension,
  maxDistance,
  modulusBits,
  pairwiseContextId,
  readEncryptionParameters,
  withScale,
} from "@veilface/fhe";
import type { CheckedGaloisKeys, CheckedKeys, PairwiseParameters, PublicSeal } from "@veilface/fhe";
import { inField } from "../envelope.ts";
import { readOutside } from "../secrets.ts";
import type { PairwiseScheme } from "../../store/gallery-store.ts";
import type { AdmittedContext, UploadedKeys } from "./pairwise-task.ts";
import { openTensealContext } from "./tenseal.ts";

/** What an upload says of a context. */
interface Claim {
  readonly parameters: Uint8Array;
  readonly scale: number;
  readonly relinKeys: Uint8Array;
  readonly galoisKeys: Uint8Array;
  /** TenSEAL's. It is checked, so that every byte is known, and not kept: the server has no use for it. */
  readonly publicKey?: Uint8Array;
}

/**
 * Checks everything of a context that was uploaded. Throws ServerError with the reasons PARAMETERS_INVALID,
 * SCALE_OVERFLOW, KEYS_*, ROTATION_KEYS_MISSING and SECRET_KEY_REFUSED, naming the field.
 */
export function admit(seal: PublicSeal, uploaded: UploadedKeys): AdmittedContext {
  const context = admitUploaded(seal, uploaded);
  const field = uploaded.kind === "tenseal" ? "key_chunk" : "new_context.context.pairwise.scale";
  inField(field, () => {
    checkError(context.scheme, uploaded.acceptedError);
  });
  return context;
}

function checkError({ expectedError = 0, maxDimension: dimension }: PairwiseScheme, accepted: number): void {
  if (expectedError <= accepted) return;
  const error = expectedError.toPrecision(2);
  const noise = `noise would put squared distances of unit vectors with ${dimension} components off by up to ${error}`;
  const mend =
    "make a context with a larger scale, or a last prime no smaller than the others ([60, 40, 40, 60], 2^40)";
  const wanted = `expected at most ${accepted}; ${mend}, or accept that error (accepted_error)`;
  throw new FheError("SCALE_OVERFLOW", `${noise} (the expected error): ${wanted}`);
}

function admitUploaded(seal: PublicSeal, uploaded: UploadedKeys): AdmittedContext {
  if (uploaded.kind === "tenseal")
    return inField("key_chunk", () =>
      readOutside(uploaded.context, (data) => admitTenseal(seal, openTensealContext(data))),
    );
  const parameters = inField("new_context.context.pairwise.encryption_parameters", () =>
    readOutside(uploaded.parameters, (data) => readEncryptionParameters(seal, data)),
  );
  const scaled = inField("new_context.context.pairwise.scale", () => withScale(parameters, uploaded.scale));
  return inField("key_chunk", () => admitKeys(seal, scaled, uploaded));
}

function admitTenseal(seal: PublicSeal, claim: Claim): AdmittedContext {
  return admitKeys(seal, withScale(readEncryptionParameters(seal, claim.parameters), claim.scale), claim);
}

function admitKeys(seal: PublicSeal, parameters: PairwiseParameters, claim: Claim): AdmittedContext {
  using evaluator = new PairwiseEvaluator(seal, parameters);
  const { levels } = evaluator;
  if (claim.publicKey !== undefined && claim.publicKey.length > 0) checkPublicKey(levels, claim.publicKey);
  const relinKeys = readOutside(claim.relinKeys, (data) => checkRelinKeys(levels, data));
  const galoisKeys = readOutside(claim.galoisKeys, (data) => checkGaloisKeys(levels, data));
  evaluator.loadKeys({ relinKeys: relinKeys.bytes, galoisKeys: galoisKeys.bytes });
  return admitted(parameters, relinKeys, galoisKeys);
}

function admitted(
  parameters: PairwiseParameters,
  relinKeys: CheckedKeys,
  galoisKeys: CheckedGaloisKeys,
): AdmittedContext {
  const { degree, scale, encoded } = parameters;
  const { rotationSteps } = galoisKeys;
  const dimension = maxDimension(rotationSteps, degree);
  return {
    contextId: pairwiseContextId(parameters, relinKeys, galoisKeys),
    scheme: {
      kind: "pairwise",
      parameters: encoded,
      scale,
      degree,
      modulusBits: modulusBits(parameters),
      rotationSteps,
      maxDimension: dimension,
      maxDistance: maxDistance(parameters),
      expectedError: expectedPairwiseError(parameters, dimension),
    },
    keys: { relinKeys: relinKeys.bytes, galoisKeys: galoisKeys.bytes },
  };
}
