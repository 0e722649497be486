export { CiphertextCodec } from "./ciphertext.ts";
export type { CiphertextEncoding, Components } from "./ciphertext.ts";
export { KEY_ID_BYTES, packedContextId, pairwiseContextId } from "./context-id.ts";
export { FheError } from "./errors.ts";
export type { FheErrorReason } from "./errors.ts";
export {
  emptyPolynomials, encodeProbe, expectedError, layoutOf, looseLayout, placeTemplate, readScores, scalesOf, scoreIndex,
} from "./layout.ts";
export type { Layout, Scales } from "./layout.ts";
export { distanceFromScore, encodeProbeEmbedding, encodeTemplateEmbedding, encodedDimension, plainDistance } from "./metric.ts";
export type { EmbeddingSpace, EncodedEmbedding, Metric } from "./metric.ts";
export { PairwiseEvaluator } from "./pairwise/evaluator.ts";
export type { PairwiseOperation, PairwiseTask } from "./pairwise/evaluator.ts";
export { checkGaloisKeys, checkPublicKey, checkRelinKeys } from "./pairwise/keys.ts";
export type { CheckedGaloisKeys, CheckedKeys, EvaluationKeys } from "./pairwise/keys.ts";
export type { PairwiseLevels } from "./pairwise/levels.ts";
export { MAX_PAIRWISE_CIPHERTEXT_BYTES, distanceScale, maxDistance, modulusBits, readEncryptionParameters, withScale } from "./pairwise/parameters.ts";
export type { PairwiseParameters } from "./pairwise/parameters.ts";
export { checkRotationSteps, maxDimension } from "./pairwise/rotations.ts";
export { fromBase64Text, hasSecretKeyShape } from "./pairwise/secret-shape.ts";
export { DEFAULT_PARAMETER_SET, DEGREE, NOISE_SIGMA, PARAMETER_SET_NAMES, parameterSet } from "./parameters.ts";
export type { ParameterSet, ParameterSetName } from "./parameters.ts";
export { RingKernel } from "./ring/ring-kernel.ts";
export { TILES_PER_PRIME, fromTiles, tileBytes, toTiles } from "./ring/tiles.ts";
export { CIPHERTEXT_HEADER_BYTES, PLAINTEXT_HEADER_BYTES, sealCiphertext, sealPlaintext, sealWords } from "./seal-bytes.ts";
export { USUAL_COSTS, chooseStride, searchSeconds } from "./stride-choice.ts";
export type { SearchCosts } from "./stride-choice.ts";
export { callSeal, loadPublicSeal, loadSealForKeyHolder } from "./seal.ts";
export type { PublicSeal, Seal } from "./seal.ts";
