export { fromBase64Text } from "./base64-text.ts";
export { CiphertextCodec, freshCiphertextBytes, sealCiphertextBytes } from "./ciphertext.ts";
export type { ByteRange, CiphertextEncoding, Components } from "./ciphertext.ts";
export { KEY_ID_BYTES, packedContextId, pairwiseContextId } from "./context-id.ts";
export { FheError } from "./errors.ts";
export type { FheErrorReason } from "./errors.ts";
export {
  emptyPolynomials, encodeProbe, expectedError, layoutOf, looseLayout, placeTemplate, readScores, scalesOf, scoreIndex,
} from "./layout.ts";
export type { Layout, Scales } from "./layout.ts";
export {
  distanceFromScore, encodeProbeEmbedding, encodeTemplateEmbedding, encodedDimension, nearestTemplateVector,
  plainDistance,
} from "./metric.ts";
export type { EmbeddingSpace, EncodedEmbedding, Metric } from "./metric.ts";
export { PairwiseEvaluator } from "./pairwise/evaluator.ts";
export type { PairwiseOperation, PairwiseTask } from "./pairwise/evaluator.ts";
export { areSameCiphertext } from "./pairwise/fresh-ciphertext.ts";
export { checkGaloisKeys, checkPublicKey, checkRelinKeys } from "./pairwise/keys.ts";
export type { CheckedGaloisKeys, CheckedKeys, EvaluationKeys } from "./pairwise/keys.ts";
export type { PairwiseLevels } from "./pairwise/levels.ts";
export { USUAL_ACCEPTED_ERROR, expectedPairwiseError } from "./pairwise/expected-error.ts";
export { MAX_PAIRWISE_CIPHERTEXT_BYTES, distanceScale, loadedKeyBytes, maxDistance, modulusBits, readEncryptionParameters, withScale } from "./pairwise/parameters.ts";
export type { PairwiseParameters } from "./pairwise/parameters.ts";
export { checkRotationSteps, maxDimension } from "./pairwise/rotations.ts";
export { levelsOf, openPairwiseContext } from "./pairwise/levels.ts";
export { galoisKeyIndex, rotationSteps } from "./pairwise/rotations.ts";
export { HEADER_BYTES as SEAL_HEADER_BYTES, PARMS_ID_BYTES, inflateSeal, isSealObject, writeHeader as writeSealHeader } from "./seal-bytes.ts";
export type { SealObjectLimits } from "./seal-bytes.ts";
export { openCkksContext, parmsIdBytes } from "./seal.ts";
export { hasSecretKeyShape } from "./pairwise/secret-shape.ts";
export { DEFAULT_PARAMETER_SET, DEGREE, NOISE_SIGMA, PARAMETER_SET_NAMES, parameterSet } from "./parameters.ts";
export type { ParameterSet, ParameterSetName } from "./parameters.ts";
export { RingKernel } from "./ring/ring-kernel.ts";
export { TILES_PER_PRIME, fromTiles, tileBytes, toTiles } from "./ring/tiles.ts";
export { scoreRange } from "./score-range.ts";
export type { ScoreRange } from "./score-range.ts";
export { CIPHERTEXT_HEADER_BYTES, PLAINTEXT_HEADER_BYTES, sealCiphertext, sealPlaintext, sealWords } from "./seal-bytes.ts";
export { USUAL_COSTS, USUAL_TEMPLATES, chooseStride, searchSeconds } from "./stride-choice.ts";
export type { SearchCosts } from "./stride-choice.ts";
export { callSeal, loadPublicSeal, loadSealForKeyHolder } from "./seal.ts";
export type { PublicSeal, Seal } from "./seal.ts";
