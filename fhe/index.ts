export { fromBase64Text } from "./seal/base64-text.ts";
export { CiphertextCodec, freshCiphertextBytes, sealCiphertextBytes } from "./packed/ciphertext-codec.ts";
export type { ByteRange, CiphertextEncoding, Components } from "./packed/ciphertext-codec.ts";
export { KEY_ID_BYTES, packedContextId } from "./packed/context-id.ts";
export { pairwiseContextId } from "./pairwise/context-id.ts";
export { FheError } from "./errors.ts";
export type { FheErrorReason } from "./errors.ts";
export {
  emptyPolynomials,
  encodeProbe,
  expectedError,
  layoutOf,
  looseLayout,
  placeTemplate,
  readScores,
  scalesOf,
  scoreIndex,
} from "./packed/layout.ts";
export type { Layout, PlainBlock, Scales } from "./packed/layout.ts";
export {
  distanceFromScore,
  encodeProbeEmbedding,
  encodeTemplateEmbedding,
  encodedDimension,
  nearestTemplateVector,
  plainDistance,
} from "./packed/metric.ts";
export type { EmbeddingSpace, EncodedEmbedding, Metric } from "./packed/metric.ts";
export { PairwiseEvaluator } from "./pairwise/evaluator.ts";
export type { PairwiseOperation, PairwiseTask } from "./pairwise/evaluator.ts";
export { areSameCiphertext } from "./pairwise/fresh-ciphertext.ts";
export { checkGaloisKeys, checkPublicKey, checkRelinKeys } from "./pairwise/keys.ts";
export type { CheckedGaloisKeys, CheckedKeys, EvaluationKeys } from "./pairwise/keys.ts";
export type { PairwiseLevels } from "./pairwise/levels.ts";
export { USUAL_ACCEPTED_ERROR, expectedPairwiseError } from "./pairwise/expected-error.ts";
export {
  MAX_PAIRWISE_CIPHERTEXT_BYTES,
  MAX_PAIRWISE_DIMENSION,
  distanceScale,
  loadedKeyBytes,
  maxDistance,
  modulusBits,
  readEncryptionParameters,
  withScale,
} from "./pairwise/parameters.ts";
export type { EncryptionParameters, PairwiseParameters } from "./pairwise/parameters.ts";
export { checkRotationSteps, maxDimension } from "./pairwise/rotations.ts";
export { levelsOf, openPairwiseContext } from "./pairwise/levels.ts";
export { galoisKeyIndex, rotationSteps } from "./pairwise/rotations.ts";
export {
  MAX_PACKED_CIPHERTEXT_BYTES,
  HEADER_BYTES as SEAL_HEADER_BYTES,
  PARMS_ID_BYTES,
  inflateSeal,
  isSealObject,
  writeHeader as writeSealHeader,
} from "./seal/seal-bytes.ts";
export type { SealObjectLimits } from "./seal/seal-bytes.ts";
export { openCkksContext, parmsIdBytes } from "./seal/seal.ts";
export { hasSecretKeyShape, holdsSecretKey, secretKeyRefused } from "./seal/secret-key.ts";
export type { Wrapping } from "./seal/secret-key.ts";
export { DEFAULT_PARAMETER_SET, DEGREE, NOISE_SIGMA, PARAMETER_SET_NAMES, parameterSet } from "./parameter-sets.ts";
export type { ParameterSet, ParameterSetName } from "./parameter-sets.ts";
export { RingKernel } from "./ring/ring-kernel.ts";
export type { MatchingRoom, StoredResidues } from "./ring/kernel-memory.ts";
export { TILES_PER_PRIME, fromTiles, tileBytes, toTiles } from "./ring/tiles.ts";
export { scoreRange } from "./packed/score-range.ts";
export type { ScoreRange } from "./packed/score-range.ts";
export {
  CIPHERTEXT_HEADER_BYTES,
  PLAINTEXT_HEADER_BYTES,
  sealCiphertext,
  sealPlaintext,
  sealWords,
} from "./seal/seal-bytes.ts";
export { USUAL_COSTS, USUAL_TEMPLATES, chooseStride, quickestStride, searchSeconds } from "./packed/stride-choice.ts";
export type { SearchCosts, SearchedTemplates } from "./packed/stride-choice.ts";
export { callSeal, loadPublicSeal, loadSealForKeyHolder } from "./seal/seal.ts";
export type { CkksRing, PublicSeal, Seal } from "./seal/seal.ts";
