export { DEFAULT_DEADLINE_MS } from "./calls.ts";
export type { CallOptions } from "./calls.ts";
export type { ServerOptions, TlsOptions } from "./channel.ts";
export type {
  CreateGalleryOptions, IdentifyOptions, ModelOption, PackOptions, RotateOptions, Verification, VeilfaceClientOptions, VerifyOptions,
} from "./client-options.ts";
export { decide } from "./decision.ts";
export type { Decision } from "./decision.ts";
export type { DeletedTemplates } from "./deletion.ts";
export type { EnrollOptions } from "./enrollment.ts";
export type { Enrollment } from "./enrollment-units.ts";
export { readEmbeddings } from "./embeddings/read-embeddings.ts";
export type { ReadEmbeddingsOptions } from "./embeddings/read-embeddings.ts";
export { ClientError } from "./errors.ts";
export type { ClientErrorReason } from "./errors.ts";
export { expectedFalseMatches } from "./false-matches.ts";
export type { FalseMatchRate } from "./false-matches.ts";
export { FaceEncoder } from "./face/face-encoder.ts";
export type { DetectedFace, EncodeSingleOptions, EncodedFace } from "./face/face-encoder.ts";
export type { ModelCard } from "./face/model-card.ts";
export { loadDefaultModelPack, loadModelPack } from "./face/model-pack.ts";
export type { ModelPack, ModelPackOptions } from "./face/model-pack.ts";
export type { DeletedIds } from "./gallery-calls.ts";
export type { Candidate, RefusedTemplate } from "./identification.ts";
export { loadKeyFile, saveKeyFile } from "./key-file.ts";
export type { SaveKeyFileOptions } from "./key-file.ts";
export { KeyHolder } from "./key-holder.ts";
export type { SecretKeyMaterial } from "./key-holder.ts";
export { identificationThresholdOf, modelOf, spaceOf, thresholdOf } from "./model-space.ts";
export type { EmbeddingCard, ModelSpace } from "./model-space.ts";
export { PackedCrypto } from "./packed-crypto.ts";
export type { EncryptedPiece, EncryptedProbe } from "./packed-crypto.ts";
export type { UploadOptions } from "./pairwise/key-upload.ts";
export { PairwiseClient } from "./pairwise/pairwise-client.ts";
export type {
  DeleteContextOptions, NewPairwiseGallery, PairwiseClientOptions, PairwiseCompareOptions, PairwiseKeys, TensealUploadOptions,
} from "./pairwise/pairwise-options.ts";
export type { EnrollmentSource, PairwiseEnrollOptions, PairwiseEnrollment, PairwiseMatch, PairwiseSearchOptions } from "./pairwise/pairwise-galleries.ts";
export type { PairwiseCiphertext, PairwiseContext, PairwiseEncoding, PairwiseOperation } from "./pairwise/pairwise-wire.ts";
export { readTensealFile, streamTensealFile } from "./pairwise/tenseal-files.ts";
export type { TensealFile } from "./pairwise/tenseal-files.ts";
export type { RewrittenGallery } from "./rewriting.ts";
export { VeilfaceClient } from "./veilface-client.ts";
export type { GalleryInfo, Placement, RosterEntry } from "./wire.ts";
export { plainDistance } from "@veilface/fhe";
export type { EmbeddingSpace, Metric, ParameterSetName } from "@veilface/fhe";
